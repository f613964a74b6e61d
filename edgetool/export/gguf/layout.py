"""Tensors as llama.cpp's graph wants them."""

from __future__ import annotations

import numpy as np

from edgetool.architectures import Architecture
from edgetool.export.safetensors_io import Floats
from edgetool.export.shape import Shape

ROTATED = (".attn_q.", ".attn_k.")


def to_ggml_layout(name: str, values: Floats, architecture: Architecture, shape: Shape) -> Floats:
    """The tensor of this GGUF name, moved and shifted to its place in llama.cpp.

    transformers rotates (x_i, x_{i+d/2}) of a head, llama.cpp's llama rotates (x_2i, x_2i+1), so
    rows of Q and K are interleaved: [heads, 2, d/2, ...] -> [heads, d/2, 2, ...].
    """
    if _is_interleaved(name, architecture):
        heads = shape.head_count if ".attn_q." in name else shape.head_count_kv
        return _interleave(values, heads)
    return values + np.float32(1.0) if _is_shifted(name, architecture) else values


def changes_layout(name: str, architecture: Architecture) -> bool:
    """Does `to_ggml_layout` change this tensor, so that it must have all of it?"""
    return _is_interleaved(name, architecture) or _is_shifted(name, architecture)


def _is_interleaved(name: str, architecture: Architecture) -> bool:
    return architecture.permute_qk and any(part in name for part in ROTATED)


def _is_shifted(name: str, architecture: Architecture) -> bool:
    return architecture.norms_add_one and name.endswith("_norm.weight")


def _interleave(values: Floats, heads: int) -> Floats:
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
