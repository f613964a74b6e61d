"""What became of each row between two arms: fixed, broken, right in both, wrong in both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edgetool.eval.evaluate import ArmResult

FIXED, BROKEN, RIGHT, WRONG = "fixed", "broken", "right", "wrong"
# In this order those right after lie together, and so do those wrong before.
OUTCOMES = (RIGHT, FIXED, BROKEN, WRONG)

Key = tuple[str, str]  # category and id


def outcome(before: bool, after: bool) -> str:
    """One of OUTCOMES, from whether a row was right before and after."""
    if before == after:
        return RIGHT if after else WRONG
    return FIXED if after else BROKEN


def exact_by_row(arms: Sequence[ArmResult]) -> dict[Key, bool]:
    """Whether each row is right, over the categories of one model, runtime and arm."""
    return {(arm.category, row.id): row.verdict.exact for arm in arms for row in arm.results}


def outcomes(before: Sequence[ArmResult], after: Sequence[ArmResult]) -> dict[Key, str]:
    """The outcome of every row that both saw."""
    first, second = exact_by_row(before), exact_by_row(after)
    return {key: outcome(first[key], second[key]) for key in first if key in second}


def counted(found: Mapping[Key, str]) -> dict[str, int]:
    """How many rows had each outcome, in the order of OUTCOMES."""
    counts = Counter(found.values())
    return {kind: counts[kind] for kind in OUTCOMES}
