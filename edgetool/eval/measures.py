"""Numbers with intervals: what one arm scored, and whether the difference of two is real."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import comb, sqrt
from typing import Any

from edgetool.errors import UsageError
from edgetool.eval.evaluate import ArmResult

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def summarize(arm: ArmResult) -> dict[str, Any]:
    """One row of report.json. Shares are in [0, 1], latencies in milliseconds per completion.

    irrelevance   share of the rows expecting no call where a valid completion made none; None
                  without such rows
    latency       over the rows the engine completed; None when there are none
    """
    rows = arm.results
    exact = [row.verdict.exact for row in rows]
    times = [1000 * row.seconds for row in rows if row.error is None]
    return {
        "model": arm.model,
        "runtime": arm.runtime,
        "arm": arm.arm,
        "n": len(rows),
        "exact_match": share(exact),
        "exact_match_ci95": list(wilson(sum(exact), len(exact))),
        "right_tool": share(row.verdict.right_tool for row in rows),
        "valid": share(row.verdict.valid for row in rows),
        "irrelevance": share(row.verdict.exact for row in rows if not row.expects_call),
        "latency_ms_p50": percentile(times, 50),
        "latency_ms_p95": percentile(times, 95),
    }


def share(hits: Iterable[bool]) -> float | None:
    """The share of True, or None of nothing."""
    hits = list(hits)
    return sum(hits) / len(hits) if hits else None


def percentile(values: Sequence[float], q: float) -> float | None:
    """The q-th percentile, q in [0, 100], interpolated linearly as NumPy does; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * q / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Score interval of a share (Wilson, JASA 22, 1927), in [0, 1]. Nothing seen: (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = p + z * z / (2 * n)
    spread = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At p = 0 and p = 1 the bound is exactly 0 and 1; rounding would leave a speck outside.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return low, high


@dataclass(frozen=True)
class Difference:
    """What changed in exact match between two arms over the same rows.

    points             after - before, in percentage points
    ci95               Newcombe's paired interval, in percentage points
    flipped_to_right   ids wrong before and right after
    flipped_to_wrong   ids right before and wrong after
    p_value            McNemar's exact test, two-sided
    """

    points: float
    ci95: tuple[float, float]
    flipped_to_right: tuple[str, ...]
    flipped_to_wrong: tuple[str, ...]
    p_value: float


def paired_difference(before: ArmResult, after: ArmResult) -> Difference:
    """`after` minus `before` in exact match, row by row.

    Raises UsageError when the two did not see the same rows, or saw none.
    """
    first, second = _exact_by_id(before), _exact_by_id(after)
    if first.keys() != second.keys() or not first:
        raise UsageError(
            f"cannot pair {before.label} ({len(first)} rows) with {after.label} ({len(second)} "
            "rows): they did not see the same rows; evaluate both on the same --data"
        )
    better = tuple(i for i in first if second[i] and not first[i])
    worse = tuple(i for i in first if first[i] and not second[i])
    both = sum(first[i] and second[i] for i in first)
    neither = len(first) - both - len(better) - len(worse)
    low, high = newcombe(both, len(better), len(worse), neither)
    return Difference(
        points=100 * (len(better) - len(worse)) / len(first),
        ci95=(100 * low, 100 * high),
        flipped_to_right=better,
        flipped_to_wrong=worse,
        p_value=mcnemar(len(better), len(worse)),
    )


def without_call(arm: ArmResult) -> ArmResult:
    """The arm's rows that expect no call."""
    return replace(arm, results=tuple(row for row in arm.results if not row.expects_call))


def newcombe(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """Interval of (both + only_first)/n - (both + only_second)/n over n paired trials, in [-1, 1].

    Method 10 of Newcombe, Statistics in Medicine 17, 1998, p. 2635: Wilson intervals of the two
    shares, joined through their correlation phi, which is corrected for continuity.
    """
    n = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    p, q = first / n, second / n
    (p_low, p_high), (q_low, q_high) = wilson(first, n), wilson(second, n)
    phi = _phi(both, only_first, only_second, neither)
    low = p - q - _joined(p - p_low, q_high - q, phi)
    high = p - q + _joined(p_high - p, q - q_low, phi)
    return low, high


def _joined(a: float, b: float, phi: float) -> float:
    return sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def _phi(a: int, b: int, c: int, d: int) -> float:
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if product == 0:
        return 0.0
    cross = float(a * d - b * c)
    if cross > 0:
        cross = max(0.0, cross - (a + b + c + d) / 2)
    return cross / sqrt(product)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p of a fair coin falling so unevenly over the rows that flipped."""
    flips, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(flips, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**flips)


@dataclass(frozen=True)
class Interaction:
    """Exact match of train x decode, and whether the two gains add up.

    cells    share in [0, 1] by (model, arm)
    points   (trained - base when constrained) - (trained - base when free), percentage points:
             below zero, training and the grammar fix some of the same rows
    ci95     normal approximation over the rows, percentage points
    """

    cells: dict[tuple[str, str], float]
    points: float
    ci95: tuple[float, float]


def interaction(arms: Sequence[ArmResult]) -> Interaction | None:
    """The 2x2 of {base, trained} x {free, constrained} in one runtime; None when a cell is missing.

    Raises UsageError when the four did not see the same rows.
    """
    by_cell = {(arm.model, arm.arm): _exact_by_id(arm) for arm in arms}
    wanted = [(m, a) for m in ("base", "trained") for a in ("free", "constrained")]
    if not all(by_cell.get(cell) for cell in wanted):
        return None
    base_free, base_held, trained_free, trained_held = (by_cell[cell] for cell in wanted)
    if any(by_cell[cell].keys() != base_free.keys() for cell in wanted):
        raise UsageError("the four arms of the 2x2 did not see the same rows; evaluate them again")
    gains = [(trained_held[i] - base_held[i]) - (trained_free[i] - base_free[i]) for i in base_free]
    n = len(gains)
    mean = sum(gains) / n
    error = sqrt(sum((gain - mean) ** 2 for gain in gains) / (n - 1) / n) if n > 1 else 0.0
    ci95 = (100 * (mean - Z95 * error), 100 * (mean + Z95 * error))
    cells = {cell: sum(by_cell[cell].values()) / n for cell in wanted}
    return Interaction(cells, 100 * mean, ci95)


def _exact_by_id(arm: ArmResult) -> dict[str, bool]:
    exact = {row.id: row.verdict.exact for row in arm.results}
    if len(exact) != len(arm.results):
        raise UsageError(f"{arm.label}: two rows share an id; give every row of --data its own")
    return exact
