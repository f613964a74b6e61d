from __future__ import annotations

import re

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.types import Tool
from edgetool.errors import EngineError
from edgetool.grammar.gbnf import to_gbnf
from tests.conftest import music_tool, weather_tool

pytest.importorskip("llama_cpp")


NESTED = {"type": "array", "items": {"$ref": "#/$defs/N"}}


def tool(**schema):
    parameters = {"type": "object", "properties": {"a": schema}, "$defs": {"N": NESTED}}
    return Tool("t", "", parameters)


def test_the_hermes_grammar_in_gbnf():
    text = to_gbnf(syntaxes.get("hermes").grammar([weather_tool(), music_tool()]))
    lines = text.splitlines()
    assert lines[:2] == ["root ::= prose | calls", r"prose ::= [^< \t\r\n] [^<]*"]
    assert r'calls ::= call ("\n" call)*' in lines
    [call] = [line for line in lines if line.startswith("call ::= ")]
    either = re.fullmatch(r'call ::= "<tool_call>\\n" \((\w+) \| (\w+)\) "\\n</tool_call>"', call)
    for rule, name in zip(either.groups(), ("get_weather", "play_music"), strict=True):
        [own] = [line for line in lines if line.startswith(f"{rule} ::= ")]
        assert name in own and "arguments" in own


def test_the_plain_json_grammar_in_gbnf():
    lines = to_gbnf(syntaxes.get("json").grammar([weather_tool()])).splitlines()
    assert lines[0] == 'root ::= "[" (call (", " call)*)? "]"'
    [call] = [line for line in lines if line.startswith("call ::= ")]
    [own] = [line for line in lines if line.startswith(f"{call.removeprefix('call ::= ')} ::= ")]
    assert "get_weather" in own


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "integer", "maximum": 9}, "'maximum'"),
        ({"type": "string", "pattern": "a+"}, "'pattern'"),
        ({"type": "string", "maxLength": 5000}, "'maxLength'"),
        ({"$ref": "#/$defs/N"}, r"'\$defs'"),
        ({}, "type None"),
        ({"type": "object", "properties": {}, "additionalProperties": True}, "names of arguments"),
        ({"type": "string", "enum": [str(i) for i in range(201)]}, "too large"),
        ({"type": "array", "prefixItems": [{"type": "null"}]}, "'prefixItems'"),
    ],
    ids=str,
)
def test_what_the_converter_would_drop_or_choke_on_is_refused(schema, reason):
    with pytest.raises(EngineError, match=reason):
        to_gbnf(syntaxes.get("hermes").grammar([tool(**schema)]))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "boolean"}}]},
        {"allOf": [{"type": "string"}, {"enum": ["a", "b"]}]},
    ],
    ids=str,
)
def test_a_choice_is_held(schema):
    assert "root ::=" in to_gbnf(syntaxes.get("hermes").grammar([tool(**schema)]))


def test_a_string_holds_no_bare_control_character():
    text = to_gbnf(syntaxes.get("hermes").grammar([tool(type="string")]))
    [char] = [line for line in text.splitlines() if line.startswith("char ::= ")]
    assert char.startswith(r'char ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" ')


def test_deep_nesting_is_refused():
    schema = {"type": "string"}
    for _ in range(9):
        schema = {"type": "array", "items": schema}
    with pytest.raises(EngineError, match="too large"):
        to_gbnf(syntaxes.get("hermes").grammar([tool(**schema)]))


@pytest.mark.parametrize("line", ["start: x y%z", "start: /a|b/", "%import common.INT", "start:x"])
def test_a_grammar_gbnf_cannot_say_is_refused(line):
    with pytest.raises(EngineError, match="no form in GBNF"):
        to_gbnf(line)
