"""What every call syntax offers, and the result of parsing.

A call syntax is a module in this package with these names, or (gemma_calls.py) an object with them:

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
