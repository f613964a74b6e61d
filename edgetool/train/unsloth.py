"""Unsloth as a backend: it loads and patches base and adapter, the trainer and rewards stay ours.

Written to Unsloth's documented API (FastLanguageModel.from_pretrained and get_peft_model) and not
measured on a GPU. Its pins on torch and transformers are narrow, so it wants an environment of its
own, with the extra `unsloth`. What it saves is an ordinary peft adapter, which
`backend: plain` loads. Whether its patches leave our mask and cache alone is found out by computing
a few tokens both ways, before training starts (`require_exact`).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgetool.architectures import load_config
from edgetool.errors import ModelError, UsageError
from edgetool.extras import own_environment
from edgetool.gguf_header import is_gguf
from edgetool.runtime import Sampling
from edgetool.train import attention
from edgetool.train.gradient import packed
from edgetool.train.load import LoadSettings, compute_dtype, hf_prompter, load_tokenizer, stop_ids
from edgetool.train.packing import Group
from edgetool.train.policy import Policy
from edgetool.train.rollout import rollout
from edgetool.train.settings import ALL_LINEAR, LoraSettings
from edgetool.train.update import completion_logps

MAX_SEQ_LENGTH = 32768  # it prepares for so many tokens, where the model could take more
# What its documentation lists for every decoder; it does not know "all-linear".
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PROMPT_TOKENS, WRITTEN_TOKENS = 24, 8
# Nats between two orders of the same sums: rounding in bfloat16 moves some tokens that far.
TOLERANCE = {torch.float32: 1e-3}
BFLOAT16_TOLERANCE = 0.25


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
    if is_gguf(name):
        raise UsageError(f"{name}: Unsloth trains on no GGUF file; leave backend: unsloth out")
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


@torch.no_grad()
def require_exact(policy: Policy) -> None:
    """Raises ModelError when packed completions see each other, or the rollout's log-probabilities
    are not those of the training pass."""
    vocabulary = int(policy.causal.config.vocab_size)
    drawn = torch.randint(
        0,
        vocabulary,
        (PROMPT_TOKENS + 2 * WRITTEN_TOKENS,),
        generator=torch.Generator().manual_seed(0),
    ).tolist()
    prompt, rest = drawn[:PROMPT_TOKENS], drawn[PROMPT_TOKENS:]
    group = Group(prompt, [rest[:WRITTEN_TOKENS], rest[WRITTEN_TOKENS:]], [0, 1])
    together = _logps(policy, group)
    alone = torch.cat([_logps(policy, group.part(slice(i, i + 1))) for i in (0, 1)])
    _compare(policy, together, alone, "completions packed into one row see each other")
    [written] = rollout(policy, [prompt], Sampling(WRITTEN_TOKENS, 1.0), [[1, 2]])
    told = torch.tensor([value for one in written for value in one.logprobs])
    again = _logps(policy, Group(prompt, [one.token_ids for one in written], [0, 1]))
    _compare(policy, told, again, "the rollout's probabilities are not the training pass's")


def _logps(policy: Policy, group: Group) -> Tensor:
    logps, _ = completion_logps(policy.network, packed(policy, [group]), 1.0)
    return logps.cpu()


def _compare(policy: Policy, one: Tensor, other: Tensor, what: str) -> None:
    apart = float((one - other).abs().max())
    if not apart <= TOLERANCE.get(policy.causal.dtype, BFLOAT16_TOLERANCE):
        raise ModelError(
            f"{policy.name}: {what} (by {apart:.3g} nats), so training would be wrong; this "
            "backend cannot be used for this model, set backend: plain"
        )
