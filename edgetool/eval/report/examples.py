"""The rows worth looking at: what training fixed, what it broke, what is still wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgetool.calls.types import Example
from edgetool.eval.evaluate import ArmResult, RowResult
from edgetool.eval.outcomes import BROKEN, FIXED, RIGHT, WRONG, outcome
from edgetool.eval.paired import BASE, TRAINED

SHOWN = 20
DECODING = "decoding"  # right in one arm and wrong in another, and training is not why
# Whose turn it is: three fixed before one broken, so that a page does not look worse than it is.
TURNS = (FIXED, FIXED, FIXED, BROKEN, DECODING, RIGHT, WRONG)


@dataclass(frozen=True)
class Written:
    """What one or several arms wrote for a row, the very same in all of them."""

    model: str
    arms: tuple[str, ...]
    row: RowResult


@dataclass(frozen=True)
class Shown:
    """An example and what was written for it.

    kind   one of TURNS
    """

    example: Example
    kind: str
    written: tuple[Written, ...]


def shown(
    arms: Sequence[ArmResult], examples: Sequence[Example], limit: int = SHOWN
) -> list[Shown]:
    """Up to `limit` examples that say something about `arms` (of one runtime), in TURNS.

    Where models are compared, rows that all arms have right say nothing and are left out.
    """
    rows = [(arm.model, arm.arm, {row.id: row for row in arm.results}) for arm in arms]
    alone = len({arm.model for arm in arms}) == 1
    kinds: dict[str, list[Shown]] = {kind: [] for kind in TURNS}
    for example in examples:
        found = [(m, a, by_id[example.id]) for m, a, by_id in rows if example.id in by_id]
        if not found:
            continue
        kind = _kind({(m, a): row.verdict.exact for m, a, row in found})
        if kind != RIGHT or alone:
            kinds[kind].append(Shown(example, kind, _together(found)))
    return list(_in_turns(kinds))[:limit]


def _kind(exact: Mapping[tuple[str, str], bool]) -> str:
    changes = {
        outcome(was, exact[TRAINED, arm])
        for (model, arm), was in exact.items()
        if model == BASE and (TRAINED, arm) in exact
    }
    for kind in (BROKEN, FIXED):
        if kind in changes:
            return kind
    if len(set(exact.values())) > 1:
        return DECODING
    return RIGHT if all(exact.values()) else WRONG


def _together(found: Sequence[tuple[str, str, RowResult]]) -> tuple[Written, ...]:
    """Arms of one model that made the same calls, or wrote the same, are named once."""
    same: dict[tuple[str, str, str | None], Written] = {}
    for model, arm, row in found:
        clean = row.said and row.problem is None
        key = (model, row.said if clean else row.text, row.error)
        before = same.get(key)
        arms = (*before.arms, arm) if before else (arm,)
        same[key] = Written(model, arms, before.row if before else row)
    return tuple(same.values())


def _in_turns(kinds: Mapping[str, Sequence[Shown]]) -> Iterable[Shown]:
    waiting = {kind: iter(found) for kind, found in kinds.items()}
    while waiting:
        for kind in TURNS:
            if kind not in waiting:
                continue
            example = next(waiting[kind], None)
            if example is None:
                del waiting[kind]
            else:
                yield example
