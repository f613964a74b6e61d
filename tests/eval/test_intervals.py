from __future__ import annotations

import numpy as np
import pytest

from edgetool.eval.statistics import bootstrap, mean_interval, ratio_interval


def test_a_mean_of_equal_values_has_no_width():
    assert mean_interval([0.25] * 40) == (0.25, 0.25)


def test_the_bootstrap_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(7)
    parts = generator.integers(0, 4, size=200).astype(float)
    wholes = parts + generator.integers(0, 3, size=200)
    theirs = stats.bootstrap(
        (parts, wholes),
        lambda part, whole, axis: part.sum(axis) / whole.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=9999,
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = bootstrap([parts, wholes], lambda part, whole: part / whole, resamples=9999)
    # both are estimates: over seeds, a bound of 9,999 resamples moves by a few thousandths
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_a_bootstrap_is_the_same_every_time():
    parts, wholes = [1.0, 0.0, 2.0, 1.0], [2.0, 1.0, 2.0, 3.0]
    assert ratio_interval(parts, wholes) == ratio_interval(parts, wholes)


def test_the_interval_of_a_ratio_holds_it():
    low, high = ratio_interval([1.0, 0.0, 2.0, 1.0] * 20, [2.0, 1.0, 2.0, 3.0] * 20)
    assert 0 <= low < 0.5 < high <= 1  # 4 of 8


def test_a_ratio_of_nothing_could_be_anything():
    assert ratio_interval([0.0, 0.0], [0.0, 0.0]) == (0.0, 1.0)


def test_resamples_without_a_value_are_left_out():
    # One row of two has a denominator: a resample without it says nothing.
    assert ratio_interval([1.0, 0.0], [1.0, 0.0]) == (1.0, 1.0)
