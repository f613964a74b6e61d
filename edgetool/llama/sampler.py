"""Choosing a token from a row of logits, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgetool.runtime import Sampling

Logits = NDArray[np.float32]


def choose(logits: Logits, sampling: Sampling, generator: np.random.Generator) -> int:
    """A token id for logits [V]; -inf marks a token that must not be chosen.

    temperature 0 takes the largest logit, the lowest id among equals.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    order, probabilities = _candidates(logits, sampling)
    cumulative = probabilities.cumsum()
    drawn = generator.random() * cumulative[-1]
    return int(order[min(cumulative.searchsorted(drawn, side="right"), len(order) - 1)])


def _candidates(logits: Logits, sampling: Sampling) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Ids that top_k and top_p leave, the likeliest first, with their probabilities.

    top_p keeps the smallest set that holds at least top_p (arXiv:1904.09751, section 3.1).
    """
    order = np.argsort(-logits, kind="stable")
    if sampling.top_k > 0:
        order = order[: sampling.top_k]
    order = order[np.isfinite(logits[order])]
    likely = logits[order].astype(np.float64)
    # The best is taken off first: divided by a tiny temperature, it would overflow.
    with np.errstate(over="ignore"):
        probabilities = np.exp((likely - likely[0]) / sampling.temperature)
    probabilities /= probabilities.sum()
    if sampling.top_p < 1:
        before = probabilities.cumsum() - probabilities
        kept = max(1, int((before < sampling.top_p).sum()))
        order, probabilities = order[:kept], probabilities[:kept]
    return order, probabilities
