"""Nulls that stand for nothing are as if they were not there; others stay."""

from __future__ import annotations

import pytest

from edgetool.calls.tools.nulls import without_null_keywords, without_padding
from edgetool.calls.tools.tools import tool_from_json

TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "cleaned"),
    [
        ({"type": "object", "properties": None, "required": None}, {"type": "object"}),
        ({"type": "string", "description": None, "enum": None}, TEXT),
        ({"properties": {"a": TEXT, "b": None}}, {"properties": {"a": TEXT}}),
        ({"anyOf": [{"type": "string", "items": None}]}, {"anyOf": [TEXT]}),
        ({"type": "string", "default": None}, TEXT),
        # null is a value of these, and says so
        (
            {"type": ["string", "null"], "default": None},
            {"type": ["string", "null"], "default": None},
        ),
        ({"anyOf": [TEXT, {"type": "null"}], "default": None},) * 2,
        ({"enum": ["a", None]},) * 2,
        ({"const": None},) * 2,
        # a property may have a keyword's name
        ({"properties": {"enum": TEXT, "default": None}}, {"properties": {"enum": TEXT}}),
    ],
)
def test_a_keyword_that_is_null_is_absent(schema, cleaned):
    assert without_null_keywords(schema) == cleaned


NESTED = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("arguments", "schema", "kept"),
    [
        ({"a": "x", "b": None}, {"properties": {"a": TEXT, "b": TEXT}}, {"a": "x"}),
        ({"a": None}, {"properties": {"a": {"type": ["string", "null"]}}}, {"a": None}),
        ({"a": None}, {"properties": {"a": {}}}, {"a": None}),
        ({"other": None}, {"properties": {}}, {}),
        ({"other": None}, {"properties": {}, "additionalProperties": True}, {"other": None}),
        ({"o": {"n": None, "m": None}}, {"properties": {"o": NESTED}}, {"o": {}}),
        ({"o": {"m": None}}, {"properties": {"o": {"type": "object"}}}, {"o": {"m": None}}),
        ({"l": [{"n": None}]}, {"properties": {"l": {"items": NESTED}}}, {"l": [{}]}),
        ({"a": [None]}, {"properties": {"a": {"items": TEXT}}}, {"a": [None]}),
    ],
)
def test_an_argument_that_is_null_is_absent_where_the_schema_has_no_null(arguments, schema, kept):
    assert without_padding(arguments, schema) == kept


@pytest.mark.parametrize("parameters", [None, {"type": "object", "properties": None}])
def test_a_tool_of_a_go_server_has_no_parameters(parameters):
    tool = tool_from_json({"name": "f", "description": None, "inputSchema": parameters})
    assert tool.parameters == {"type": "object", "properties": {}} and tool.description == ""
