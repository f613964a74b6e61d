"""Which transformers architectures become GGUF, and how their parts are called there.

To add one: a row in `ARCHITECTURES`; if its tensors need reshaping, see `to_ggml_layout`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetool.errors import ModelError
from edgetool.export.safetensors_io import Floats

OUTSIDE_LAYERS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
IN_EVERY_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
LINEAR = tuple(module for module in IN_EVERY_LAYER if module.endswith("_proj"))
QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


@dataclass(frozen=True)
class Architecture:
    """One row of the table.

    name          general.architecture in GGUF
    layer         transformers module of a layer -> GGUF name within `blk.N.`
    biased        modules that llama.cpp gives a bias
    permute_qk    llama.cpp rotates neighbouring pairs where transformers rotates halves
    """

    name: str
    layer: Mapping[str, str]
    biased: tuple[str, ...]
    permute_qk: bool = False


ARCHITECTURES = {
    "LlamaForCausalLM": Architecture("llama", IN_EVERY_LAYER, LINEAR, permute_qk=True),
    "Qwen2ForCausalLM": Architecture("qwen2", IN_EVERY_LAYER, QKV),
    "Qwen3ForCausalLM": Architecture("qwen3", {**IN_EVERY_LAYER, **HEAD_NORMS}, ()),
}


@dataclass(frozen=True)
class RopeScaling:
    """How positions beyond the trained context are squeezed; kind as GGUF spells it."""

    kind: str  # none | linear | yarn | llama3
    factor: float = 1.0
    original_context: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0


@dataclass(frozen=True)
class Shape:
    """A decoder's hyperparameters under GGUF's names."""

    context_length: int
    embedding_length: int
    block_count: int
    feed_forward_length: int
    head_count: int
    head_count_kv: int
    head_dim: int
    vocab_size: int
    rms_epsilon: float
    rope_theta: float
    rope_scaling: RopeScaling
    tied: bool


def find_architecture(config: Mapping[str, Any], where: object) -> Architecture:
    """The table's row for a config.json. Raises ModelError naming an architecture it lacks."""
    named = config.get("architectures") or ["(none named)"]
    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "unknown")
        raise ModelError(
            f"{where}: the weights are already quantized ({method}); start from the original ones"
        )
    if named[0] not in ARCHITECTURES:
        raise ModelError(
            f"{where}: architecture '{named[0]}' cannot become GGUF; "
            f"supported: {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[named[0]]


def read_shape(config: Mapping[str, Any], where: object) -> Shape:
    """Hyperparameters of a config.json. Raises ModelError for what llama.cpp would ignore."""
    _refuse_variants(config, where)
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
        return Shape(
            context_length=int(config["max_position_embeddings"]),
            embedding_length=hidden,
            block_count=int(config["num_hidden_layers"]),
            feed_forward_length=int(config["intermediate_size"]),
            head_count=heads,
            head_count_kv=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocab_size=int(config["vocab_size"]),
            rms_epsilon=float(config["rms_norm_eps"]),
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
            rope_scaling=_rope_scaling(rope, config, where),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise ModelError(f"{where}: config.json lacks {error}") from error


def _refuse_variants(config: Mapping[str, Any], where: object) -> None:
    if (activation := config.get("hidden_act", "silu")) != "silu":
        raise ModelError(f"{where}: hidden_act '{activation}' is not in llama.cpp's graph (silu)")
    if config.get("use_sliding_window") or "sliding_attention" in (config.get("layer_types") or ()):
        raise ModelError(
            f"{where}: use_sliding_window is not in llama.cpp's graph of this architecture"
        )


def _rope_scaling(rope: Mapping[str, Any], config: Mapping[str, Any], where: object) -> RopeScaling:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return RopeScaling("none")
    if kind not in ("linear", "yarn", "llama3"):
        raise ModelError(
            f"{where}: rope scaling '{kind}' cannot become GGUF; supported: linear, yarn, llama3"
        )
    return RopeScaling(
        kind,
        float(rope["factor"]),
        int(rope.get("original_max_position_embeddings") or config["max_position_embeddings"]),
        float(rope.get("low_freq_factor", 1.0)),
        float(rope.get("high_freq_factor", 4.0)),
    )


def gguf_name(tensor: str, architecture: Architecture) -> str | None:
    """A transformers tensor's name in GGUF; None for one that llama.cpp computes itself.

    Raises ModelError for a tensor that the architecture does not have.
    """
    if tensor.endswith("rotary_emb.inv_freq"):
        return None
    module, _, kind = tensor.rpartition(".")
    if module in OUTSIDE_LAYERS and kind == "weight":
        return f"{OUTSIDE_LAYERS[module]}.{kind}"
    layer, module = _split_layer(module)
    named = architecture.layer.get(module)
    known = kind == "weight" or (kind == "bias" and module in architecture.biased)
    if named is None or not known:
        raise ModelError(f"tensor '{tensor}' has no place in GGUF's '{architecture.name}'")
    return f"blk.{layer}.{named}.{kind}"


def _split_layer(module: str) -> tuple[str, str]:
    parts = module.split(".", 3)  # model.layers.N.rest
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[2].isdecimal():
        return parts[2], parts[3]
    return "", module


def is_linear(tensor: str) -> bool:
    """Is this the weight of a layer's linear module, which bitsandbytes holds in NF4?"""
    module, _, kind = tensor.rpartition(".")
    return kind == "weight" and _split_layer(module)[1] in LINEAR


def to_ggml_layout(name: str, values: Floats, architecture: Architecture, shape: Shape) -> Floats:
    """The tensor as llama.cpp's graph wants it; `name` is the GGUF name.

    transformers rotates (x_i, x_{i+d/2}) of a head, llama.cpp's llama rotates (x_2i, x_2i+1), so
    rows of Q and K are interleaved: [heads, 2, d/2, ...] -> [heads, d/2, 2, ...].
    """
    if not changes_layout(name, architecture):
        return values
    heads = shape.head_count if ".attn_q." in name else shape.head_count_kv
    return _interleave(values, heads)


def changes_layout(name: str, architecture: Architecture) -> bool:
    """Does `to_ggml_layout` move rows of this tensor, so that it must have them all?"""
    return architecture.permute_qk and (".attn_q." in name or ".attn_k." in name)


def _interleave(values: Floats, heads: int) -> Floats:
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def rope_factors(shape: Shape) -> Floats | None:
    """Divisors [head_dim / 2] of the rotary frequencies, None when there are none to store.

    Llama 3.1's rule: short waves stay, long waves are slowed by `factor`, a ramp between
    (transformers, modeling_rope_utils._compute_llama3_parameters).
    """
    scaling = shape.rope_scaling
    if scaling.kind != "llama3":
        return None
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    exponents = np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim
    waves = 2 * math.pi * shape.rope_theta**exponents
    ramp = np.clip((scaling.original_context / waves - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - ramp) / scaling.factor + ramp)).astype(np.float32)
