"""Rows in and out; what is wrong with a file is said all at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetool.data import sources
from edgetool.data.check import Problem
from edgetool.data.rows import load_rows, parse_row, row_of, write_rows
from edgetool.errors import DataError, UsageError
from tests.conftest import user, weather_tool

WEATHER = weather_tool().as_openai()
GOOD = {
    "id": "a",
    "messages": list(user("weather in Oslo")),
    "tools": [WEATHER],
    "calls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}],
}


def test_rows_come_back_as_they_were_written(tmp_path, examples):
    write_rows(tmp_path / "rows.jsonl", examples)
    assert load_rows(tmp_path / "rows.jsonl") == examples


def test_accepted_alternatives_survive_the_round_trip():
    row = dict(
        GOOD, calls=[dict(GOOD["calls"][0], alternatives={"city": ["OSL"]}, optional=["city"])]
    )
    example = parse_row(json.dumps(row), "x")
    assert example.calls[0].accepted("city") == ("Oslo", "OSL")
    assert row_of(example)["calls"] == row["calls"]


def test_what_else_a_row_holds_is_kept_for_reward_functions():
    example = parse_row(json.dumps({**GOOD, "level": 2, "source": "mine"}), "x")
    assert example.columns == {"level": 2, "source": "mine"}
    assert parse_row(json.dumps(row_of(example)), "x") == example


def test_a_row_says_whose_rules_it_is_judged_by():
    answered = dict(GOOD["calls"][0], bfcl={"city": ["Oslo", "Kristiania"]})
    example = parse_row(json.dumps({**GOOD, "rules": "bfcl", "calls": [answered]}), "x")
    assert example.rules == "bfcl" and example.calls[0].bfcl == {"city": ["Oslo", "Kristiania"]}
    assert parse_row(json.dumps(row_of(example)), "x") == example


def test_a_conversational_row_takes_its_calls_from_the_last_turn():
    call = {
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
    }
    messages = [*user("weather in Oslo"), {"role": "assistant", "tool_calls": [call]}]
    example = parse_row(json.dumps({"messages": messages, "tools": [WEATHER]}), "row-1")
    assert example.calls[0].arguments == {"city": "Oslo"}
    assert [message["role"] for message in example.messages] == ["user"]
    assert example.id == "row-1"


def test_a_conversational_row_that_ends_in_words_expects_no_call():
    messages = [*user("hi"), {"role": "assistant", "content": "Hello."}]
    assert parse_row(json.dumps({"messages": messages, "tools": [WEATHER]}), "x").calls == ()


def test_what_the_assistant_said_instead_of_calling_is_kept():
    messages = [*user("hi"), {"role": "assistant", "content": "Hello."}]
    example = parse_row(json.dumps({"messages": messages, "tools": [WEATHER]}), "x")
    assert example.completion == "Hello."
    assert parse_row(json.dumps(row_of(example)), "x") == example


def test_words_beside_calls_are_not_part_of_the_completion():
    call = {"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
    last = {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    row = {"messages": [*user("weather in Oslo"), last], "tools": [WEATHER]}
    assert parse_row(json.dumps(row), "x").completion is None
    assert parse_row(json.dumps({**GOOD, "completion": "Sure."}), "x").completion is None


@pytest.mark.parametrize("key", ["inputSchema", "input_schema", "inputs", "parametersJsonSchema"])
def test_a_rows_tools_may_be_in_any_dialect(key):
    parameters = WEATHER["function"]["parameters"]
    given = parameters["properties"] if key == "inputs" else parameters
    required = parameters["required"] if key == "inputs" else None
    tool = {"name": "get_weather", "description": "", key: given, "required": required}
    example = parse_row(json.dumps({**GOOD, "tools": [tool]}), "x")
    assert example.tools[0].parameters == parameters
    assert parse_row(json.dumps(row_of(example)), "x") == example


def padded_row():
    """A row as Arrow writes it: an object has all keys of its column, null where it had none."""
    city = {"type": "string", "description": None, "enum": None, "default": None}
    parameters = {
        "type": "object",
        "properties": {"city": city, "minutes": None},
        "required": ["city"],
        "additionalProperties": None,
    }
    function = {"name": "get_weather", "description": "d", "parameters": parameters}
    arguments = {"city": "Oslo", "minutes": None}
    made = {"type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    history = [
        {"role": "user", "content": "weather in Oslo", "tool_calls": None},
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "content": "rain", "tool_calls": None},
        {"role": "user", "content": "again", "tool_calls": None},
    ]
    return {
        "id": "a",
        "messages": history,
        "tools": [{"type": "function", "function": function, "strict": None}],
        "calls": [{"name": "get_weather", "arguments": arguments, "alternatives": None}],
        "completion": None,
        "metadata": None,
        "rules": None,
    }


def test_arrows_padding_is_left_out_of_tools_calls_and_history():
    example = parse_row(json.dumps(padded_row()), "x")
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    assert example.tools[0].parameters == schema
    assert example.calls[0].arguments == {"city": "Oslo"}
    assert "tool_calls" not in example.messages[0]
    made = example.messages[1]["tool_calls"][0]["function"]
    assert made["arguments"] == {"city": "Oslo"}


def test_a_trl_row_with_arrows_padding_takes_its_calls_from_the_last_turn():
    row = padded_row()
    row = {"messages": row["messages"][:2], "tools": row["tools"], "calls": None}
    assert parse_row(json.dumps(row), "x").calls[0].arguments == {"city": "Oslo"}


def test_a_required_argument_that_is_null_is_still_missing():
    row = padded_row()
    row["calls"][0]["arguments"] = {"city": None}
    with pytest.raises(Problem, match='"city" is a required property'):
        parse_row(json.dumps(row), "x")


def changed(**fields):
    return {**GOOD, **fields}


def call(**fields):
    return changed(calls=[{"name": "get_weather", "arguments": {"city": "Oslo"}, **fields}])


BAD = [
    ("{", "is not JSON"),
    ("[]", "row [] must be a JSON object"),
    (changed(messages=[]), "needs at least one message"),
    (
        changed(messages=[{"role": "robot", "content": "x"}]),
        'messages[0].role "robot" must be one of',
    ),
    (changed(messages=[{"role": "user", "content": 3}]), "messages[0].content 3 must be text"),
    (changed(messages=[{"role": "user"}]), "messages[0].content null is missing"),
    (changed(tools="nonsense"), 'tools "nonsense" is not JSON'),
    (changed(tools=[WEATHER, WEATHER]), 'tools "get_weather" is the name of two tools'),
    (changed(tools=[{"name": "two words"}]), 'tools[0].name "two words" must be'),
    (changed(tools=[{"name": "f", "parameters": {"type": "array"}}]), 'must be "object"'),
    (
        changed(tools=[{"name": "f", "parameters": {"properties": {"x": {"type": "strin"}}}}]),
        '"properties.x.type" is no JSON Schema',
    ),
    (changed(calls={}), "calls {} must be a list"),
    (changed(calls=[], completion=["No."]), 'completion ["No."] must be text'),
    (call(name="get_wether"), "is not among the row's tools (get_weather)"),
    (call(arguments="{"), 'calls[0].arguments "{" is not JSON'),
    (
        call(arguments={"city": 3}),
        "calls[0].arguments.city 3 does not fit the schema of get_weather",
    ),
    (call(arguments={}), "does not fit the schema of get_weather"),
    (
        call(arguments={"city": "Oslo", "mood": 1}),
        "mood 1 is no parameter of get_weather (city, days)",
    ),
    (call(optional=["days"]), '"days" has alternatives or is optional, but no value'),
    ({key: GOOD[key] for key in ("messages", "tools")}, "calls null is missing"),
    ({key: GOOD[key] for key in ("messages", "calls")}, "tools null is missing"),
]


@pytest.mark.parametrize(("row", "complaint"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_row_is_named_with_file_line_field_value_and_remedy(tmp_path, row, complaint):
    path = tmp_path / "rows.jsonl"
    text = row if isinstance(row, str) else json.dumps(row)
    path.write_text(json.dumps(GOOD) + "\n" + text + "\n")
    with pytest.raises(DataError) as caught:
        load_rows(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert complaint in str(caught.value)


def test_every_bad_row_is_reported(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("{\n" + json.dumps(GOOD) + "\n[]\n" + json.dumps(GOOD) + "\n")
    with pytest.raises(DataError) as caught:
        load_rows(path)
    assert [problem.split(": ")[0].rsplit(":", 1)[1] for problem in caught.value.problems] == [
        "1",
        "3",
        "4",
    ]
    assert "already used on line 2" in caught.value.problems[2]


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no rows at"):
        load_rows(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="is a folder, not a file of rows; type `edgetool data"):
        load_rows(tmp_path)
    with pytest.raises(UsageError, match="if it is a hub's data set, type `edgetool data convert"):
        load_rows(Path("Salesforce/xlam"))


def test_a_file_without_rows_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no rows in this file"):
        load_rows(tmp_path / "empty.jsonl")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, examples):
    path = tmp_path / "rows.jsonl"
    write_rows(path, examples)
    before = path.read_bytes()

    def broken():
        yield examples[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, broken())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_demo_is_a_source_by_name():
    assert len(sources.load("demo", "validation", 5)) == 5


def test_a_developers_message_is_the_systems():
    messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]
    row = parse_row(json.dumps({"messages": messages, "tools": [], "calls": []}), "1")
    assert [message["role"] for message in row.messages] == ["system", "user"]
