"""Mistral's newer call syntax (Small 3.2, Devstral, Ministral 3): a marker for each call.

    [TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}

Prose without the marker means that no tool is called. The older list is read as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgetool.calls.json_text import dumps
from edgetool.calls.syntaxes import mistral
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.syntaxes.rules import json_arguments, start, untrusted
from edgetool.calls.types import Tool, ToolCall

NAME = "mistral_args"
START = mistral.START
END = "}"

_ARGUMENTS = "[ARGS]"


def render(calls: Sequence[ToolCall]) -> str:
    return "".join(f"{START}{c.name}{_ARGUMENTS}{dumps(c.arguments)}" for c in calls)


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    return mistral.parse(text, tools)


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """Prose without a bracket, or one call after another."""
    rules = start(tools, required=required, prose=r"/[^\[<\s][^\[<]*/")
    if tools:
        choices = [
            rules.add(f'{untrusted(tool.name)} "{_ARGUMENTS}" {json_arguments(rules, tool)}')
            for tool in tools
        ]
        rules.define("calls", f'("{START}" ({" | ".join(choices)}))+')
    return str(rules)


def detect(template: str) -> bool:
    return START in template and _ARGUMENTS in template
