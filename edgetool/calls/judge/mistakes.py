"""What is wrong with a completion, one mistake at a time, in words a person can act on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgetool.calls.syntaxes.base import PROBLEMS
from edgetool.terminal import clipped

WRONG_TOOL = "wrong_tool"
MISSING_ARGUMENT = "missing_argument"
EXTRA_ARGUMENT = "extra_argument"
WRONG_TYPE = "wrong_type"
WRONG_VALUE = "wrong_value"
EXTRA_CALL = "extra_call"
MISSING_CALL = "missing_call"
SHOULD_ABSTAIN = "should_abstain"

# Every kind a mistake may have: what a completion is not clean for, then what its calls get wrong.
KINDS = (
    *PROBLEMS,
    WRONG_TOOL,
    MISSING_ARGUMENT,
    EXTRA_ARGUMENT,
    WRONG_TYPE,
    WRONG_VALUE,
    EXTRA_CALL,
    MISSING_CALL,
    SHOULD_ABSTAIN,
)

_SHOWN = 80
_UNCLEAN = {
    "empty": "the completion is empty",
    "invalid_json": "a call is not valid JSON",
    "not_a_call": "the JSON is not a call: it needs a name and an object of arguments",
    "unclosed": "a call is opened and never closed",
    "extra_text": "there is text beside the calls",
    "cut": "the completion was cut at max_completion_length",
}


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong.

    kind       one of KINDS, or a problem that a caller gave a Parsed of its own
    call       which of the calls made, from 0; None where it is about no call made
    tool       the tool's name: the one called, or for a missing call the one expected
    path       where in its arguments: "city", "filter.unit", "items[2]"; "" for the call itself
    expected   what would have been right, a list of several where `choice` is set
    got        what was there instead; None where nothing was
    choice     `expected` lists values of which any is right
    """

    kind: str
    call: int | None = None
    tool: str | None = None
    path: str = ""
    expected: Any = None
    got: Any = None
    choice: bool = False

    def __str__(self) -> str:
        where = f"call {self.call + 1} ({self.tool}): " if self.call is not None else ""
        return where + self._what()

    def _what(self) -> str:
        expected, got = self._wanted(), _shown(self.got)
        match self.kind:
            case "wrong_tool":
                return f"wrong tool, {self.expected} was expected"
            case "missing_argument":
                return f"{self.path} is missing, expected {expected}"
            case "extra_argument":
                return f"{self.path} = {got} was not asked for"
            case "wrong_type":
                return f"{self.path} = {got} has the wrong type, expected {expected}"
            case "wrong_value":
                return f"{self.path} = {got}, expected {expected}"
            case "extra_call":
                return "one call too many"
            case "missing_call":
                return f"a call to {self.tool} is missing: {expected}"
            case "should_abstain":
                return "no tool should have been called"
        return _UNCLEAN.get(self.kind, self.kind)

    def _wanted(self) -> str:
        if self.choice and isinstance(self.expected, list | tuple):
            values = clipped(", ".join(_json(value) for value in self.expected), _SHOWN)
            return f"one of {values}" if values else "some value"
        return _shown(self.expected)


def explain(mistakes: Sequence[Mistake]) -> str:
    """A line for each mistake, or that there is none."""
    return "\n".join(str(mistake) for mistake in mistakes) or "nothing is wrong"


def _shown(value: Any) -> str:
    return clipped(_json(value), _SHOWN)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
