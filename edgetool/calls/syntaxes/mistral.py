"""Mistral's call syntax up to Nemo: one marker and a JSON list.

    [TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}}]

Prose without the marker means that no tool is called. The ids templates write are read and left
out: the model does not have to invent them. The newer form (see mistral_args) is read as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgetool.calls.json_text import INVALID, dumps, loads_at
from edgetool.calls.syntaxes.base import Block, Parsed, calls_from_json
from edgetool.calls.syntaxes.rules import json_call, start
from edgetool.calls.types import Tool, ToolCall

NAME = "mistral"
START = "[TOOL_CALLS]"
END = "]"

_ARGUMENTS = "[ARGS]"
_ID = "[CALL_ID]"


def render(calls: Sequence[ToolCall]) -> str:
    return f"{START}{dumps([call.as_json() for call in calls])}" if calls else ""


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    if not text.strip():
        return Parsed(problem="empty")
    calls: list[ToolCall] = []
    problems: list[str] = []
    begin = text.find(START)
    if begin < 0:
        return Parsed()
    before, at = text[:begin], begin
    while text.startswith(START, at):
        found, problem, at = _block(text, at + len(START))
        calls += found
        if problem is not None:
            problems.append(problem)
            break
        at = len(text) - len(text[at:].lstrip())
    if not problems and (before.strip() or text[at:].strip()):
        problems.append("extra_text")
    return Parsed(tuple(calls), problems[0] if problems else None)


def _block(text: str, at: int) -> Block:
    """The calls behind a marker."""
    if text[at:].lstrip()[:1] in ("[", "{", ""):
        value, end = loads_at(text, at)
        if value is INVALID:
            return [], "invalid_json", at
        calls, clean = calls_from_json(value)
        return calls, None if calls and clean else "not_a_call", end
    return _named_block(text, at)


def _named_block(text: str, at: int) -> Block:
    """`name[ARGS]{...}`, `name[CALL_ID]id[ARGS]{...}` or `name{...}`."""
    brace = text.find("{", at)
    if brace < 0:
        return [], "not_a_call", at
    name = text[at:brace].strip().removesuffix(_ARGUMENTS).partition(_ID)[0].strip()
    arguments, end = loads_at(text, brace)
    if arguments is INVALID:
        return [], "invalid_json", at
    return [ToolCall(name, arguments)], None if name else "not_a_call", end


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """Prose without a bracket, or the marker and a list of calls."""
    rules = start(tools, required=required, prose=r"/[^\[<\s][^\[<]*/")
    if tools:
        choices = " | ".join(json_call(rules, tool) for tool in tools)
        rules.define("calls", f'"{START}" "[" call (", " call)* "]"')
        rules.define("call", choices)
    return str(rules)


def detect(template: str) -> bool:
    return START in template and _ARGUMENTS not in template
