"""The same rows twice: what changed between two arms, and the 2x2 of training and decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

from edgetool.calls.judge.mistakes import KINDS
from edgetool.errors import UsageError
from edgetool.eval.evaluate import ERROR, ArmResult, RowResult
from edgetool.eval.statistics import Z95, mcnemar, newcombe, wilson
from edgetool.runtime import CONSTRAINED, FREE

BASE, TRAINED = "base", "trained"
# Mistakes that a grammar rules out by itself; all the others are choices.
SYNTAX = frozenset(
    ("empty", "invalid_json", "not_a_call", "unclosed", "extra_text", "cut", "error")
)


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
    first, second = _same_rows(before, after)
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
    return replace(arm, results=tuple(row for row in arm.results if not row.expects_call), more=())


@dataclass(frozen=True)
class ClassChange:
    """Rows with a class of error: free had it and the grammar does not, the other way, both."""

    kind: str
    removed: int
    made: int
    left: int


def constraint_effect(free: ArmResult, held: ArmResult) -> list[ClassChange]:
    """What a grammar did to each class of error, classes that occur only, syntax first.

    Raises UsageError when the two did not see the same rows.
    """
    _same_rows(free, held)
    before = {row.id: kinds_of(row) for row in free.results}
    after = {row.id: kinds_of(row) for row in held.results}
    changes = []
    for kind in (*KINDS, ERROR):
        had = {i for i, kinds in before.items() if kind in kinds}
        has = {i for i, kinds in after.items() if kind in kinds}
        if had or has:
            changes.append(ClassChange(kind, len(had - has), len(has - had), len(had & has)))
    return changes


def kinds_of(row: RowResult) -> frozenset[str]:
    """The classes of error a row has."""
    return frozenset(mistake.kind for mistake in row.verdict.errors)


@dataclass(frozen=True)
class Interaction:
    """Exact match of train x decode, and whether the two gains add up.

    cells    share in [0, 1] by (model, arm)
    points   (trained - base when constrained) - (trained - base when free), percentage points:
             below zero, training and the grammar fix some of the same rows
    ci95     normal approximation over the rows, percentage points; where no row says anything about
             it, Wilson's bound of a share never seen, since that does not prove that it is zero
    fixed    rows that base gets wrong when free and training alone gets right
    given    those of `fixed` that the grammar alone gets right too: what it would have given for
             nothing
    """

    cells: dict[tuple[str, str], float]
    points: float
    ci95: tuple[float, float]
    fixed: int = 0
    given: int = 0


def interaction(arms: Sequence[ArmResult], held: str = CONSTRAINED) -> Interaction | None:
    """The 2x2 of {base, trained} x {free, held} in one runtime and category; None when a cell is
    missing.

    Raises UsageError when the four did not see the same rows.
    """
    by_cell = {(arm.model, arm.arm): _exact_by_id(arm) for arm in arms}
    places = [(m, a) for m in (BASE, TRAINED) for a in (FREE, held)]
    if not all(by_cell.get(cell) for cell in places):
        return None
    base_free, base_held, trained_free, trained_held = (by_cell[cell] for cell in places)
    if any(by_cell[cell].keys() != base_free.keys() for cell in places):
        raise UsageError("the four arms of the 2x2 did not see the same rows; evaluate them again")
    gains = [(trained_held[i] - base_held[i]) - (trained_free[i] - base_free[i]) for i in base_free]
    n = len(gains)
    mean = sum(gains) / n
    error = sqrt(sum((gain - mean) ** 2 for gain in gains) / (n - 1) / n) if n > 1 else 0.0
    half = Z95 * error if any(gains) else wilson(0, n)[1]
    fixed = [i for i in base_free if trained_free[i] and not base_free[i]]
    return Interaction(
        cells={cell: sum(by_cell[cell].values()) / n for cell in places},
        points=100 * mean,
        ci95=(100 * (mean - half), 100 * (mean + half)),
        fixed=len(fixed),
        given=sum(base_held[i] for i in fixed),
    )


def _same_rows(before: ArmResult, after: ArmResult) -> tuple[dict[str, bool], dict[str, bool]]:
    """Whether each row is right in both arms, by id. Raises UsageError for other rows."""
    first, second = _exact_by_id(before), _exact_by_id(after)
    if first.keys() != second.keys() or not first:
        raise UsageError(
            f"cannot pair {before.label} ({len(first)} rows) with {after.label} ({len(second)} "
            "rows): they did not see the same rows; evaluate both on the same --data"
        )
    return first, second


def _exact_by_id(arm: ArmResult) -> dict[str, bool]:
    exact = {row.id: row.verdict.exact for row in arm.results}
    if len(exact) != len(arm.results):
        raise UsageError(f"{arm.label}: two rows share an id; give every row of --data its own")
    return exact
