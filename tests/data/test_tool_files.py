"""What an argument that names tools may be, and what is told of a file that is no list of tools."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from edgetool.cli import app
from edgetool.data.tool_files import load_tools
from edgetool.errors import EdgetoolError
from tests.conftest import weather_tool

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
BARE = {"name": "f", "description": "d"}
TOOL = {**BARE, "parameters": SCHEMA}
GEMINI = {
    **BARE,
    "parameters": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]},
}
MCP = {**BARE, "title": "F", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True}}
BEDROCK = {"toolSpec": {**BARE, "inputSchema": {"json": SCHEMA}}}

SPELLINGS = {
    "bare": [TOOL],
    "openai": [{"type": "function", "function": TOOL}],
    "openai responses": [{"type": "function", "strict": True, **TOOL}],
    "one tool": TOOL,
    "tools": {"tools": [TOOL]},
    "a server's manifest": {"name": "server", "tools": [MCP]},
    "functions": {"functions": [TOOL]},
    "gemini": [{"functionDeclarations": [GEMINI]}],
    "gemini, alone": {"function_declarations": [GEMINI]},
    "gemini, in a request": {"contents": [], "tools": [{"functionDeclarations": [GEMINI]}]},
    "gemini, json schema": [{"functionDeclarations": [{**BARE, "parametersJsonSchema": SCHEMA}]}],
    "mcp": [MCP],
    "mcp, tools/list": {"jsonrpc": "2.0", "id": 1, "result": {"tools": [MCP]}},
    "anthropic": [{"type": "custom", **BARE, "input_schema": SCHEMA}],
    "smolagents": [{**BARE, "inputs": {"n": {"type": "integer"}}, "output_type": "string"}],
    "cohere": [{**BARE, "parameter_definitions": {"n": {"type": "int", "required": True}}}],
    "bedrock": {"toolConfig": {"tools": [BEDROCK]}},
    "ai sdk": {"tools": {"f": {"description": "d", "inputSchema": {"jsonSchema": SCHEMA}}}},
    "a schema with a title": [{"title": "f", "description": "d", **SCHEMA}],
    "by name": {"tools": {"f": {"description": "d", "parameters": SCHEMA}}},
    "by name, alone": {"f": {"description": "d", "inputSchema": SCHEMA}},
    "xlam": [{**BARE, "parameters": {"n": {"type": "int"}}}],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_tool_is_the_same_in_every_spelling(tmp_path, spelling):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(SPELLINGS[spelling]))
    [tool] = load_tools(path)
    assert (tool.name, tool.description, tool.parameters) == ("f", "d", SCHEMA)


def test_a_servers_answer_is_read_as_it_came_over_http(tmp_path):
    answer = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": [MCP]}})
    (tmp_path / "t.json").write_text(f"event: message\ndata: {answer}\n\n")
    [tool] = load_tools(tmp_path / "t.json")
    assert tool.parameters == SCHEMA


def test_smolagents_may_leave_out_what_is_nullable(tmp_path):
    inputs = {"a": {"type": "string"}, "b": {"type": "string", "nullable": True}}
    (tmp_path / "t.json").write_text(json.dumps([{**BARE, "inputs": inputs}]))
    [tool] = load_tools(tmp_path / "t.json")
    assert tool.required == ("a",)
    assert tool.parameters["properties"]["b"] == {"type": ["string", "null"]}


def test_geminis_counts_are_numbers(tmp_path):
    names = {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "1", "maxItems": "3"}
    parameters = {"type": "OBJECT", "properties": {"names": names}}
    (tmp_path / "t.json").write_text(json.dumps([{**BARE, "parameters": parameters}]))
    [tool] = load_tools(tmp_path / "t.json")
    expected = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3}
    assert tool.parameters["properties"]["names"] == expected


def test_a_file_with_a_tool_a_line_is_a_list(tmp_path):
    (tmp_path / "tools.jsonl").write_text("\n".join(json.dumps({**TOOL, "name": n}) for n in "ab"))
    assert [tool.name for tool in load_tools(tmp_path / "tools.jsonl")] == ["a", "b"]


def test_a_python_files_functions_are_tools(tmp_path):
    (tmp_path / "mine.py").write_text(
        'def get_weather(city: str) -> str:\n    """Forecast."""\n    raise SystemExit\n'
    )
    [tool] = load_tools(tmp_path / "mine.py")
    assert (tool.name, tool.description, tool.required) == ("get_weather", "Forecast.", ("city",))


def test_lint_takes_a_python_file(tmp_path):
    (tmp_path / "mine.py").write_text('def ring(minutes: int) -> None:\n    """Set a timer."""\n')
    result = CliRunner().invoke(app, ["tools", "lint", str(tmp_path / "mine.py")])
    assert "ring: parameters.minutes: missing description" in result.output
    assert "1 tool, 1 finding" in result.output and result.exit_code == 1


HOSTED = [
    {"type": "web_search_preview"},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "mcp", "server_label": "x", "server_url": "https://example.com"},
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
    {"googleSearch": {}},
    {"google_search": {}},
    {"codeExecution": {}},
]


@pytest.mark.parametrize("entry", HOSTED, ids=lambda entry: next(iter(entry.values())) or "gemini")
def test_a_tool_built_into_an_api_is_told_as_that(tmp_path, entry):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([entry, TOOL]))
    with pytest.raises(
        EdgetoolError, match=r"\[0\]: is '.*', a tool built into its provider's API"
    ):
        load_tools(path)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({**BARE, "schema": SCHEMA}, "has its schema as 'schema', which is not known; name it"),
        ({"type": "function", "function": {**BARE, "parameter": SCHEMA}}, "as 'parameter', which"),
        ({"type": "custom", **BARE}, "is a custom tool of OpenAI, which takes plain text"),
        ({"cachePoint": {"type": "default"}}, "is a cache point, not a tool; leave it out"),
    ],
)
def test_a_tool_never_loses_its_parameters_in_silence(tmp_path, entry, complaint):
    (tmp_path / "tools.json").write_text(json.dumps([TOOL, entry]))
    with pytest.raises(EdgetoolError, match=rf"\[1\]: .*{complaint}"):
        load_tools(tmp_path / "tools.json")


def test_what_a_tool_gives_back_is_not_taken_for_its_parameters(tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps([{**BARE, "outputSchema": SCHEMA}]))
    [tool] = load_tools(tmp_path / "tools.json")
    assert tool.parameters == {"type": "object", "properties": {}}


def test_a_table_of_one_parameter_named_json_stays_a_table(tmp_path):
    parameters = {"json": {"type": "str", "description": "text"}}
    (tmp_path / "tools.json").write_text(json.dumps([{**BARE, "parameters": parameters}]))
    [tool] = load_tools(tmp_path / "tools.json")
    assert tool.required == ("json",)


def test_a_type_that_is_none_is_told_with_those_that_are(tmp_path):
    parameters = {"type": "object", "properties": {"n": {"type": "strng"}}}
    (tmp_path / "tools.json").write_text(json.dumps([{**BARE, "parameters": parameters}]))
    with pytest.raises(EdgetoolError, match=r'n\.type: "strng" is no type of JSON Schema \(array,'):
        load_tools(tmp_path / "tools.json")


def test_geminis_own_tool_beside_declarations_is_not_passed_over(tmp_path):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([{"functionDeclarations": [GEMINI], "googleSearch": {}}]))
    with pytest.raises(EdgetoolError, match=r"\[1\]: is 'googleSearch', a tool built into"):
        load_tools(path)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (
            "api.json",
            '{"openapi": "3.0.1", "paths": {}}',
            "is an OpenAPI description, which is not",
        ),
        ("api.json", '{"swagger": "2.0"}', "is an OpenAPI description, which is not read yet"),
        ("api.yaml", "openapi: 3.1.0\npaths: {}\n", "write a tool for each operation"),
        ("mcp.json", '{"mcpServers": {"a": {}}}', "is a list of MCP servers, not of tools"),
        (
            "mcp.json",
            '{"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}}',
            "is an error of a server, not a list of tools: no",
        ),
        ("t.json", "", "is empty; give a list of tools"),
        ("t.json", "[]", "holds no tool; give a list of at least one"),
        ("t.json", '{"tools": []}', "holds no tool; give a list of at least one"),
        ("t.json", '[\n{"name": }]', "not JSON .Expecting value: line 2 column 10.; give a list"),
        ("t.json", '{"type": "custom", "custom": {"name": "x"}}', "custom tool of OpenAI"),
        ("t.json", "3", "3 is no list of tools"),
        ("t.json", "[null]", "null is no tool; give an object with a name"),
        ("t.py", "x = 1\n", "no public function in it"),
    ],
)
def test_what_is_no_list_of_tools_is_told_as_what_it_is(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(EdgetoolError, match=complaint):
        load_tools(tmp_path / name)


def test_a_file_that_is_not_there_says_what_may_be_given(tmp_path):
    with pytest.raises(
        EdgetoolError, match=r"no tools at .*; give a JSON file .* or a Python file"
    ):
        load_tools(tmp_path / "none.json")


def test_tools_are_read_bare_or_in_openai_form(tmp_path):
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([weather_tool().as_openai(), {"name": "ping"}]))
    first, second = load_tools(path)
    assert first == weather_tool()
    assert second.parameters == {"type": "object", "properties": {}}
