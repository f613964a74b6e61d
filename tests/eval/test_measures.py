from __future__ import annotations

from dataclasses import replace

import pytest

from edgetool.errors import UsageError
from edgetool.eval.evaluate import ArmResult
from edgetool.eval.metrics import summarize
from edgetool.eval.paired import interaction, paired_difference, without_call
from edgetool.eval.statistics import mcnemar, newcombe, percentile, wilson
from tests.eval.conftest import arm, row

KEYS = {
    "model",
    "runtime",
    "arm",
    "n",
    "exact_match",
    "exact_match_ci95",
    "right_tool",
    "valid",
    "irrelevance",
    "latency_ms_p50",
    "latency_ms_p95",
}


def test_a_summary_has_exactly_the_keys_of_a_report_row():
    assert summarize(arm([True])).keys() == KEYS


def test_a_summary_is_what_one_counts_by_hand():
    rows = (
        row("a", exact=True, seconds=0.010),
        row("b", exact=False, seconds=0.020),
        row("c", exact=True, expects_call=False, seconds=0.030),
        row("d", exact=False, expects_call=False, seconds=0.040),
        row("e", exact=False, expects_call=False, seconds=9.0, error="fell over"),
    )
    found = summarize(ArmResult("base", "policy", "free", rows))
    assert found["n"] == 5
    assert found["exact_match"] == 0.4  # a, c of five
    assert found["irrelevance"] == pytest.approx(1 / 3)  # c of c, d, e
    # 10, 20, 30, 40 ms (the failed row has no latency): place 0.5 * 3 = 1.5, 0.95 * 3 = 2.85
    assert found["latency_ms_p50"] == pytest.approx(25.0)
    assert found["latency_ms_p95"] == pytest.approx(38.5)


def test_without_rows_expecting_no_call_there_is_no_irrelevance():
    assert summarize(arm([True, False]))["irrelevance"] is None


def test_when_every_row_failed_there_is_no_latency():
    failed = ArmResult("base", "r", "free", (row("a", exact=False, error="x"),))
    assert summarize(failed)["latency_ms_p50"] is None


@pytest.mark.parametrize(("q", "expected"), [(0, 1.0), (50, 2.0), (75, 3.0), (100, 4.0)])
def test_percentiles_are_interpolated(q, expected):
    assert percentile([4.0, 1.0, 2.0], q) == expected  # sorted 1, 2, 4; place 2q/100


def test_wilson_by_hand():
    # n = 10, 8 right, z^2 = 3.841459: centre 0.8 + 3.841459/20 = 0.992073,
    # spread 1.959964 * sqrt(0.16/10 + 3.841459/400) = 1.959964 * 0.160012 = 0.313617,
    # scale 1.3841459: (0.678456, 1.305690) / 1.3841459 = (0.490162, 0.943318)
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=2e-6)


def test_wilson_at_the_ends_stays_inside():
    # k = 0: high = z^2 / (n + z^2) = 3.841459 / 23.841459 = 0.161125
    assert wilson(0, 20) == pytest.approx((0.0, 0.161125), abs=1e-6)
    assert wilson(20, 20) == pytest.approx((0.838875, 1.0), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 3), (17, 50), (299, 300), (300, 300)])
def test_wilson_agrees_with_scipy(k, n):
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_newcombe_by_hand():
    # 36 right in both, 12 only in the first, 2 only in the second, none in neither; n = 50.
    # p = 48/50 = 0.96, Wilson (0.865399, 0.988961); q = 38/50 = 0.76, Wilson (0.625873, 0.857026)
    # product of margins 48*2*38*12 > 0; cross 36*0 - 12*2 = -24, not corrected:
    # phi = -24 / sqrt(43776) = -0.114708
    # low: a = 0.094601, b = 0.097026: sqrt(a^2 + 2*0.114708*a*b + b^2) = 0.143070 -> 0.056930
    # high: a = 0.028961, b = 0.134127: sqrt(a^2 + 2*0.114708*a*b + b^2) = 0.140428 -> 0.340428
    assert newcombe(36, 12, 2, 0) == pytest.approx((0.056930, 0.340428), abs=2e-6)


def test_newcombe_corrects_a_positive_correlation():
    # n = 40; cross 15*15 - 5*5 = 200, less n/2 = 180; phi = 180/400 = 0.45; p = q = 0.5:
    # Wilson half width w: z*sqrt(0.25/40 + z^2/6400)/(1 + z^2/40) = 0.148005
    # w * sqrt(2 - 2*0.45) = 0.148005 * 1.048809 = 0.155229
    assert newcombe(15, 5, 5, 15) == pytest.approx((-0.155229, 0.155229), abs=2e-6)


@pytest.mark.parametrize("table", [(7, 0, 0, 0), (0, 0, 0, 7), (0, 7, 0, 0), (0, 0, 7, 0)])
def test_newcombe_holds_the_difference_when_margins_are_empty(table):
    _, first, second, _ = table
    low, high = newcombe(*table)
    assert -1 <= low <= (first - second) / 7 <= high <= 1


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [
        (0, 0, 1.0),
        (5, 0, 0.0625),  # 2 / 2^5
        (9, 1, 22 / 1024),  # 2 * (1 + 10) / 2^10
        (1, 9, 22 / 1024),
        (3, 3, 1.0),
    ],
)
def test_mcnemar_by_hand(better, worse, p):
    assert mcnemar(better, worse) == pytest.approx(p, abs=1e-15)


@pytest.mark.parametrize(("better", "worse"), [(60, 9), (400, 380), (1, 0)])
def test_mcnemar_agrees_with_scipy(better, worse):
    stats = pytest.importorskip("scipy.stats")
    assert mcnemar(better, worse) == pytest.approx(stats.binomtest(better, better + worse).pvalue)


def test_a_paired_difference_names_the_rows_that_flipped():
    before, after = arm([True, True, False, False, False]), arm([True, False, True, True, False])
    found = paired_difference(before, after)
    assert found.points == pytest.approx(20.0)  # 3/5 - 2/5
    assert found.flipped_to_right == ("r2", "r3") and found.flipped_to_wrong == ("r1",)
    assert found.p_value == 1.0  # 2 * (1 + 3) / 2^3
    assert found.ci95[0] < 0 < found.ci95[1]


def test_the_order_of_rows_does_not_matter():
    before, after = arm([True, False, False]), arm([False, True, True])
    shuffled = replace(after, results=after.results[::-1])
    assert paired_difference(before, shuffled) == paired_difference(before, after)


def test_arms_over_different_rows_are_not_paired():
    with pytest.raises(UsageError, match="did not see the same rows"):
        paired_difference(arm([True]), arm([True, False]))


def test_rows_that_share_an_id_are_refused():
    twice = ArmResult("base", "r", "free", (row("a", exact=True), row("a", exact=False)))
    with pytest.raises(UsageError, match="two rows share an id"):
        paired_difference(twice, twice)


def test_only_rows_without_a_call_are_kept():
    rows = (row("a", exact=True), row("b", exact=True, expects_call=False))
    assert [r.id for r in without_call(ArmResult("b", "r", "free", rows)).results] == ["b"]


def square(base_free, base_held, trained_free, trained_held):
    cells = {
        ("base", "free"): base_free,
        ("base", "constrained"): base_held,
        ("trained", "free"): trained_free,
        ("trained", "constrained"): trained_held,
    }
    return [arm(right, model, "r", kind) for (model, kind), right in cells.items()]


def test_the_interaction_by_hand():
    # Row by row (held gain - free gain): r0 (1-1)-(1-0) = -1, r1 (1-1)-(1-0) = -1,
    # r2 (1-0)-(0-0) = +1, r3 0: mean -1/4; variance (2*0.5625 + 1.5625 + 0.0625)/3 = 0.916667,
    # standard error sqrt(0.916667/4) = 0.478714, times 1.959964 = 0.938262
    found = interaction(square([0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]))
    assert found is not None and found.points == pytest.approx(-25.0)
    assert found.ci95 == pytest.approx((-118.8262, 68.8262), abs=1e-3)
    assert found.cells["trained", "constrained"] == 0.75


def test_no_row_that_differs_does_not_prove_that_none_would():
    found = interaction(square([0] * 20, [0] * 20, [1] * 20, [1] * 20))
    # Wilson of 0 of 20: z^2 / (20 + z^2) = 0.161125
    assert found is not None and found.points == 0
    assert found.ci95 == pytest.approx((-16.1125, 16.1125), abs=1e-4)


def test_a_missing_cell_means_no_interaction():
    assert interaction(square([1], [1], [1], [1])[:3]) is None
