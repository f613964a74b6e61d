"""Call syntax of Qwen3-Coder and Qwen3.5: XML with a line for each value.

    <tool_call>
    <function=get_weather>
    <parameter=city>
    Oslo
    </parameter>
    </function>
    </tool_call>

A value is text without quotes, or JSON (Python's True, False and None as well). Which one it is
the tool's schema says: "3" is text where the schema wants text. Without the tool whatever is JSON
is read as JSON. Text that holds a line `</parameter>` followed by another tag cannot be written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgetool.calls.json_text import INVALID, dumps, json_type, loads
from edgetool.calls.schema.normal_form import Normal, types
from edgetool.calls.schema.tree import SchemaTree, arguments_of, of_tool
from edgetool.calls.syntaxes.base import Block, Parsed, broken_block, read_blocks
from edgetool.calls.syntaxes.literals import PYTHON
from edgetool.calls.syntaxes.rules import Rules, length_of, start, text_patterns, untrusted
from edgetool.calls.syntaxes.schema_rules import SchemaRules
from edgetool.calls.types import JsonObject, Tool, ToolCall

NAME = "qwen3_coder"
START = "<tool_call>"
END = "</tool_call>"

_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>\n?")
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?")
_VALUE_END = re.compile(r"\n?</parameter>\s*(?=<parameter=|</function>)")
_FUNCTION_END = re.compile(r"\s*</function>\s*")
_CLOSING = r'"\n</parameter>\n"'
_FREE_NAME = r"[^<>\s]+"  # of an argument that no schema names
_WORDS = {"True": True, "False": False, "None": None}


def render(calls: Sequence[ToolCall]) -> str:
    return "\n".join(_call(call) for call in calls)


def _call(call: ToolCall) -> str:
    values = "".join(
        f"<parameter={name}>\n{_text(value)}\n</parameter>\n"
        for name, value in call.arguments.items()
    )
    return f"{START}\n<function={call.name}>\n{values}</function>\n{END}"


def _text(value: Any) -> str:
    """As the template writes it: containers as JSON, anything else as Python's str does."""
    return dumps(value) if isinstance(value, dict | list | tuple) else str(value)


def parse(text: str, tools: Sequence[Tool] = ()) -> Parsed:
    known = {tool.name: tool for tool in tools}
    return read_blocks(text, START, END, lambda begin: _block(text, begin, known))


def _block(text: str, begin: int, known: dict[str, Tool]) -> Block:
    function = _FUNCTION.match(text, begin)
    at = function.end() if function else begin
    written: dict[str, str] = {}
    while function and (parameter := _PARAMETER.match(text, at)):
        closed = _VALUE_END.search(text, parameter.end())
        if closed is None:
            break
        written[parameter[1]] = text[parameter.end() : closed.start()]
        at = closed.end()
    ended = _FUNCTION_END.match(text, at) if function else None
    if function is None or ended is None:
        return [], "not_a_call", broken_block(text, begin, START, END)[1]
    call = ToolCall(function[1], _arguments(written, known.get(function[1])))
    if not text.startswith(END, ended.end()):
        return [call], "unclosed", ended.end()
    return [call], None, ended.end() + len(END)


def _arguments(written: dict[str, str], tool: Tool | None) -> JsonObject:
    if tool is None:
        return {name: _guess(text) for name, text in written.items()}
    tree = of_tool(tool)
    return {name: _read(text, tree, tree.argument(name)) for name, text in written.items()}


def _read(text: str, tree: SchemaTree, node: Normal) -> Any:
    """One of the values a schema lists; else text as it is where only text is allowed, and JSON
    first where both are."""
    ways = tree.alternatives(node)
    listed = [value for way in ways if way is not True for value in way.get("enum", ())]
    named = [value for value in listed if _text(value) == text]
    if named:
        return named[0]
    allowed = frozenset().union(*map(types, ways)) if True not in ways else frozenset()
    if allowed == {"string"}:
        return text
    value = _guess(text)
    if "string" in allowed and not isinstance(value, str) and json_type(value) not in allowed:
        return text
    return value


def _guess(text: str) -> Any:
    if text.strip() in _WORDS:
        return _WORDS[text.strip()]
    value = loads(text)
    return text if value is INVALID or isinstance(value, str) else value


def grammar(tools: Sequence[Tool], *, required: bool = False) -> str:
    """Prose without a tag, or one call after another.

    Text is held to const and enum; its pattern, format and length are not.
    """
    rules = start(tools, required=required, prose=r"/[^<\s][^<]*/")
    if tools:
        choices = " | ".join(_call_rule(rules, tool) for tool in tools)
        rules.define("calls", r'call ("\n" call)*')
        rules.define("call", rf'"{START}\n" ({choices}) "</function>\n{END}"')
    return str(rules)


def _call_rule(rules: Rules, tool: Tool) -> str:
    tree, shapes = arguments_of(tool)
    values = _Values(rules, PYTHON, tree)
    ways = [values.members(shape, _named, _free, _FREE_NAME, "") for shape in shapes]
    body = " | ".join(f"({way})" if way else '""' for way in ways)
    return rules.add(rf'{untrusted(f"<function={tool.name}>")} "\n" ({body})')


def _named(name: str, value: str) -> str:
    return f"{untrusted(f'<parameter={name}>')} {value}"


def _free(name: str, value: str) -> str:
    return f"{untrusted('<parameter=')} {name} {untrusted('>')} {value}"


class _Values(SchemaRules):
    """A value is a line break, the text or JSON, and the closing tag."""

    def value(self, node: Normal) -> str:
        ways = [self._way(one) for one in self.tree.alternatives(node)]
        return self.rules.add(" | ".join(dict.fromkeys(ways)))

    def _way(self, node: Normal) -> str:
        if node is True:
            return rf'"\n" {_free_text(self.rules)}'
        if "enum" in node:
            spelled = " | ".join(untrusted(_text(value)) for value in node["enum"])
            return rf'"\n" ({spelled}) {_CLOSING}'
        if node["type"] == "string":
            return rf'"\n" {self._text(node)}'
        if node["type"] == "boolean":
            return rf'"\n" ("True" | "False" | "true" | "false") {_CLOSING}'
        if node["type"] == "null":
            return rf'"\n" ("None" | "null") {_CLOSING}'
        return rf'"\n" {self.rules.json(self.tree.standalone(node))} {_CLOSING}'

    def _text(self, node: JsonObject) -> str:
        """All text up to the first closing line, of the length and patterns of the schema."""
        held = [f"(?s:{one})" for one in text_patterns(node)]
        words = f"(?s:.{length_of(node)})"
        return _until_closed(
            self.rules, self.rules.pattern(words, held=held) if held else f"/{words}/"
        )


def _free_text(rules: Rules) -> str:
    return _until_closed(rules, "/(?s:.*)/")


def _until_closed(rules: Rules, words: str) -> str:
    """The rule of such text up to the first closing line."""
    return rules.add(words, rf"[suffix={_CLOSING}]")


def detect(template: str) -> bool:
    return "<tool_call>" in template and "<function=" in template
