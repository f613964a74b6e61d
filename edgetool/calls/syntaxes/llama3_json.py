"""JSON call syntax of Llama 3.1 and 3.2: bare objects with `parameters`.

    {"name": "get_weather", "parameters": {"city": "Oslo"}}

Several stand one after another, with "; " between them: the model was shown one call at a time, and
this is what it writes when it makes more. Prose that does not begin with a brace means no call.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgetool.calls.json_text import INVALID, dumps, loads_at
from edgetool.calls.syntaxes.base import Parsed, call_from_json
from edgetool.calls.syntaxes.rules import json_call, start
from edgetool.calls.types import Tool, ToolCall

NAME = "llama3_json"
START = "{"
END = "}"

_TAG = "<|python_tag|>"  # stands before a call at times
_KEY = "parameters"
_BETWEEN = "; \n\t\r,"


def render(calls: Sequence[ToolCall]) -> str:
    return "; ".join(dumps({"name": call.name, _KEY: call.arguments}) for call in calls)


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    if not text.strip():
        return Parsed(problem="empty")
    begin = text.find(START)
    before = text[: max(begin, 0)].replace(_TAG, "").strip()
    if begin < 0 or (before and '"name"' not in text[begin:]):
        return Parsed(problem="invalid_json" if _TAG in text else None)
    calls, problem = _objects(text, begin)
    return Parsed(calls, problem or ("extra_text" if before else None))


def _objects(text: str, at: int) -> tuple[tuple[ToolCall, ...], str | None]:
    """One object after another, and the first thing that is wrong with them."""
    calls: list[ToolCall] = []
    problems: list[str] = []
    while text.startswith(START, at):
        value, end = loads_at(text, at)
        if value is INVALID:
            problems.append("invalid_json")
            break
        call = call_from_json(value, _KEY) or call_from_json(value)
        if call is None:
            problems.append("not_a_call")
        else:
            calls.append(call)
        at = _next(text, end)
    if not problems and text[at:].strip():
        problems.append("extra_text")
    return tuple(calls), problems[0] if problems else None


def _next(text: str, at: int) -> int:
    """Where the next object may begin; `at` when only something else follows."""
    rest = text[at:].lstrip(_BETWEEN).removeprefix(_TAG).lstrip()
    following = len(text) - len(rest)
    return following if rest.startswith(START) else at


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """Prose without a brace, or one call after another."""
    rules = start(tools, required=required, prose=r"/[^{<\s][^{<]*/")
    if tools:
        choices = " | ".join(json_call(rules, tool, _KEY) for tool in tools)
        rules.define("calls", 'call ("; " call)*')
        rules.define("call", choices)
    return str(rules)


def detect(template: str) -> bool:
    return '{"name": function name, "parameters": dictionary of argument name' in template
