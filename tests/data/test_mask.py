"""Masked rows say the same under names that say nothing."""

from __future__ import annotations

import json
import random

import pytest

from edgetool.calls.types import Example, ExpectedCall, Tool
from edgetool.data.mask import mask_row, mask_rows
from edgetool.data.rows import parse_row, row_of
from tests.conftest import user

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "City name"},
        "unit": {"type": "string", "default": "celsius"},
        "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
        "where": {"$ref": "#/$defs/place"},
        "stops": {"type": "array", "items": {"type": "object", "properties": {"city": {}}}},
        "free": {"type": "object"},
    },
    "required": ["city", "unit"],
    "$defs": {"place": {"type": "object", "properties": {"street": {"type": "string"}}}},
}
TOOL = Tool("get_weather", "Forecast", PARAMETERS)
ARGUMENTS = {
    "city": "Oslo",
    "unit": "celsius",
    "mode": "fast",
    "where": {"street": "Main"},
    "stops": [{"city": "Bergen"}],
    "free": {"city": "a key of the user's own"},
}


def row(text="weather in Oslo", **fields):
    call = ExpectedCall("get_weather", ARGUMENTS, {"city": ("OSL",)}, frozenset({"mode"}))
    return Example("a", user(text), (TOOL,), (call,), **fields)


def masked(example, seed=0):
    return mask_row(example, random.Random(seed))


def test_no_old_name_is_left_and_the_row_still_fits_its_schema():
    example = masked(row())
    text = json.dumps(row_of(example))
    for name in ("get_weather", "street", "stops", "where", '"unit"', "mode"):
        assert name not in text
    assert parse_row(text, "x") == example


def test_schema_and_call_change_alike_at_every_depth():
    example = masked(row())
    [call], [tool] = example.calls, example.tools
    new = dict(zip(PARAMETERS["properties"], tool.parameters["properties"], strict=True))
    assert call.name == tool.name
    assert set(call.arguments) == set(tool.parameters["properties"])
    assert call.arguments[new["stops"]] == [{new["city"]: "Bergen"}]
    street = next(iter(tool.parameters["$defs"]["place"]["properties"]))
    assert call.arguments[new["where"]] == {street: "Main"}
    assert tool.parameters["required"] == [new["city"], new["unit"]]
    assert call.alternatives == {new["city"]: ("OSL",)} and call.optional == {new["mode"]}


def test_values_that_users_say_stay():
    example = masked(row())
    said = list(example.calls[0].arguments.values())
    assert said[0] == "Oslo" and said[5] == {"city": "a key of the user's own"}


def test_a_default_is_replaced_in_schema_and_call_unless_it_was_said_or_is_an_enum():
    example = masked(row())
    schema = list(example.tools[0].parameters["properties"].values())
    values = list(example.calls[0].arguments.values())
    assert schema[1]["default"] == values[1] != "celsius"
    assert schema[2]["default"] == values[2] == "fast"
    spoken = masked(row("weather in Oslo in celsius"))
    assert list(spoken.calls[0].arguments.values())[1] == "celsius"


def test_calls_of_earlier_turns_are_renamed_too():
    earlier = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "A"}}}
    messages = (*user("weather"), {"role": "assistant", "content": "", "tool_calls": [earlier]})
    example = masked(Example("a", (*messages, *user("and Oslo?")), (TOOL,), row().calls))
    function = example.messages[1]["tool_calls"][0]["function"]
    assert function["name"] == example.tools[0].name
    assert list(function["arguments"]) == [next(iter(example.tools[0].parameters["properties"]))]


def test_services_follow_their_tools():
    example = masked(row(metadata={"services": {"get_weather": "Weather_1"}}))
    assert example.metadata["services"] == {example.tools[0].name: "Weather_1"}


def test_names_of_one_row_never_meet():
    wide = Tool("wide", "", {"type": "object", "properties": {f"p{i}": {} for i in range(400)}})
    example = masked(Example("a", user("x"), (wide, TOOL), ()))
    assert len(example.tools[0].parameters["properties"]) == 400


@pytest.mark.parametrize(
    ("rate", "fewest", "most"), [(0.0, 0, 0), (1.0, 500, 500), (0.5, 205, 295)]
)
def test_the_rate_is_the_share_of_rows(rate, fewest, most):
    # 500 draws at 0.5: standard deviation 11, four of them 45
    rows = [Example(str(i), user("x"), (TOOL,), ()) for i in range(500)]
    changed = sum(a != b for a, b in zip(rows, mask_rows(rows, rate, 0), strict=True))
    assert fewest <= changed <= most


def test_a_row_is_masked_alike_wherever_it_stands_in_the_file():
    rows = [Example(str(i), user("x"), (TOOL,), ()) for i in range(9)]
    assert list(mask_rows(rows[::-1], 1.0, 3)) == list(mask_rows(rows, 1.0, 3))[::-1]
    assert list(mask_rows(rows, 1.0, 3)) != list(mask_rows(rows, 1.0, 4))
