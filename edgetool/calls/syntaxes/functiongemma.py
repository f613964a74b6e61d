"""Call syntax of FunctionGemma.

    <start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>

Several calls follow each other; prose without a marker means that no tool is called.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.syntaxes.gemma_calls import GemmaCalls
from edgetool.calls.types import Tool, ToolCall

NAME = "functiongemma"
START = "<start_function_call>"
END = "<end_function_call>"

_CALLS = GemmaCalls(START, END, "<escape>")


def render(calls: Sequence[ToolCall]) -> str:
    return _CALLS.render(calls)


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    return _CALLS.parse(text)


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """Prose without a marker, or one call after another."""
    return _CALLS.grammar(tools, required)


def detect(template: str) -> bool:
    return START in template
