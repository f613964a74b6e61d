"""Hermes call syntax: Hermes 2/3, Qwen2.5, Qwen3, Granite 4, SmolLM3 and nano.

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Oslo"}}
    </tool_call>

Several calls follow each other; prose without a `<tool_call>` means that no tool is called.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgetool.calls.json_text import INVALID, dumps, loads_at
from edgetool.calls.syntaxes.base import Block, Parsed, broken_block, call_from_json, read_blocks
from edgetool.calls.syntaxes.rules import json_call, start
from edgetool.calls.types import Tool, ToolCall

NAME = "hermes"
START = "<tool_call>"
END = "</tool_call>"

_CLOSING = re.compile(r"\s*</tool_call>")


def render(calls: Sequence[ToolCall]) -> str:
    return "\n".join(f"{START}\n{dumps(call.as_json())}\n{END}" for call in calls)


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    return read_blocks(text, START, END, lambda begin: _block(text, begin))


def _block(text: str, start: int) -> Block:
    """The JSON is decoded first and END looked for behind it: an argument may hold END as text."""
    value, end = loads_at(text, start)
    closing = _CLOSING.match(text, end) if value is not INVALID else None
    if closing is None:
        after, end = broken_block(text, start, START, END)
        problem = "unclosed" if value is not INVALID and not after else "invalid_json"
    else:
        problem, end = None, closing.end()
    call = None if value is INVALID else call_from_json(value)
    if problem is None and call is None:
        problem = "not_a_call"
    return [call] if call else [], problem, end


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """Prose without a call, or one call after another with arguments held to each tool's schema."""
    # Prose may not begin with "<": a call opened and never closed would pass as prose.
    rules = start(tools, required=required, prose=r"/[^<\s][^<]*/")
    if tools:
        choices = " | ".join(json_call(rules, tool) for tool in tools)
        rules.define("calls", r'call ("\n" call)*')
        rules.define("call", rf'"{START}\n" ({choices}) "\n{END}"')
    return str(rules)


def detect(template: str) -> bool:
    return "<tool_call>" in template and "<function=" not in template
