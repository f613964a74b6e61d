"""Tools from JSON's dialects, from Python and from Pydantic; what is refused, what is remarked."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from edgetool.calls.tools.lint import lint
from edgetool.calls.tools.python_tools import tool_from_function
from edgetool.calls.tools.tools import ToolError, tool_from_json, tools_from_json
from edgetool.calls.types import Tool


def function(**properties):
    return {"name": "f", "description": "d", "parameters": {"type": "object", **properties}}


def test_openais_form_and_the_bare_function_are_the_same_tool():
    bare = function(properties={"x": {"type": "integer"}}, required=["x"])
    tool = tool_from_json({"type": "function", "function": bare})
    assert tool == tool_from_json(bare)
    assert tool.required == ("x",)


def test_bfcls_types_become_json_schemas():
    given = {
        "name": "f",
        "parameters": {
            "type": "dict",
            "properties": {
                "a": {"type": "float"},
                "b": {"type": "tuple", "items": {"type": "float"}},
                "c": {"type": "any"},
            },
        },
    }
    assert tool_from_json(given).parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "number"},
            "b": {"type": "array", "items": {"type": "number"}},
            "c": {},
        },
    }


def test_xlams_flat_parameters_become_properties():
    given = {
        "name": "f",
        "parameters": {
            "city": {"type": "str", "description": "where"},
            "days": {"type": "int, optional", "default": 3},
            "tags": {"type": "List[str], optional"},
            "type": {"type": "str", "default": "x"},
        },
    }
    parameters = tool_from_json(given).parameters
    assert parameters["required"] == ["city"]
    assert parameters["properties"] == {
        "city": {"type": "string", "description": "where"},
        "days": {"type": "integer", "default": 3},
        "tags": {"type": "array", "items": {"type": "string"}},
        "type": {"type": "string", "default": "x"},
    }


def google(city: str, days: int = 3, unit: Literal["C", "F"] | None = None, *rest: str) -> str:
    """Weather for a city.

    Args:
        city: Where.
        days (int): How far
            ahead.

    Returns:
        Nothing of interest.
    """
    raise AssertionError("never called")


def numpy(city: str, days: int = 3, unit: Literal["C", "F"] | None = None) -> str:
    """Weather for a city.

    Parameters
    ----------
    city : str
        Where.
    days : int
        How far
        ahead.
    """
    raise AssertionError("never called")


def rest(city: str, days: int = 3, unit: Literal["C", "F"] | None = None) -> str:
    """Weather for a city.

    :param city: Where.
    :param days: How far
        ahead.
    """
    raise AssertionError("never called")


@pytest.mark.parametrize("documented", [google, numpy, rest], ids=lambda f: f.__name__)
def test_a_function_becomes_a_tool(documented):
    tool = tool_from_function(documented)
    assert (tool.name, tool.description) == (documented.__name__, "Weather for a city.")
    assert tool.required == ("city",)
    properties = tool.parameters["properties"]
    assert properties["city"] == {"type": "string", "description": "Where."}
    assert properties["days"] == {"type": "integer", "default": 3, "description": "How far\nahead."}
    assert properties["unit"]["anyOf"] == [
        {"enum": ["C", "F"], "type": "string"},
        {"type": "null"},
    ]


def test_a_parameter_may_have_a_name_pydantic_keeps_for_itself():
    def f(json: str, _x: int, model_config: bool, title: float): ...

    tool = tool_from_function(f)
    assert list(tool.parameters["properties"]) == ["json", "_x", "model_config", "title"]
    assert tool.parameters["properties"]["title"] == {"type": "number"}


def test_a_type_without_a_schema_names_the_function():
    class Odd: ...

    def f(x: Odd): ...

    f.__annotations__["x"] = Odd
    with pytest.raises(ToolError, match="f: its signature has no JSON Schema"):
        tool_from_function(f)


def deep(levels):
    schema = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"big": {"enum": list(range(1001))}}, "parameters.properties.big has an enum of 1001"),
        ({f"p{i}": {} for i in range(257)}, "parameters has 257 properties, more than 256"),
        ({"x": deep(40)}, "parameters.properties.x.* is nested deeper than 32"),
        ({"x": {"description": "y" * 70_000}}, "more than 65,536; parameters.x takes the most"),
        ({"x": {"minimum": float("nan")}}, "a number JSON has no word for"),
    ],
    ids=["enum", "properties", "depth", "bytes", "nan"],
)
def test_a_schema_beyond_a_limit_names_the_property(properties, message):
    with pytest.raises(ToolError, match=message):
        tool_from_json(function(properties=properties))


def test_a_schema_at_the_limits_is_taken():
    properties = {f"p{i}": {} for i in range(255)} | {"e": {"enum": list(range(1000))}}
    assert len(tool_from_json(function(properties=properties)).parameters["properties"]) == 256


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        "f",
        [],
        {},
        {"name": 3},
        {"name": "f", "parameters": [1]},
        {"name": " "},
        {"name": "f", "description": 3},
        {"name": "f", "parameters": {"type": "string"}},
    ],
    ids=str,
)
def test_what_is_no_tool_is_refused_with_its_place(value):
    with pytest.raises(ToolError, match=r"tools\[0\]|tool 'f'"):
        tools_from_json([value])


def kinds(*tools):
    return " | ".join(str(finding) for finding in lint(tools))


def well(name="get_weather", **schema):
    properties = {"x": {"type": "string", "description": "d", **schema}}
    return Tool(name, "What it does", {"type": "object", "properties": properties})


def test_good_tools_have_no_findings():
    assert lint([well("get_weather"), well("play_music")]) == []


@pytest.mark.parametrize(
    ("tools", "found"),
    [
        ([well(), well()], "duplicate name"),
        ([well("get_weather"), well("getWeather")], "near-identical name"),
        ([well("get_weather"), well("get_weathers")], "near-identical name"),
        ([Tool("f", "", {"type": "object", "properties": {}})], "missing description"),
        ([well(description="")], "parameters.x: missing description"),
        ([well(enum=[str(i) for i in range(300)])], "enum of 300 values"),
        ([well(maxLength=5000)], "maxLength 5,000"),
        ([well(pattern="^(a+)+$")], "pattern"),
        ([well(minimum=3, maximum=1)], "nothing fits"),
        ([well(items={"$ref": "#"})], "recursive $ref"),
        ([well("größe")], "not every call syntax"),
        ([well(f"tool_{i * 37}_{i}") for i in range(30)], "30 tools"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_linter_names_what_models_stumble_over(tools, found):
    assert found in kinds(*tools)


def test_a_reference_that_does_not_come_back_is_not_recursive():
    tool = well(items={"$ref": "#/$defs/room"})
    tool.parameters["$defs"] = {"room": {"type": "integer"}}
    assert "recursive" not in kinds(tool)


def linted(tmp_path, *tools, syntax=()):
    from typer.testing import CliRunner

    from edgetool.cli import app

    path = tmp_path / "tools.json"
    path.write_text(json.dumps([tool.as_openai() for tool in tools]), encoding="utf-8")
    return CliRunner().invoke(app, ["tools", "lint", str(path), *syntax])


def test_lint_compiles_for_every_call_syntax_and_says_where_a_schema_fails(tmp_path):
    broken = Tool("f", "d", {"type": "object", "properties": {"a": {"$ref": "#/$defs/Gone",
                  "description": "d"}}})  # fmt: skip
    done = linted(tmp_path, broken)
    assert done.exit_code == 1
    assert (
        "f: no grammar (parameters.properties.a: $ref '#/$defs/Gone' names nothing" in done.output
    )
    assert "no grammar of" not in done.output  # all eleven say the same


@pytest.mark.parametrize(
    ("schema", "note"),
    [
        ({"not": {"const": "x"}}, "'not' is not held by the grammar; a call is checked"),
        ({"pattern": "^(?=a)b"}, "'pattern' is not held by the grammar; a call is checked"),
        ({"format": "date"}, "'format' is not held by the grammar of qwen3_coder, functiongemma, "),
        ({"pattern": "^a|b$"}, "'pattern' is not held by the grammar of qwen3_coder, functiongemm"),
        ({"format": "binary"}, None),
        ({"minLength": 2, "pattern": "^a+$"}, None),
    ],
    ids=str,
)
def test_what_grammars_leave_open_is_a_note(tmp_path, schema, note):
    done = linted(tmp_path, well(**schema))
    assert "no grammar of" not in done.output and "no grammar (" not in done.output
    assert ("note: " in done.output) == (note is not None)
    if note:
        assert f"note: get_weather: parameters.properties.x: {note}" in done.output
    assert "note" not in linted(tmp_path, well(minLength=2), syntax=["--syntax", "json"]).output


def test_lint_prints_its_findings_and_fails(tmp_path):
    from typer.testing import CliRunner

    from edgetool.cli import app

    path = tmp_path / "tools.json"
    path.write_text(json.dumps([function(properties={})]), encoding="utf-8")
    assert CliRunner().invoke(app, ["tools", "lint", str(path)]).exit_code == 0
    path.write_text(json.dumps([{"name": "f"}, {"name": "f"}]), encoding="utf-8")
    done = CliRunner().invoke(app, ["tools", "lint", str(path)])
    assert done.exit_code == 1
    assert "duplicate name (2 times)" in done.output
