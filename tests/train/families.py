"""A tiny random model of every family that can be trained, its weights large enough to matter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.policy import Policy
from edgetool.train.settings import LoraSettings
from tests.train.conftest import stir

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,  # attention that looks at some tokens more than at others
    "bos_token_id": None,
}
GEMMA = {
    "head_dim": 12,
    "query_pre_attn_scalar": 12,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
GRANITE = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.7,
    "attention_multiplier": 0.2,
    "logits_scaling": 2.0,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 64,
    "short_factor": [1.0, 1.2, 1.5, 2.0],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}
WINDOWED = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
# The prompts they are tested with have 17, 9 and 1 tokens: windows of 4 and 5 end inside a prompt,
# one of 19 inside a completion.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("qwen2", {}),
    "qwen2-window": ("qwen2", WINDOWED),
    "qwen3": ("qwen3", {"head_dim": 12}),
    "qwen3-window": ("qwen3", {"head_dim": 12, **WINDOWED}),
    "llama": ("llama", {}),
    "granite": ("granite", GRANITE),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0, 1]}),
    "smollm3-window": ("smollm3", {"no_rope_layers": [1, 0, 1], **WINDOWED}),
    "mistral-window": ("mistral", {"sliding_window": 5}),
    "phi3": ("phi3", {}),
    "phi3-window": ("phi3", {"sliding_window": 5}),
    "phi3-longrope": ("phi3", {"rope_parameters": LONGROPE}),
    "gemma3-short": ("gemma3_text", {**GEMMA, "sliding_window": 4}),
    "gemma3-long": ("gemma3_text", {**GEMMA, "sliding_window": 19}),
}


def family_policy(name: str, tiny_model: Path, folder: Path) -> Policy:
    """Write the family's model into `folder`, behind the tiny model's tokenizer, and load it."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / file, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model_type, own = FAMILIES[name]
    config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **SHAPE, **ends, **own)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    exact = LoadSettings(load_in_4bit=False, bf16=False, device="cpu", gradient_checkpointing=False)
    policy = load_policy(folder, LoraSettings(r=4), exact)
    stir(policy, scale=0.1)
    return policy
