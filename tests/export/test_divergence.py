"""Divergences and perplexities, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgetool.fidelity.divergence import (
    kl_per_token,
    log_softmax,
    perplexity,
    summarize_kl,
    token_losses,
)


def logs(*rows: list[float]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, dtype=np.float32))


def test_log_softmax_survives_large_logits() -> None:
    # exp(1000) overflows; 1 / (1 + e) and e / (1 + e) remain
    found = np.exp(log_softmax(np.array([[999.0, 1000.0]], dtype=np.float32)))
    np.testing.assert_allclose(found, [[1 / (1 + math.e), math.e / (1 + math.e)]], rtol=1e-6)


def test_kl_is_the_sum_over_the_vocabulary() -> None:
    # 0.5 ln(0.5 / 0.25) + 0.5 ln(0.5 / 0.75) = 0.143841; the same distribution: 0
    found = kl_per_token(logs([0.5, 0.5], [0.9, 0.1]), logs([0.25, 0.75], [0.9, 0.1]))
    np.testing.assert_allclose(found, [0.5 * math.log(2) + 0.5 * math.log(2 / 3), 0.0], atol=1e-7)


def test_a_token_that_neither_ever_says_costs_nothing() -> None:
    # 1 ln(1 / 0.5) = ln 2 from the one that is said
    found = kl_per_token(logs([1.0, 0.0, 0.0]), logs([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(found, [math.log(2)], rtol=1e-6)


def test_a_token_the_other_never_says_costs_without_end() -> None:
    assert kl_per_token(logs([0.5, 0.5]), logs([1.0, 0.0]))[0] == math.inf


def test_mean_and_99th_percentile_run_over_all_rows() -> None:
    found = summarize_kl([np.zeros(60), np.array([*np.zeros(40), 1.0])])
    assert found is not None and found.tokens == 101
    assert found.mean == pytest.approx(1 / 101)
    assert found.p99 == 0.0  # the 100th of 101 ordered values
    assert summarize_kl([]) is None and summarize_kl([np.empty(0)]) is None


def test_perplexity_is_the_inverse_geometric_mean_of_the_tokens_shares() -> None:
    losses = token_losses(logs([0.5, 0.5], [0.25, 0.75]), [0, 0])
    # sqrt(1 / (0.5 * 0.25)) = sqrt(8)
    assert perplexity([losses]) == pytest.approx(math.sqrt(8), rel=1e-6)
    assert perplexity([]) is None
