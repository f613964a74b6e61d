"""Weights that copy within a few steps: an induction circuit laid out by hand.

From random weights, copying values out of the request appears only after a long plateau. The
circuit it waits for is known (Olsson et al., 2022, arXiv:2209.11895): one head finds the previous
token, a later one finds where the current token stood before and copies what followed it there.
Both can be written down for a Qwen2 layer; training then refines them. The idea of starting from
the structure that training would find is mimetic initialisation (arXiv:2305.09828).
"""

from __future__ import annotations

import torch
from transformers import Qwen2ForCausalLM

SHARP_PAIRS = 8  # fastest rotary frequencies: they tell neighbours apart
PREVIOUS_GAIN = 6.0  # bias of the previous-token head, per rotary dimension
MATCH_GAIN = 2.0
WRITE_GAIN = 0.04  # attention output against embeddings of standard deviation 0.02


@torch.no_grad()
def lay_out_copying(model: Qwen2ForCausalLM, generator: torch.Generator) -> None:
    """Make key-value group 0 of layer 0 look one token back, and that of layer 1 find repeats."""
    hidden = model.config.hidden_size
    size = hidden // model.config.num_attention_heads
    basis = torch.linalg.qr(torch.randn(hidden, hidden, generator=generator))[0]
    seen, written = basis[:size], basis[size : 2 * size]  # [D, H] each, orthogonal to one another
    first, second = (model.model.layers[i].self_attn for i in (0, 1))
    _look_one_back(first, model.config.rope_parameters["rope_theta"], size)
    first.v_proj.weight[:size] = seen
    first.o_proj.weight[:, :size] = WRITE_GAIN * written.T
    slow = _slow_dimensions(size)
    second.q_proj.weight[:size] = MATCH_GAIN * seen * slow[:, None]
    second.k_proj.weight[:size] = MATCH_GAIN * written * slow[:, None]
    copied = basis[2 * size : 3 * size]
    second.v_proj.weight[:size] = copied
    second.o_proj.weight[:, :size] = 2 * WRITE_GAIN * copied.T


def _look_one_back(attention: torch.nn.Module, theta: float, size: int) -> None:
    """Biases alone: rotated by its position, the query meets the key one position earlier."""
    half = size // 2
    pairs = torch.arange(SHARP_PAIRS)
    angle = theta ** (-pairs / half)
    attention.q_proj.weight[:size] = 0
    attention.k_proj.weight[:size] = 0
    attention.k_proj.bias[pairs] = PREVIOUS_GAIN
    attention.q_proj.bias[pairs] = PREVIOUS_GAIN * torch.cos(angle)
    attention.q_proj.bias[pairs + half] = -PREVIOUS_GAIN * torch.sin(angle)


def _slow_dimensions(size: int) -> torch.Tensor:
    """1 for rotary dimensions that hardly turn over a prompt, 0 for the others. [D]"""
    half = size // 2
    slow = (torch.arange(half) >= half // 2).float()
    return torch.cat([slow, slow])
