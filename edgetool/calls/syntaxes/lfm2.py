"""Call syntax of LFM2 and LFM2.5: Python calls between two markers of their own.

    <|tool_call_start|>[get_weather(city="Oslo")]<|tool_call_end|>

The models go on in prose behind it at times, which is read but not clean.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgetool.calls.syntaxes import python_calls
from edgetool.calls.syntaxes.base import Block, Parsed, read_blocks
from edgetool.calls.syntaxes.rules import start
from edgetool.calls.types import Tool, ToolCall

NAME = "lfm2"
START = "<|tool_call_start|>"
END = "<|tool_call_end|>"


def render(calls: Sequence[ToolCall]) -> str:
    return f"{START}{python_calls.write(calls)}{END}" if calls else ""


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    return read_blocks(text, START, END, lambda begin: _block(text, begin))


def _block(text: str, begin: int) -> Block:
    found = python_calls.read(text, begin)
    if found is None or not found[0]:
        closed = text.find(END, begin)
        return [], "not_a_call", closed + len(END) if closed >= 0 else len(text)
    calls, end = found
    rest = text[end:].lstrip()
    if not rest.startswith(END):
        return calls, "unclosed", end
    return calls, None, len(text) - len(rest) + len(END)


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """Prose without a marker, or one list of calls between the markers."""
    rules = start(tools, required=required, prose=r"/[^<\s][^<]*/")
    if tools:
        listed = python_calls.add_grammar(rules, tools)
        rules.define("calls", f'"{START}" {listed} "{END}"')
    return str(rules)


def detect(template: str) -> bool:
    return START in template or "List of tools: " in template
