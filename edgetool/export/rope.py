"""Rotary positions: what config.json says of them, and the divisors that llama.cpp is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetool.architectures import Architecture
from edgetool.errors import ModelError
from edgetool.export.safetensors_io import Floats
from edgetool.gguf_base.rope import llama3_divisors

THETA = 10000.0
GLOBAL, LOCAL = "full_attention", "sliding_attention"  # transformers' names
# Settings of yarn that would have to be in the file, with the values llama.cpp has anyway.
YARN_USUAL = {
    "attention_factor": None, "beta_fast": 32, "beta_slow": 1,
    "mscale": None, "mscale_all_dim": None, "truncate": True,
}  # fmt: skip


@dataclass(frozen=True)
class RopeScaling:
    """How positions beyond the trained context are squeezed; kind as GGUF spells it.

    low, high_freq_factor            of llama3
    long, short, attention_factor    of longrope: divisors [rotated / 2] of the frequencies in
                                     contexts beyond the original one and within it, and what
                                     queries and keys are multiplied with
    """

    kind: str  # none | linear | yarn | llama3 | longrope
    factor: float = 1.0
    original_context: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    long: tuple[float, ...] = ()
    short: tuple[float, ...] = ()
    attention_factor: float = 1.0


@dataclass(frozen=True)
class Rope:
    """partial: the share of each head that is rotated."""

    theta: float
    partial: float
    scaling: RopeScaling


def read_rope(
    config: Mapping[str, Any], layers: str, architecture: Architecture, where: object
) -> Rope:
    """Positions in one kind of layers, GLOBAL or LOCAL.

    Raises ModelError for a kind of scaling that llama.cpp's graph would not follow.
    """
    stored = config.get("rope_parameters") or {}
    if layers == LOCAL:
        rope = dict(stored.get(LOCAL) or {})
        theta = rope.get("rope_theta") or config.get("rope_local_base_freq")
        kinds: tuple[str, ...] = ()  # llama.cpp squeezes the other layers alone
    else:
        by_layers = GLOBAL in stored or LOCAL in stored
        own = stored.get(GLOBAL) or {} if by_layers else stored
        rope = {**(config.get("rope_scaling") or {}), **own}
        theta, kinds = rope.get("rope_theta") or config.get("rope_theta"), architecture.rope_kinds
    partial = float(rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0)
    if partial != 1.0 and not architecture.partial_rope:
        raise ModelError(
            f"{where}: partial_rotary_factor {partial} is not in llama.cpp's graph of "
            f"'{architecture.name}'"
        )
    return Rope(float(theta or THETA), partial, _scaling(rope, config, kinds, where))


def _scaling(
    rope: Mapping[str, Any], config: Mapping[str, Any], kinds: tuple[str, ...], where: object
) -> RopeScaling:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    kind = "longrope" if kind == "su" else kind  # Phi-3's first name for it
    if kind == "default":
        return RopeScaling("none")
    if kind not in kinds:
        known = ", ".join(kinds) or "none"
        raise ModelError(f"{where}: rope scaling '{kind}' cannot become GGUF; supported: {known}")
    original = int(
        rope.get("original_max_position_embeddings")
        or config.get("original_max_position_embeddings")
        or config["max_position_embeddings"]
    )
    if kind == "longrope":
        return _longrope(rope, original, int(config["max_position_embeddings"]))
    if kind == "yarn":
        _require_usual_yarn(rope, where)
    return RopeScaling(
        kind,
        float(rope["factor"]),
        original,
        float(rope.get("low_freq_factor", 1.0)),
        float(rope.get("high_freq_factor", 4.0)),
    )


def _require_usual_yarn(rope: Mapping[str, Any], where: object) -> None:
    for key, usual in YARN_USUAL.items():
        if rope.get(key) not in (None, usual):
            raise ModelError(f"{where}: rope scaling 'yarn' with {key} cannot become GGUF")


def _longrope(rope: Mapping[str, Any], original: int, context: int) -> RopeScaling:
    """LongRoPE (arXiv:2402.13753); the factor of queries and keys is sqrt(1 + ln s / ln L), s how
    much longer than the original L the context is (modeling_rope_utils)."""
    factor = float(rope.get("factor") or context / original)
    usual = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return RopeScaling(
        "longrope",
        factor,
        original,
        long=tuple(map(float, rope["long_factor"])),
        short=tuple(map(float, rope["short_factor"])),
        attention_factor=float(rope.get("attention_factor") or usual),
    )


def rope_tensors(scaling: RopeScaling, theta: float, dimensions: int) -> dict[str, Floats]:
    """Divisors [dimensions / 2] of the rotary frequencies by GGUF name, none for most models."""
    if scaling.kind == "llama3":
        divisors = llama3_divisors(
            theta, dimensions, scaling.factor, scaling.original_context,
            scaling.low_freq_factor, scaling.high_freq_factor,
        )  # fmt: skip
        return {"rope_freqs.weight": divisors}
    if scaling.kind == "longrope":
        return {
            "rope_factors_long.weight": np.array(scaling.long, dtype=np.float32),
            "rope_factors_short.weight": np.array(scaling.short, dtype=np.float32),
        }
    return {}
