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

from edgetool.calls.formats.base import INVALID, Parsed, dumps, loads
from edgetool.calls.formats.rules import Member, Rules, arguments_of, start, untrusted
from edgetool.calls.formats.schema_rules import resolve
from edgetool.calls.types import JsonObject, Tool, ToolCall

NAME = "qwen3_coder"
START = "<tool_call>"
END = "</tool_call>"

_FUNCTION = re.compile(r"\s*<function=([^>\n]+)>\n?")
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?")
_VALUE_END = re.compile(r"\n?</parameter>\s*(?=<parameter=|</function>)")
_FUNCTION_END = re.compile(r"\s*</function>\s*")
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
    if not text.strip():
        return Parsed(problem="empty")
    known = {tool.name: tool for tool in tools}
    calls: list[ToolCall] = []
    problems: list[str] = []
    outside, position = "", 0
    while (opened := text.find(START, position)) >= 0:
        outside += text[position:opened]
        call, problem, position = _block(text, opened + len(START), known)
        calls += [call] if call is not None else []
        problems += [problem] if problem is not None else []
    outside += text[position:]
    if (calls or problems or END in outside) and outside.strip():
        problems.append("extra_text")
    return Parsed(tuple(calls), problems[0] if problems else None)


def _block(
    text: str, begin: int, known: dict[str, Tool]
) -> tuple[ToolCall | None, str | None, int]:
    """The call behind a START, what is wrong with it, and where the block ends."""
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
        following = text.find(START, begin)
        limit = following if following >= 0 else len(text)
        closing = text.find(END, begin, limit)
        return None, "not_a_call", closing + len(END) if closing >= 0 else limit
    call = ToolCall(function[1], _arguments(written, known.get(function[1])))
    if not text.startswith(END, ended.end()):
        return call, "unclosed", ended.end()
    return call, None, ended.end() + len(END)


def _arguments(written: dict[str, str], tool: Tool | None) -> JsonObject:
    if tool is None:
        return {name: _guess(text) for name, text in written.items()}
    schemas = {name: schema for name, schema, _ in arguments_of(tool)}
    return {
        name: _read(text, _types(tool, schemas.get(name, {}))) for name, text in written.items()
    }


def _types(tool: Tool, schema: Any) -> frozenset[str]:
    """The types a schema allows, as far as it says so."""
    schema = resolve(tool.parameters, schema)
    if not isinstance(schema, dict):
        return frozenset()
    kind = schema.get("type")
    named = [kind] if isinstance(kind, str) else list(kind or ())
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    if not named and values and all(isinstance(value, str) for value in values):
        named = ["string"]
    parts = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return frozenset(named).union(*(_types(tool, part) for part in parts[:64]))


def _read(text: str, types: frozenset[str]) -> Any:
    """Text as it is where only text is allowed; JSON first where both are."""
    if types == {"string"}:
        return text
    value = _guess(text)
    if "string" in types and not isinstance(value, str) and not _fits(value, types):
        return text
    return value


def _fits(value: Any, types: frozenset[str]) -> bool:
    kinds: dict[type, set[str]] = {
        bool: {"boolean"},
        int: {"integer", "number"},
        float: {"number"},
        list: {"array"},
        dict: {"object"},
        type(None): {"null"},
    }
    return bool(kinds.get(type(value), set()) & types)


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
    members = [
        Member(f"{untrusted(f'<parameter={name}>')} {_value_rule(rules, tool, schema)}", required)
        for name, schema, required in arguments_of(tool)
        if schema is not False or required
    ]
    return rules.add(rf'{untrusted(f"<function={tool.name}>")} "\n" {rules.members(members)}')


def _value_rule(rules: Rules, tool: Tool, schema: Any) -> str:
    """A line break, the value, and its closing tag."""
    found = resolve(tool.parameters, schema)
    types = _types(tool, schema)
    closing = r'"\n</parameter>\n"'
    constants = [found["const"]] if "const" in found else found.get("enum") if found else None
    if constants is not None:
        spelled = " | ".join(untrusted(_text(value)) for value in constants)
        return rules.add(rf'"\n" ({spelled}) {closing}')
    ways = []
    if "string" in types or not types:
        # All text up to the first closing line.
        ways.append(rules.add(r'"\n" ' + _free_text(rules)))
    if "boolean" in types:
        ways.append(rules.add(rf'"\n" ("True" | "False" | "true" | "false") {closing}'))
    if "null" in types:
        ways.append(rules.add(rf'"\n" ("None" | "null") {closing}'))
    if types - {"string", "boolean", "null"}:
        typed = _only(found, types - {"string", "boolean", "null"})
        ways.append(rules.add(rf'"\n" {rules.json(typed, tool.parameters)} {closing}'))
    return rules.add(" | ".join(ways))


def _only(schema: JsonObject, types: frozenset[str]) -> JsonObject:
    """The part of a schema that is written as JSON."""
    if "anyOf" in schema or "oneOf" in schema:
        return schema
    return {**schema, "type": sorted(types)}


def _free_text(rules: Rules) -> str:
    name = "text"
    line = r'text[suffix="\n</parameter>\n"]: /(?s:.*)/'
    if line not in rules.lines:
        rules.lines.append(line)
    return name


def detect(template: str) -> bool:
    return "<tool_call>" in template and "<function=" in template
