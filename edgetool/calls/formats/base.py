"""What every call syntax module offers, and the result of parsing.

A call syntax is a module in this package with these names:

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

import json
import math
import re
import sys
from dataclasses import dataclass
from typing import Any

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


INVALID = object()
_SPACE = re.compile(r"\s*")
MAX_DEPTH = 64  # deeper nesting is nobody's call, and walking it could exhaust the stack


def loads(text: str) -> Any:
    """JSON text -> value, or INVALID. Model output may be nested absurdly deep or hold NaN."""
    value, end = loads_at(text, 0)
    return value if not text[end:].strip() else INVALID


def loads_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at `start` (white space skipped), and where it ends.

    (INVALID, start) when there is none.
    """
    begin = _SPACE.match(text, start).end()  # type: ignore[union-attr]  # matches nothing, too
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=finite)
    try:
        value, end = decoder.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return INVALID, start
    return (INVALID, start) if _deeper_than(value, MAX_DEPTH) else (value, end)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def finite(text: str) -> float:
    value = float(text)
    # 1e999 is JSON, and a grammar lets it through, but infinity could not be written back.
    return value if math.isfinite(value) else math.copysign(sys.float_info.max, value)


def dumps(value: Any) -> str:
    """One spelling of JSON everywhere: the one chat templates' `tojson` writes."""
    return _ENCODER.encode(value)


# json.dumps would make one for every call
_ENCODER = json.JSONEncoder(ensure_ascii=False)
