"""ggml's blocks expanded in plain torch: the same code on a CPU and on CUDA, without a compiler.

A block is some neighbouring values of a row. Each function takes blocks uint8 [N, bytes] and gives
their values float32 [N, values], bit for bit what ggml's own dequantize_row_* (ggml-quants.c)
gives where its compiler fuses no multiplication with an addition.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from edgetool.gguf_base.reader import BLOCKS
from edgetool.train.memory.estimate import EXPANDED_AT_ONCE

# kvalues_iq4nl, ggml-common.h
IQ4_VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def dequantize(packed: Tensor, kind: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows of packed blocks uint8 [R, bytes of a row] -> their values in `dtype` [R, columns].

    kind   ggml's name of the type, such as Q4_K
    """
    values, size = BLOCKS[kind]
    blocks = packed.reshape(-1, size)
    step = max(1, EXPANDED_AT_ONCE // values)
    if len(blocks) <= step:
        return _EXPAND[kind](blocks).to(dtype).reshape(len(packed), -1)
    out = torch.empty(len(blocks), values, dtype=dtype, device=packed.device)
    for first in range(0, len(blocks), step):
        out[first : first + step] = _EXPAND[kind](blocks[first : first + step])
    return out.reshape(len(packed), -1)


def _half(blocks: Tensor, at: int) -> Tensor:
    """The float16 at a byte of every block, float32 [N, 1]."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def _nibbles(quants: Tensor) -> Tensor:
    """uint8 [N, B] -> [N, 2 B]: the low halves of the bytes, then the high ones."""
    return torch.cat((quants & 15, quants >> 4), -1)


def _f32(blocks: Tensor) -> Tensor:
    return blocks.contiguous().view(torch.float32)


def _f16(blocks: Tensor) -> Tensor:
    return blocks.contiguous().view(torch.float16).float()


def _bf16(blocks: Tensor) -> Tensor:
    return blocks.contiguous().view(torch.bfloat16).float()


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].contiguous().view(torch.int8) * _half(blocks, 0)


def _q4_0(blocks: Tensor) -> Tensor:
    return (_nibbles(blocks[:, 2:]).float() - 8) * _half(blocks, 0)


def _q4_1(blocks: Tensor) -> Tensor:
    return _nibbles(blocks[:, 4:]) * _half(blocks, 0) + _half(blocks, 2)


def _q5_0(blocks: Tensor) -> Tensor:
    quants = _nibbles(blocks[:, 6:]) | _bits(blocks[:, 2:6]) << 4
    return (quants.float() - 16) * _half(blocks, 0)


def _q5_1(blocks: Tensor) -> Tensor:
    quants = _nibbles(blocks[:, 8:]) | _bits(blocks[:, 4:8]) << 4
    return quants * _half(blocks, 0) + _half(blocks, 2)


def _bits(packed: Tensor) -> Tensor:
    """uint8 [N, B] -> [N, 8 B], each 0 or 1, the lowest bit of the first byte first."""
    return _fields(packed.unsqueeze(-1), 1).reshape(len(packed), -1)


def _fields(packed: Tensor, width: int) -> Tensor:
    """Fields of so many bits, lowest first: uint8 [..., 1] -> [..., 8 / width]."""
    shifts = torch.arange(0, 8, width, dtype=torch.uint8, device=packed.device)
    return packed >> shifts & (1 << width) - 1


def _planes(packed: Tensor, width: int, span: int) -> Tensor:
    """Values whose fields lie in planes: of every `span` bytes the lowest fields, then the next.

    uint8 [N, B] -> [N, 8 B / width]
    """
    fields = _fields(packed.reshape(len(packed), -1, span, 1), width)
    return fields.transpose(-1, -2).reshape(len(packed), -1)


def _q2_k(blocks: Tensor) -> Tensor:
    scales, quants = blocks[:, :16], _planes(blocks[:, 16:80], 2, 32)
    scale, least = _half(blocks, 80) * (scales & 15), _half(blocks, 82) * (scales >> 4)
    return _affine(quants, scale, least)


def _affine(quants: Tensor, scale: Tensor, least: Tensor) -> Tensor:
    """scale * q - least, with a scale and a least for every some neighbouring values."""
    groups = quants.reshape(*scale.shape, -1)
    return (scale.unsqueeze(-1) * groups - least.unsqueeze(-1)).reshape(len(quants), -1)


def _scaled(quants: Tensor, scale: Tensor) -> Tensor:
    groups = quants.reshape(*scale.shape, -1)
    return (scale.unsqueeze(-1) * groups).reshape(len(quants), -1)


def _q3_k(blocks: Tensor) -> Tensor:
    """Three bits: two in `quants`, the high one, which means "not 4 less", in `high`."""
    high, quants = _planes(blocks[:, :32], 1, 32), _planes(blocks[:, 32:96], 2, 32)
    values = quants.to(torch.int8) - (4 - 4 * high.to(torch.int8))
    low, top = blocks[:, 96:104], blocks[:, 104:108]
    scales = _nibbles(low) | _planes(top, 2, 4) << 4
    return _scaled(values, _half(blocks, 108) * (scales.to(torch.int8) - 32))


def _k_scales(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Eight scales and eight leasts of six bits in 12 bytes (get_scale_min_k4)."""
    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scale = torch.cat((first & 63, third & 15 | first >> 6 << 4), -1)
    least = torch.cat((second & 63, third >> 4 | second >> 6 << 4), -1)
    return _half(blocks, 0) * scale, _half(blocks, 2) * least


def _q4_k(blocks: Tensor) -> Tensor:
    return _affine(_planes(blocks[:, 16:], 4, 32), *_k_scales(blocks))


def _q5_k(blocks: Tensor) -> Tensor:
    quants = _planes(blocks[:, 48:], 4, 32) | _planes(blocks[:, 16:48], 1, 32) << 4
    return _affine(quants, *_k_scales(blocks))


def _q6_k(blocks: Tensor) -> Tensor:
    quants = _planes(blocks[:, :128], 4, 64) | _planes(blocks[:, 128:192], 2, 32) << 4
    scales = blocks[:, 192:208].contiguous().view(torch.int8)
    return _scaled(quants.to(torch.int8) - 32, _half(blocks, 208) * scales)


def _iq4_values(quants: Tensor) -> Tensor:
    return _iq4_table(quants.device)[quants.int()]


@cache
def _iq4_table(device: torch.device) -> Tensor:
    """Made once: a CUDA graph cannot record a copy from the host."""
    return torch.tensor(IQ4_VALUES, dtype=torch.float32, device=device)


def _iq4_nl(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _iq4_values(_nibbles(blocks[:, 2:]))


def _iq4_xs(blocks: Tensor) -> Tensor:
    high = _fields(blocks[:, 2:4].unsqueeze(-1), 2).reshape(len(blocks), -1)
    low = _fields(blocks[:, 4:8].unsqueeze(-1), 4).reshape(len(blocks), -1)
    scale = _half(blocks, 0) * ((low | high << 4).to(torch.int8) - 32)
    return _scaled(_iq4_values(_planes(blocks[:, 8:], 4, 16)), scale)


_EXPAND: dict[str, Callable[[Tensor], Tensor]] = {
    "F32": _f32, "F16": _f16, "BF16": _bf16, "Q8_0": _q8_0, "Q6_K": _q6_k, "Q5_K": _q5_k,
    "Q5_0": _q5_0, "Q5_1": _q5_1, "Q4_K": _q4_k, "Q4_0": _q4_0, "Q4_1": _q4_1,
    "IQ4_NL": _iq4_nl, "IQ4_XS": _iq4_xs, "Q3_K": _q3_k, "Q2_K": _q2_k,
}  # fmt: skip
