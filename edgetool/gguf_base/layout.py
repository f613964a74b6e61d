"""Where llama.cpp's graph wants the rows of a tensor, and where transformers wants them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgetool.architectures import Architecture

ROTATED = (".attn_q.", ".attn_k.")
Rows = TypeVar("Rows", bound=NDArray[Any])


def to_ggml_layout(
    name: str, values: NDArray[np.float32], architecture: Architecture, heads: int, kv_heads: int
) -> NDArray[np.float32]:
    """The tensor of this GGUF name, moved and shifted to its place in llama.cpp.

    transformers rotates (x_i, x_{i+d/2}) of a head, llama.cpp's llama rotates (x_2i, x_2i+1), so
    rows of Q and K are interleaved: [heads, 2, d/2, ...] -> [heads, d/2, 2, ...].
    """
    if is_interleaved(name, architecture):
        heads = heads if ".attn_q." in name else kv_heads
        halves = values.reshape(heads, 2, -1, *values.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)
    return values + np.float32(1.0) if is_shifted(name, architecture) else values


def rows_apart(rows: Rows, heads: int) -> Rows:
    """The way back for rows interleaved within heads, of values or of packed bytes."""
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)  # type: ignore[return-value]


def changes_layout(name: str, architecture: Architecture) -> bool:
    """Does `to_ggml_layout` change this tensor, so that it must have all of it?"""
    return is_interleaved(name, architecture) or is_shifted(name, architecture)


def is_interleaved(name: str, architecture: Architecture) -> bool:
    return architecture.permute_qk and any(part in name for part in ROTATED)


def is_shifted(name: str, architecture: Architecture) -> bool:
    """llama.cpp multiplies with the norm's weight, transformers with 1 + weight."""
    return architecture.norms_add_one and name.endswith("_norm.weight")
