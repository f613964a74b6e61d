"""Call syntaxes of FunctionGemma and Gemma 4: `call:name{key:value}` between markers.

    <start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>
    <|tool_call>call:get_weather{city:<|"|>Oslo<|"|>}<tool_call|>

Several calls follow each other; prose without a marker means that no tool is called. Strings stand
as they are between two quotes of the model's own, which cannot be escaped: a string that holds the
quote itself cannot be written. Keys are in alphabetical order in what the templates write, and in
any order in what is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgetool.calls.schema.tree import arguments_of
from edgetool.calls.syntaxes.base import Block, Parsed, broken_block, read_blocks
from edgetool.calls.syntaxes.literals import Reader, Spelling, Unreadable
from edgetool.calls.syntaxes.rules import literal, start, untrusted
from edgetool.calls.syntaxes.schema_rules import SchemaRules
from edgetool.calls.types import Tool, ToolCall

_NAME = re.compile(r"[^{}\s<>]+")


@dataclass(frozen=True)
class GemmaCalls:
    """The syntax by one of its names, with the markers and the quote it has there."""

    NAME: str
    START: str
    END: str
    quote: str

    @property
    def spelling(self) -> Spelling:
        return Spelling("true", "false", "null", self.quote, True, (",", ":"))

    def render(self, calls: Sequence[ToolCall]) -> str:
        return "".join(self._call(call) for call in calls)

    def _call(self, call: ToolCall) -> str:
        return f"{self.START}call:{call.name}{self.spelling.write(call.arguments)}{self.END}"

    def parse(self, text: str, tools: Sequence[Tool] = ()) -> Parsed:
        return read_blocks(text, self.START, self.END, lambda begin: self._block(text, begin))

    def _block(self, text: str, begin: int) -> Block:
        reader = Reader(text, begin, self.spelling)
        try:
            reader.need("call:")
            name = reader.match(_NAME)
            arguments = reader.value()
        except Unreadable:
            name = arguments = None
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return [], "not_a_call", broken_block(text, begin, self.START, self.END)[1]
        call = ToolCall(name, arguments)
        if not reader.take(self.END):
            return [call], "unclosed", reader.at
        return [call], None, reader.at

    def grammar(self, tools: Sequence[Tool], *, required: bool = False) -> str:
        """Prose without a marker, or one call after another."""
        rules = start(tools, required=required, prose=r"/[^<\s][^<]*/")
        if not tools:
            return str(rules)
        choices = []
        for tool in tools:
            tree, shapes = arguments_of(tool)
            values = SchemaRules(rules, self.spelling, tree)
            bodies = " | ".join(map(values.arguments, shapes))
            choices.append(rules.add(f"{untrusted(tool.name)} ({bodies})"))
        rules.define(
            "call", f"{literal(self.START + 'call:')} ({' | '.join(choices)}) {literal(self.END)}"
        )
        rules.define("calls", "call+")
        return str(rules)

    def detect(self, template: str) -> bool:
        return self.START in template


FUNCTIONGEMMA = GemmaCalls(
    "functiongemma", "<start_function_call>", "<end_function_call>", "<escape>"
)
GEMMA4 = GemmaCalls("gemma4", "<|tool_call>", "<tool_call|>", '<|"|>')
