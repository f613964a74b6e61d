from __future__ import annotations

import numpy as np
import pytest

from edgetool.llama.sampler import choose
from edgetool.runtime import Sampling

NO = -np.inf


def drawn(logits, sampling: Sampling, times: int = 4000) -> np.ndarray:
    """Share of each token over many draws: [V]."""
    generator, row = np.random.default_rng(0), np.array(logits, np.float32)
    tokens = [choose(row, sampling, generator) for _ in range(times)]
    return np.bincount(tokens, minlength=len(row)) / times


def test_greedy_takes_the_largest_and_the_first_of_equals():
    row = np.array([1.0, 3.0, 3.0, NO], np.float32)
    assert choose(row, Sampling(), np.random.default_rng(0)) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.2, 0.5, 0.3, 0.0]),
        ({"temperature": 0.5}, [4 / 38, 25 / 38, 9 / 38, 0.0]),  # shares squared, sum 0.38
        ({"top_k": 2}, [0.0, 5 / 8, 3 / 8, 0.0]),
        ({"top_k": 9}, [0.2, 0.5, 0.3, 0.0]),
        ({"top_p": 0.6}, [0.0, 5 / 8, 3 / 8, 0.0]),  # 0.5 is not enough, 0.5 + 0.3 is
        ({"top_p": 0.4}, [0.0, 1.0, 0.0, 0.0]),
        ({"top_p": 1e-12}, [0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_tokens_are_drawn_by_their_probability(changes, expected):
    logits = [np.log(0.2), np.log(0.5), np.log(0.3), NO]
    found = drawn(logits, Sampling(**{"temperature": 1.0, **changes}))
    # Three standard deviations of a share over 4000 draws are at most 0.024.
    assert found == pytest.approx(expected, abs=0.024)
    assert found[3] == 0  # what the grammar forbids is never drawn


@pytest.mark.parametrize("temperature", [1e-30, 1e-308, 5e-324])
def test_next_to_no_temperature_is_greedy(temperature):
    found = drawn([1.0, 3.0, -20.0, NO], Sampling(temperature=temperature), times=20)
    assert found.tolist() == [0.0, 1.0, 0.0, 0.0]


def test_one_allowed_token_is_taken_at_any_temperature():
    assert drawn([NO, NO, -50.0], Sampling(temperature=2.0, top_p=0.1), times=5)[2] == 1.0
