from __future__ import annotations

import pytest

from edgetool.calls import formats
from edgetool.calls.types import Tool
from edgetool.errors import EngineError
from edgetool.serve.gbnf import to_gbnf
from tests.conftest import music_tool, weather_tool

pytest.importorskip("llama_cpp")


def tool(**schema):
    return Tool("t", "", {"type": "object", "properties": {"a": schema}})


def test_the_hermes_grammar_in_gbnf():
    text = to_gbnf(formats.get("hermes").grammar([weather_tool(), music_tool()]))
    lines = text.splitlines()
    assert lines[:4] == [
        "root ::= prose | calls",
        r"prose ::= [^< \t\r\n] [^<]*",
        r'calls ::= call ("\n" call)*',
        r'call ::= "<tool_call>\n" (call-0 | call-1) "\n</tool_call>"',
    ]
    assert any(line.startswith("call-1-json") and "arguments" in line for line in lines)


def test_the_plain_json_grammar_in_gbnf():
    text = to_gbnf(formats.get("json").grammar([weather_tool()]))
    assert text.startswith('root ::= "[" (call (", " call)*)? "]"\ncall ::= call-0\n')


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "integer", "maximum": 9}, "'maximum'"),
        ({"type": "string", "pattern": "a+"}, "'pattern'"),
        ({"type": "string", "maxLength": 5000}, "'maxLength'"),
        ({"$ref": "#/properties/a"}, r"'\$ref'"),
        ({}, "type None"),
        ({"type": ["string", "null"]}, "part of type"),
        ({"type": "object", "properties": {}, "additionalProperties": True}, "names of arguments"),
        ({"type": "string", "enum": [str(i) for i in range(201)]}, "too large"),
        ({"type": "array", "items": True}, "what is no schema"),
    ],
    ids=str,
)
def test_what_the_converter_would_drop_or_choke_on_is_refused(schema, reason):
    with pytest.raises(EngineError, match=reason):
        to_gbnf(formats.get("hermes").grammar([tool(**schema)]))


def test_deep_nesting_is_refused():
    schema = {"type": "string"}
    for _ in range(9):
        schema = {"type": "array", "items": schema}
    with pytest.raises(EngineError, match="too large"):
        to_gbnf(formats.get("hermes").grammar([tool(**schema)]))


@pytest.mark.parametrize("line", ["start: x y%z", "start: /a|b/", "%import common.INT", "start:x"])
def test_a_grammar_gbnf_cannot_say_is_refused(line):
    with pytest.raises(EngineError, match="no form in GBNF"):
        to_gbnf(line)
