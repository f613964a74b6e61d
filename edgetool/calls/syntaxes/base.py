"""What every call syntax offers, and the result of parsing.

A call syntax is a module in this package with these names, or (gemma.py) an object with them:

    NAME                         what a user types in a configuration
    START, END                   the text that opens and closes one call
    render(calls) -> str         calls as the model should write them
    parse(text, tools) -> Parsed the calls in a completion; never raises. A syntax that writes text
                                 without quotes asks the tools' schemas what is text
    grammar(tools) -> str        Lark (llguidance dialect): calls to these tools only, or no call;
                                 required=True: at least one call (needs a tool)
    detect(template) -> bool     whether a chat template teaches this syntax
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgetool.calls.json_text import loads
from edgetool.calls.types import ToolCall


@dataclass(frozen=True)
class Parsed:
    """A completion, read.

    calls    every call that could be read, in order (the lenient reading)
    problem  None when the completion is clean: only calls, or only prose without any call.
             Otherwise one of PROBLEMS, the first that was met (the strict reading fails).
    """

    calls: tuple[ToolCall, ...] = ()
    problem: str | None = None

    @property
    def strict_calls(self) -> tuple[ToolCall, ...] | None:
        """The calls of a clean completion, or None when it is not clean."""
        return self.calls if self.problem is None else None


CUT = "cut"
PROBLEMS = ("empty", "invalid_json", "not_a_call", "unclosed", "extra_text", CUT)


def call_from_json(value: Any, key: str = "arguments") -> ToolCall | None:
    """{"name": str, key: object | its JSON text} -> ToolCall, anything else -> None."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    if not set(value) <= {"name", key, "id", "type"}:
        return None
    arguments = value.get(key, {})
    if isinstance(arguments, str):
        arguments = loads(arguments)
    return ToolCall(value["name"], arguments) if isinstance(arguments, dict) else None


def calls_from_json(value: Any) -> tuple[tuple[ToolCall, ...], bool]:
    """The calls of a JSON list, or of one object, and whether all of it is calls."""
    entries = value if isinstance(value, list) else [value]
    calls = tuple(call for entry in entries if (call := call_from_json(entry)) is not None)
    return calls, len(calls) == len(entries)


# A block's calls, what is wrong with it, and where it ends.
Block = tuple[Sequence[ToolCall], str | None, int]


def read_blocks(text: str, start: str, end: str, block: Callable[[int], Block]) -> Parsed:
    """A completion whose calls stand in blocks, each between `start` and `end`.

    block   reads the block whose inside begins at this place in `text`
    """
    if not text.strip():
        return Parsed(problem="empty")
    calls: list[ToolCall] = []
    problems: list[str] = []
    outside, position = "", 0
    while (opened := text.find(start, position)) >= 0:
        outside += text[position:opened]
        found, problem, position = block(opened + len(start))
        calls += found
        problems += [problem] if problem is not None else []
    outside += text[position:]
    if (calls or problems or end in outside) and outside.strip():
        problems.append("extra_text")
    return Parsed(tuple(calls), problems[0] if problems else None)


def broken_block(text: str, begin: int, start: str, end: str) -> tuple[bool, int]:
    """Whether a block that cannot be read is closed before the next one, and where it ends."""
    following = text.find(start, begin)
    limit = following if following >= 0 else len(text)
    closed = text.find(end, begin, limit)
    return (True, closed + len(end)) if closed >= 0 else (False, limit)
