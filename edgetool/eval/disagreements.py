"""The rows worth looking at: where base and trained, or the arms, do not agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from edgetool.calls.types import Example
from edgetool.eval.evaluate import ArmResult, RowResult

SHOWN = 20


@dataclass(frozen=True)
class Disagreement:
    """An example and what each arm wrote for it: (model, arm, result)."""

    example: Example
    kind: str  # "fixed by training" | "broken by training" | "arms disagree"
    outcomes: tuple[tuple[str, str, RowResult], ...]


def disagreements(
    arms: Sequence[ArmResult], examples: Sequence[Example], limit: int = SHOWN
) -> list[Disagreement]:
    """Up to `limit` examples on which `arms` (of one runtime) are not all right or all wrong.

    The kinds take turns, so that what training broke is shown beside what it fixed.
    """
    rows = [(arm.model, arm.arm, {row.id: row for row in arm.results}) for arm in arms]
    kinds: dict[str, list[Disagreement]] = {}
    for example in examples:
        outcomes = tuple((m, a, by_id[example.id]) for m, a, by_id in rows if example.id in by_id)
        kind = _kind({(m, a): row.verdict.exact for m, a, row in outcomes})
        if kind:
            kinds.setdefault(kind, []).append(Disagreement(example, kind, outcomes))
    turns = chain.from_iterable(zip_longest(*(kinds[kind] for kind in sorted(kinds))))
    return [found for found in turns if found is not None][:limit]


def _kind(exact: Mapping[tuple[str, str], bool]) -> str | None:
    if len(set(exact.values())) < 2:
        return None
    changes = {
        exact["trained", arm] - was
        for (model, arm), was in exact.items()
        if model == "base" and ("trained", arm) in exact
    }
    if -1 in changes:
        return "broken by training"
    return "fixed by training" if 1 in changes else "arms disagree"
