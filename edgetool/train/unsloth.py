"""Unsloth as a backend: it loads and patches base and adapter, the trainer and rewards stay ours.

Written to Unsloth's documented API (FastLanguageModel.from_pretrained and get_peft_model) and not
measured on a GPU. Its pins on torch and transformers are narrow, so it wants an environment of its
own, with the extra `unsloth`. What it saves is an ordinary peft adapter, which
`backend: plain` loads. Whether its patches leave our mask and cache alone is found out by computing
a few tokens both ways, before training starts (exactness.py).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from edgetool.architectures import load_config
from edgetool.errors import ModelError, UsageError
from edgetool.extras import own_environment
from edgetool.train import attention
from edgetool.train.exactness import require_exact
from edgetool.train.load import LoadSettings, compute_dtype, stop_ids
from edgetool.train.policy import Policy
from edgetool.train.settings import ALL_LINEAR, LoraSettings
from edgetool.train.tokenizer import hf_prompter, load_tokenizer

MAX_SEQ_LENGTH = 32768  # it prepares for so many tokens, where the model could take more
# What its documentation lists for every decoder; it does not know "all-linear".
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def require() -> None:
    """Import Unsloth, which patches what is imported after it.

    Raises UsageError where there is no NVIDIA GPU or where it is not installed.
    """
    if not torch.cuda.is_available():
        raise UsageError(
            "backend: unsloth needs an NVIDIA GPU, and torch finds none here; set backend: plain "
            "(--set backend=plain), or see `edgetool doctor`"
        )
    if importlib.util.find_spec("unsloth") is None:
        raise UsageError(
            "backend: unsloth is not installed; its pins want an environment of its own: "
            + own_environment("unsloth")
        )
    import unsloth  # noqa: F401


def load_policy(model: str | Path, lora: LoraSettings, settings: LoadSettings) -> Policy:
    """As `load.load_policy` with a new adapter, through Unsloth.

    Raises UsageError as `require`, and ModelError as `load.load_policy` and where the patched
    model does not compute what the trainer takes for granted.
    """
    require()
    from unsloth import FastLanguageModel

    name = str(model)
    config = load_config(name)
    tokenizer = load_tokenizer(name)
    prompter = hf_prompter(
        tokenizer, name, settings.call_syntax, settings.template, thinking=settings.thinking
    )
    device = torch.device(settings.device or "cuda")
    causal, _ = FastLanguageModel.from_pretrained(
        model_name=name,
        max_seq_length=min(int(config.max_position_embeddings), MAX_SEQ_LENGTH),
        dtype=compute_dtype(device, settings.bf16),
        load_in_4bit=settings.load_in_4bit,
        trust_remote_code=False,
    )
    wrapped = _with_adapter(FastLanguageModel, causal, lora, settings)
    bare = wrapped.get_base_model()
    attention.register()
    bare.set_attn_implementation(attention.NAME)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    ends = stop_ids(bare, tokenizer, prompter)
    policy = Policy(name, bare, tokenizer, prompter, ends, device, wrapped)
    policy.attn_implementation = settings.attn_implementation
    try:
        require_exact(policy)
    except (AttributeError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"{name}: Unsloth's patches do not take our mask or cache ({error}); set backend: plain"
        ) from error
    return policy


def _with_adapter(kind: Any, causal: Any, lora: LoraSettings, settings: LoadSettings) -> Any:
    names = lora.target_modules
    return kind.get_peft_model(
        causal,
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=list(LINEAR if names == ALL_LINEAR else names),
        use_gradient_checkpointing="unsloth" if settings.gradient_checkpointing else False,
        random_state=settings.seed,
    )
