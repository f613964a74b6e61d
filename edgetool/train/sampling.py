"""From logits to a token, given one uniform draw per row."""

from __future__ import annotations

import torch
from torch import Tensor

from edgetool.runtime import Sampling


def choose(logits: Tensor, sampling: Sampling, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """float32 [S, V] and draws in [0, 1) [S] -> tokens [S] and their log-probabilities [S].

    temperature 0 takes the likeliest token. Otherwise tokens are drawn by inverting the cumulative
    distribution: one draw a token, from a generator of the row's own. Log-probabilities are those
    of softmax(logits / temperature) before top_k and top_p.
    """
    greedy = sampling.temperature == 0
    scaled = logits if greedy else logits / sampling.temperature
    logprobs = scaled.log_softmax(dim=-1)
    if greedy:
        tokens = logits.argmax(dim=-1)
    else:
        tokens = invert(filtered(logprobs, sampling.top_k, sampling.top_p), uniform)
    return tokens, logprobs.gather(1, tokens[:, None])[:, 0]


def invert(logprobs: Tensor, uniform: Tensor) -> Tensor:
    """The first token whose cumulative probability is beyond the draw: [S, V], [S] -> [S].

    Probabilities need not sum to one. In float64, because over a large vocabulary float32 sums
    drift by more than the rarest tokens' share.
    """
    cumulative = logprobs.double().exp().cumsum(dim=-1)
    aim = uniform.double()[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, aim, right=True)[:, 0]


def filtered(logprobs: Tensor, top_k: int, top_p: float) -> Tensor:
    """-inf outside the top_k likeliest tokens (0: all) and outside the smallest set of likeliest
    tokens whose probability reaches top_p (1: all). [S, V] -> [S, V]."""
    if 0 < top_k < logprobs.shape[-1]:
        least = logprobs.topk(top_k, dim=-1).values[:, -1:]
        logprobs = logprobs.masked_fill(logprobs < least, float("-inf"))
    if top_p < 1:
        ordered, order = logprobs.softmax(dim=-1).sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        drop = torch.zeros_like(ordered, dtype=torch.bool).scatter(1, order, before >= top_p)
        logprobs = logprobs.masked_fill(drop, float("-inf"))
    return logprobs
