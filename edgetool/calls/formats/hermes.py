"""Hermes call syntax: Hermes 2/3, Qwen2.5, Qwen3, Granite 4, SmolLM3 and nano.

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Oslo"}}
    </tool_call>

Several calls follow each other; prose without a `<tool_call>` means that no tool is called.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgetool.calls.formats.base import INVALID, Parsed, call_from_json, call_schema, dumps, loads
from edgetool.calls.types import Tool, ToolCall

NAME = "hermes"
START = "<tool_call>"
END = "</tool_call>"

_BLOCK = re.compile(r"<tool_call>(.*?)(</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)


def render(calls: Sequence[ToolCall]) -> str:
    return "\n".join(f"{START}\n{dumps(call.as_json())}\n{END}" for call in calls)


def parse(text: str) -> Parsed:
    if not text.strip():
        return Parsed(problem="empty")
    calls: list[ToolCall] = []
    problems: list[str] = []
    for block in _BLOCK.finditer(text):
        value = loads(block[1])
        call = call_from_json(value)
        if value is INVALID:
            problems.append("invalid_json")
        elif call is None:
            problems.append("not_a_call")
        else:
            calls.append(call)
        if block[2] != END:
            problems.append("unclosed")
    if START in text or END in text:
        rest = _BLOCK.sub("", text)
        if rest.strip():
            problems.append("extra_text")
    return Parsed(tuple(calls), problems[0] if problems else None)


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """Prose without a call, or one call after another with arguments held to each tool's schema."""
    start = "calls" if required else "prose | calls" if tools else "prose"
    # Prose may not begin with "<": a call opened and never closed would pass as prose.
    lines = [f"start: {start}"] + ([] if required else [r"prose: /[^<\s][^<]*/"])
    if tools:
        choices = " | ".join(f"call_{i}" for i in range(len(tools)))
        lines += ['calls: call ("\\n" call)*', f'call: "{START}\\n" ({choices}) "\\n{END}"']
        lines += [f"call_{i}: %json {dumps(call_schema(tool))}" for i, tool in enumerate(tools)]
    return "\n".join(lines)


def detect(template: str) -> bool:
    return "<tool_call>" in template and "<function=" not in template
