"""How far one engine's next-token distributions lie from another's, token by token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetool.export.safetensors_io import Floats

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Divergence:
    """KL(reference || other) in nats over `tokens` positions."""

    mean: float
    p99: float
    tokens: int


def log_softmax(logits: Floats) -> Floats:
    """float32 [C, V] logits -> float32 [C, V] log-probabilities, summed in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))).astype(np.float32)


def kl_per_token(reference: Floats, other: Floats) -> Doubles:
    """sum_v p_v (log p_v - log q_v) of log-probabilities [C, V] each -> [C], never below zero."""
    p = np.exp(reference.astype(np.float64))
    # A token the reference never says costs nothing, even where both say so with -inf.
    with np.errstate(invalid="ignore"):
        terms = np.where(p > 0, p * (reference.astype(np.float64) - other), 0.0)
    return np.maximum(terms.sum(-1), 0.0)


def summarize_kl(per_row: Iterable[Doubles]) -> Divergence | None:
    """Over all positions of all rows; None without any."""
    rows = list(per_row)
    values = np.concatenate(rows) if rows else np.empty(0)
    if not values.size:
        return None
    return Divergence(float(values.mean()), float(np.percentile(values, 99)), int(values.size))


def token_losses(log_probs: Floats, ids: Sequence[int]) -> Doubles:
    """-log q(id) [C] of the tokens that were really there."""
    return -log_probs[np.arange(len(ids)), list(ids)].astype(np.float64)


def perplexity(losses: Iterable[Doubles]) -> float | None:
    """exp of the mean loss over all tokens; None without any."""
    rows = list(losses)
    values = np.concatenate(rows) if rows else np.empty(0)
    return math.exp(float(values.mean())) if values.size else None
