"""Pythonic call syntax: Llama 3.2 and 4 when their system prompt asks for it.

    [get_weather(city="Oslo"), get_time(zone="CET")]

Prose that does not begin with a bracket means that no tool is called.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgetool.calls.syntaxes import python_calls
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.syntaxes.rules import start
from edgetool.calls.types import Tool, ToolCall

NAME = "pythonic"
START = "["
END = "]"


def render(calls: Sequence[ToolCall]) -> str:
    return python_calls.write(calls) if calls else ""


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    if not text.strip():
        return Parsed(problem="empty")
    begin = text.find(START)
    if begin < 0:
        return Parsed()
    before = text[:begin].strip()
    found = python_calls.read(text, begin)
    if found is None:
        return Parsed(problem=None if before else "not_a_call")
    calls, end = found
    if not calls:
        return Parsed(problem=None if before else "not_a_call")
    return Parsed(tuple(calls), "extra_text" if before or text[end:].strip() else None)


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """Prose without a bracket, or one list of calls."""
    rules = start(tools, required=required, prose=r"/[^\[\s][^\[]*/")
    if tools:
        rules.define("calls", python_calls.add_grammar(rules, tools))
    return str(rules)


def detect(template: str) -> bool:
    return "[func_name1(params_name1=" in template
