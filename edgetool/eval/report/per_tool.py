"""How each tool fares: the rows that ask for it, and in how many of them all calls are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgetool.calls.types import Example
from edgetool.eval.evaluate import ArmResult
from edgetool.eval.outcomes import BROKEN, FIXED, Key, exact_by_row, outcome

NO_CALL = ""  # where no tool fits


@dataclass(frozen=True)
class ToolRow:
    """tool: NO_CALL for the rows that ask for none. right: rows by model, as in the arms."""

    tool: str
    rows: int
    right: Mapping[str, int]
    fixed: int
    broken: int


def per_tool(arms: Mapping[str, Sequence[ArmResult]], examples: Sequence[Example]) -> list[ToolRow]:
    """Tools by how often they are asked for, NO_CALL last; none without the examples.

    arms   by model, of one arm: the first is what a second is compared with

    A row that asks for two tools counts for both, as the judge gives it one verdict.
    """
    exact = {model: exact_by_row(own) for model, own in arms.items()}
    asked = _asked(exact, examples)
    rows = [_row(tool, keys, exact) for tool, keys in asked.items()]
    return sorted(rows, key=lambda row: (row.tool == NO_CALL, -row.rows, row.tool))


def _asked(
    exact: Mapping[str, Mapping[Key, bool]], examples: Sequence[Example]
) -> dict[str, list[Key]]:
    tools = {e.id: tuple(dict.fromkeys(c.name for c in e.calls)) or (NO_CALL,) for e in examples}
    first = next(iter(exact.values()), {})
    found: dict[str, list[Key]] = {}
    for key in first:
        if all(key in rows for rows in exact.values()):
            for tool in tools.get(key[1], ()):
                found.setdefault(tool, []).append(key)
    return found


def _row(tool: str, keys: Sequence[Key], exact: Mapping[str, Mapping[Key, bool]]) -> ToolRow:
    right = {model: sum(rows[key] for key in keys) for model, rows in exact.items()}
    first, *others = exact.values()
    changes = [outcome(first[key], others[0][key]) for key in keys] if len(others) == 1 else []
    return ToolRow(tool, len(keys), right, changes.count(FIXED), changes.count(BROKEN))
