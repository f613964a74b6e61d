"""Plain JSON call syntax (xLAM): one list of calls and nothing else.

    [{"name": "get_weather", "arguments": {"city": "Oslo"}}]

`[]` means that no tool is called. A single object counts as a list of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgetool.calls.json_text import INVALID, dumps, loads, loads_at
from edgetool.calls.syntaxes.base import Parsed, calls_from_json
from edgetool.calls.syntaxes.rules import Rules, json_call
from edgetool.calls.types import Tool, ToolCall

NAME = "json"
START = "["
END = "]"


def render(calls: Sequence[ToolCall]) -> str:
    return dumps([call.as_json() for call in calls])


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    if not text.strip():
        return Parsed(problem="empty")
    value = loads(text)
    if value is not INVALID:
        return _calls_of(value)
    inner = _first_json(text)
    if inner is INVALID:
        return Parsed(problem="invalid_json")
    found = _calls_of(inner)
    return Parsed(found.calls, found.problem or "extra_text")


def _calls_of(value: Any) -> Parsed:
    calls, clean = calls_from_json(value)
    return Parsed(calls, None if clean else "not_a_call")


def _first_json(text: str) -> Any:
    """The first JSON list or object inside prose or a code fence, or INVALID."""
    starts = [i for i in (text.find("["), text.find("{")) if i >= 0]
    if not starts:
        return INVALID
    return loads_at(text, min(starts))[0]


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """A list of calls with arguments held to each tool's schema; the empty list is no call."""
    if not tools:
        return 'start: "[]"'
    some = 'call (", " call)*' if required else '(call (", " call)*)?'
    rules = Rules(f'"[" {some} "]"')
    rules.define("call", " | ".join(json_call(rules, tool) for tool in tools))
    return str(rules)


def detect(template: str) -> bool:
    return False  # no template marks it; it is chosen by name, as the fallback
