"""Calls for a reader's eye: argument by argument, with what is wrong in each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgetool.calls.judge.match import Mistake, judge
from edgetool.calls.judge.mistakes import EXTRA_CALL, MISSING_ARGUMENT, SHOULD_ABSTAIN, WRONG_TOOL
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import Example, ToolCall
from edgetool.eval.arguments import is_in
from edgetool.eval.evaluate import RowResult
from edgetool.eval.report.examples import Shown

GOOD, BAD, MISSING, PLAIN = "good", "bad", "missing", ""  # how a part is marked
LONGEST = 400  # characters of a value; the row's file has the rest
_WRONG_NAME = (WRONG_TOOL, EXTRA_CALL, SHOULD_ABSTAIN)


@dataclass(frozen=True)
class Argument:
    """mark: BAD where it is wrong, MISSING where it should be, GOOD where others had it wrong."""

    name: str
    value: str
    mark: str


@dataclass(frozen=True)
class ShownCall:
    name: str
    mark: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class ShownRow:
    """The calls that were expected, and those of each of `Shown.written`: () where none was read.

    made   in the order of `Shown.written`
    """

    expected: tuple[ShownCall, ...]
    made: tuple[tuple[ShownCall, ...], ...]


def shown_calls(found: Shown) -> ShownRow:
    """The calls of an example side by side; what the arms differ in is marked in all of them."""
    rows = [calls_of(each.row) for each in found.written]
    faults = [_mistakes(calls, found.example) for calls in rows]
    contested = {place for each in faults for place in _places(each)}
    expected = tuple(_shown(call, (), contested) for call in found.example.calls)
    made = (
        tuple(
            _shown(call, [m for m in errors if m.call == number], contested)
            for number, call in enumerate(calls)
        )
        for calls, errors in zip(rows, faults, strict=True)
    )
    return ShownRow(expected, tuple(made))


def calls_of(row: RowResult) -> tuple[ToolCall, ...]:
    """The calls that were read in a completion (see RowResult.said)."""
    calls = [json.loads(text) for text in json.loads(row.said)] if row.said else []
    return tuple(ToolCall(call["name"], call["arguments"]) for call in calls)


def _mistakes(calls: Sequence[ToolCall], example: Example) -> tuple[Mistake, ...]:
    # Judged once more, since a stored verdict numbers the calls as they were written.
    parsed = Parsed(tuple(calls))
    return judge(parsed, example.calls, rules=example.rules, tools=example.tools).errors


def _places(mistakes: Iterable[Mistake]) -> Iterable[tuple[str, str]]:
    """(tool, path) of everything that is wrong; the path is "" for the choice of the tool."""
    for mistake in mistakes:
        if mistake.kind in _WRONG_NAME:
            yield str(mistake.expected or mistake.tool), ""
        elif mistake.path:
            yield str(mistake.tool), mistake.path


def _shown(
    call: ToolCall, mistakes: Sequence[Mistake], contested: set[tuple[str, str]]
) -> ShownCall:
    own = [path for tool, path in contested if tool == call.name]
    wrong_name = any(mistake.kind in _WRONG_NAME for mistake in mistakes)
    bad = [m.path for m in mistakes if m.path]
    given = [
        Argument(name, _text(value), _mark(_any_in(bad, name), _any_in(own, name)))
        for name, value in call.arguments.items()
    ]
    missing = [m.path for m in mistakes if m.kind == MISSING_ARGUMENT]
    absent = [path for path in missing if not any(is_in(path, name) for name in call.arguments)]
    arguments = (*given, *(Argument(path, "", MISSING) for path in absent))
    return ShownCall(call.name, _mark(wrong_name, "" in own), arguments)


def _any_in(paths: Iterable[str], argument: str) -> bool:
    return any(is_in(path, argument) for path in paths)


def _mark(wrong: bool, contested: bool) -> str:
    if wrong:
        return BAD
    return GOOD if contested else PLAIN


def _text(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
