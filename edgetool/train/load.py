"""Bringing a base model into memory, in 4 bits, and putting an adapter on it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from edgetool.adapter_config import WEIGHTS, read_adapter_config
from edgetool.architectures import load_config
from edgetool.calls import syntaxes
from edgetool.calls.prompt import turns
from edgetool.calls.prompt.prompt import Prompter
from edgetool.calls.prompt.template_choice import ChatTemplate, choose, select
from edgetool.errors import ModelError, UsageError
from edgetool.gguf_header import is_gguf
from edgetool.system import quiet_bitsandbytes, quiet_loading
from edgetool.train import attention
from edgetool.train.checkpoint import saved_name
from edgetool.train.gguf_model import (
    PackedLinear,
    config_of,
    generation_of,
    load_gguf,
    named_syntax,
    tokenizer_of,
)
from edgetool.train.memory.model_shape import Shape
from edgetool.train.policy import Policy, twin_of
from edgetool.train.settings import ALL_LINEAR, LoraSettings

# Weights of a CPU model are expanded when that takes at most this much.
EXPAND_LIMIT_BYTES = 4 * 2**30


@dataclass(frozen=True)
class LoadSettings:
    """How a model is brought into memory.

    load_in_4bit            quantize the base to NF4 with double quantization, or keep a GGUF file's
                            own blocks
    dequantize_for_compute  keep their values expanded; None: on a CPU, up to EXPAND_LIMIT_BYTES
    bf16                    compute in bfloat16; None: where the hardware is fast at it
    device                  "cpu", "cuda", ...; None: CUDA where there is one
    call_syntax             None: the one the chat template teaches
    template                the chat template, as `template_choice.choose` is asked for one
    thinking                the model thinks before it answers
    attn_implementation     of the training pass: sdpa, or flex_attention on a GPU
    """

    load_in_4bit: bool = True
    dequantize_for_compute: bool | None = None
    bf16: bool | None = None
    device: str | None = None
    call_syntax: str | None = None
    template: str | None = None
    thinking: bool = False
    attn_implementation: str = attention.SDPA
    gradient_checkpointing: bool = True
    seed: int = 42


def load_policy(
    model: str | Path,
    lora: LoraSettings | None = None,
    settings: LoadSettings | None = None,
    *,
    adapter: Path | None = None,
) -> Policy:
    """Load a base model, with a new adapter (`lora`), a trained one (`adapter`) or none.

    model   a transformers folder, hub id or GGUF file; of a folder only safetensors are read, and
            no code of the model

    Raises ModelError, before weights are read, for a folder that lacks a part, for an architecture
    that cannot be trained exactly and for an adapter that is no plain LoRA; UsageError for
    flex_attention without a GPU.
    """
    settings, name = settings or LoadSettings(), str(model)
    if adapter is not None:
        read_adapter_config(adapter)
    config = read_config(name)
    tokenizer = load_tokenizer(name)
    prompter = hf_prompter(
        tokenizer, name, settings.call_syntax, settings.template, thinking=settings.thinking
    )
    device = torch.device(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    require_kernels(settings.attn_implementation, device)
    dtype = compute_dtype(device, settings.bf16)
    causal = _load_base(name, config, settings, device, dtype)
    ends = stop_ids(causal, tokenizer, prompter)
    policy = Policy(name, causal, tokenizer, prompter, ends, device)
    policy.attn_implementation = settings.attn_implementation
    if lora is not None or adapter is not None:
        _attach(policy, lora, adapter, settings)
    return policy


def load_without_weights(model: str | Path, settings: LoadSettings) -> Policy:
    """A policy that makes prompts and reads completions, as `load_policy`'s does, and writes none.

    Raises what `load_policy` raises before weights are read.
    """
    from transformers import GenerationConfig

    name = str(model)
    config, tokenizer = read_config(name), load_tokenizer(name)
    prompter = hf_prompter(
        tokenizer, name, settings.call_syntax, settings.template, thinking=settings.thinking
    )
    try:
        of_file = is_gguf(name)
        generation = generation_of(name) if of_file else GenerationConfig.from_pretrained(name)
    except OSError:  # it has none, and the configuration names the ends
        generation = GenerationConfig.from_model_config(config)
    causal = SimpleNamespace(config=config, generation_config=generation)
    device = torch.device(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    require_kernels(settings.attn_implementation, device)
    ends = stop_ids(causal, tokenizer, prompter)
    return Policy(name, causal, tokenizer, prompter, ends, device)


def read_config(model: str) -> Any:
    """The checked configuration of a folder, hub id or GGUF file. Raises ModelError."""
    return config_of(model) if is_gguf(model) else load_config(model)


def require_kernels(attn_implementation: str, device: torch.device) -> None:
    """Raises UsageError for FlexAttention on a CPU, which has no backward pass there."""
    if attn_implementation == attention.FLEX and device.type == "cpu":
        raise UsageError(
            "attn_implementation = flex_attention needs a GPU: on a CPU it has no backward pass; "
            "set attn_implementation: sdpa"
        )


def compute_dtype(device: torch.device, bf16: bool | None) -> torch.dtype:
    """bfloat16 on CUDA and on CPUs with instructions for it; elsewhere float32 is faster."""
    if bf16 is None:
        bf16 = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bf16()
    return torch.bfloat16 if bf16 else torch.float32


def _cpu_has_bf16() -> bool:
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in tests)


def _load_base(
    name: str, config: Any, settings: LoadSettings, device: torch.device, dtype: torch.dtype
) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    attention.register()
    quiet_bitsandbytes()  # peft imports it, too, whatever the weights are
    if is_gguf(name):
        packed = settings.load_in_4bit and not _expand(
            Shape.of(config.to_dict(), name).parameters, settings, device
        )
        causal = load_gguf(name, config, dtype, device, attention.NAME, packed=packed)
        return causal.requires_grad_(False).eval()
    quantization = None
    if settings.load_in_4bit:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    loader: Any = AutoModelForCausalLM  # its types know nothing of the second value
    try:
        with quiet_loading():
            causal, found = loader.from_pretrained(
                name,
                config=config,
                dtype=dtype,
                quantization_config=quantization,
                device_map={"": str(device)},
                attn_implementation=attention.NAME,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{name}: cannot load its weights: {error}") from error
    if missing := sorted(found["missing_keys"]):
        # transformers would go on with random values
        raise ModelError(f"{name}: the weights lack '{missing[0]}'; download or save them again")
    causal.requires_grad_(False)
    if settings.load_in_4bit and _expand(causal.num_parameters(), settings, device):
        _dequantize(causal, dtype)
    avoid_inference_kernel(causal)
    return causal.eval()


def _expand(parameters: int, settings: LoadSettings, device: torch.device) -> bool:
    if settings.dequantize_for_compute is not None:
        return settings.dequantize_for_compute
    return device.type == "cpu" and 4 * parameters <= EXPAND_LIMIT_BYTES


def _dequantize(causal: Any, dtype: torch.dtype) -> None:
    """Replace every 4-bit layer by a plain one with the same, rounded, weights."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    for parent in list(causal.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, Linear4bit):
                continue
            packed: Any = child.weight
            weight = dequantize_4bit(packed.data, packed.quant_state).to(dtype)
            plain = nn.Linear(
                child.in_features, child.out_features, child.bias is not None, device="meta"
            )
            plain.weight = nn.Parameter(weight, requires_grad=False)
            plain.bias = child.bias
            setattr(parent, name, plain)
    # transformers and peft look at these to decide how a layer is wrapped and saved.
    causal.is_loaded_in_4bit = False
    causal.is_quantized = False
    causal.hf_quantizer = None
    if hasattr(causal.config, "quantization_config"):
        del causal.config.quantization_config


def avoid_inference_kernel(causal: Any) -> None:
    """Keep bitsandbytes to the 4-bit layout that it can train with.

    On a CPU with AVX512-BF16 a layer's first pass without gradients, in a rollout, lays its weights
    out for a kernel that has no backward pass and computes in bfloat16, whatever was asked for.
    """
    for module in causal.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def stop_ids(causal: Any, tokenizer: Any, prompter: Prompter) -> tuple[int, ...]:
    """Every token that ends a turn: the template's own, the tokenizer's and the model's, and those
    that end one in the exported file, too."""
    named = (tokenizer.eos_token_id, causal.generation_config.eos_token_id)
    ids = marker_ids(tokenizer)
    found = turns.stop_ids(prompter.turn_ends(), ids, named)
    if not found:
        raise ModelError(
            f"{tokenizer.name_or_path}: neither model nor tokenizer names an eos token"
        )
    return tuple(dict.fromkeys([*found, *turns.known_ends(ids)]))


def _attach(
    policy: Policy, lora: LoraSettings | None, adapter: Path | None, settings: LoadSettings
) -> None:
    """Wrap the policy's linear layers with LoRA, and make the twin that decodes."""
    from peft import PeftModel, get_peft_model

    causal = policy.causal
    expanded = not getattr(causal, "is_loaded_in_4bit", False)
    expanded &= not any(isinstance(module, PackedLinear) for module in causal.modules())
    twin = twin_of(causal) if expanded and policy.device.type == "cpu" else None
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft asks transformers by a name that version 5 calls deprecated; no user can act on it
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing", category=FutureWarning
        )
        torch.manual_seed(settings.seed)
        if adapter is not None:
            stored = _matrix_names(adapter)
            wrapped = PeftModel.from_pretrained(causal, adapter, is_trainable=lora is not None)
            _require_all_used(stored, causal, adapter)
        else:
            wrapped = get_peft_model(causal, _lora_config(lora or LoraSettings(), policy.name))
    for parameter in causal.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if settings.gradient_checkpointing:
        _checkpoint_activations(causal)
    policy.adapter, policy._twin = wrapped, twin


def _matrix_names(adapter: Path) -> set[str]:
    """What an adapter has stored, by the names in its file."""
    from safetensors import SafetensorError, safe_open

    if not (adapter / WEIGHTS).is_file():
        raise ModelError(f"{adapter}: no {WEIGHTS}; pickled adapters are not read")
    try:
        with safe_open(adapter / WEIGHTS, framework="pt") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{adapter}: cannot read this adapter ({error})") from error


def _require_all_used(stored: set[str], causal: nn.Module, adapter: Path) -> None:
    """peft goes on without a matrix whose name it does not find, and so without the adapter."""
    own = {saved_name(name) for name, _ in causal.named_parameters() if ".lora_" in name}
    for name in sorted(stored ^ own):
        problem = "the base has no place for" if name in stored else "the adapter lacks"
        raise ModelError(f"{adapter}: {problem} '{name}'; use the base it was trained on")


def _checkpoint_activations(causal: Any) -> None:
    """Gradient checkpointing, by the name that this version of transformers has for it."""
    name = "activation_checkpointing_enable"
    enable = getattr(causal, name, None) or causal.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _lora_config(lora: LoraSettings, base: str) -> Any:
    from peft import LoraConfig

    names = lora.target_modules
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=names if names == ALL_LINEAR else list(names),
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
    )


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model folder, hub id or GGUF file. Raises ModelError when there is none.

    tokenizer.json is taken at its word, as llama.cpp takes it: AutoTokenizer puts the pre-tokenizer
    it knows for a model type in place of the file's own, which cuts numbers into other tokens.
    """
    from transformers import PreTrainedTokenizerFast

    if is_gguf(model):
        return tokenizer_of(model)
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"{model}: no usable tokenizer ({_first_line(error)}); "
            "the folder needs tokenizer.json and tokenizer_config.json"
        ) from error
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _processor_template(Path(model))
    return tokenizer


def _processor_template(folder: Path) -> str | None:
    """The template where older processors keep it, and the export finds it, too."""
    file = folder / "chat_template.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    return found.get("chat_template") if isinstance(found, dict) else None


def hf_prompter(
    tokenizer: Any,
    model: str,
    call_syntax: str | None = None,
    template: str | None = None,
    *,
    thinking: bool = False,
) -> Prompter:
    """The Prompter of a Hugging Face tokenizer.

    model         its folder or id, for messages
    call_syntax   a name from `calls.syntaxes`; None: the one a GGUF file names, or the chat
                  template teaches
    template      as `template_choice.choose` is asked for one
    thinking      the model is to think before it answers

    Raises ModelError when no template shows the model its tools, or it has none, and UsageError as
    `with_thinking` does.
    """
    chosen, markers = chat_template(tokenizer, model, template), marker_ids(tokenizer)
    call_syntax = call_syntax or (named_syntax(model) if is_gguf(model) else None)
    syntax = syntaxes.get(call_syntax) if call_syntax else syntaxes.detect(chosen.text)
    names = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}

    def encode(text: str) -> Sequence[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    made = Prompter(chosen.text, tuple(markers), encode, syntax, names, choice=chosen)
    return made.with_thinking(thinking)


def chat_template(tokenizer: Any, model: str, wanted: str | None = None) -> ChatTemplate:
    """The template of a tokenizer's prompts, as `template_choice.choose` is asked for one."""
    own = select(tokenizer.chat_template)
    return choose(own, wanted, where=model, markers=marker_ids(tokenizer))


def marker_ids(tokenizer: Any) -> dict[str, int]:
    """The id of every added token, control tokens among them, by its text."""
    return {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
