"""What requests ask of the engine."""

from __future__ import annotations

import json
from typing import get_type_hints

import pytest

from edgetool.calls.types import Tool
from edgetool.llama.protocol import AUTO, NONE, REQUIRED, Job
from edgetool.server.bodies import read_request
from edgetool.server.fields import IGNORED, NEUTRAL
from edgetool.server.requests import MAX_TOKENS, ChatRequest, CompletionRequest
from tests.conftest import music_tool, weather_tool

HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [weather_tool().as_openai(), music_tool().as_openai()]
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


def jobs(offered=(), **fields) -> list[Job]:
    body = json.dumps({"messages": HELLO, **fields}).encode()
    return read_request(ChatRequest, body).jobs(offered, context=512)


def job(offered=(), **fields) -> Job:
    [only] = jobs(offered, **fields)
    return only


def test_every_field_of_openais_client_is_known():
    from openai.types import completion_create_params
    from openai.types.chat import completion_create_params as chat_create_params

    chat = get_type_hints(chat_create_params.CompletionCreateParamsNonStreaming)
    text = get_type_hints(completion_create_params.CompletionCreateParamsNonStreaming)
    known = IGNORED | set(NEUTRAL)
    assert set(chat) - known - set(ChatRequest.model_fields) == set()
    assert set(text) - known - set(CompletionRequest.model_fields) == set()


def test_a_keyword_that_a_client_sends_as_null_is_absent():
    parameters = {"type": "object", "properties": {"a": {"type": "string", "enum": None}}}
    parameters["required"] = None
    function = {"name": "f", "description": None, "parameters": parameters}
    [tool] = job(tools=[{"type": "function", "function": function}]).tools
    assert tool.parameters == {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("fields", "choice", "only"),
    [
        ({"tools": TOOLS}, AUTO, None),
        ({"tools": TOOLS, "tool_choice": "auto"}, AUTO, None),
        ({"tools": TOOLS, "tool_choice": None}, AUTO, None),
        ({"tools": TOOLS, "tool_choice": "required"}, REQUIRED, None),
        ({"tools": TOOLS, "tool_choice": "none"}, NONE, None),
        (
            {
                "tools": TOOLS,
                "tool_choice": {"type": "function", "function": {"name": "play_music"}},
            },
            REQUIRED,
            "play_music",
        ),
        ({}, NONE, None),
        ({"tools": []}, NONE, None),
    ],
)
def test_tool_choice_says_what_a_completion_may_be(fields, choice, only):
    asked = job(**fields)
    assert (asked.choice, asked.only) == (choice, only)
    assert len(asked.tools) == len(
        fields.get("tools", [])
    )  # a named tool is shown among the others


def test_only_calls_are_held_to_a_grammar():
    assert job(tools=TOOLS).constrained
    assert not job(tools=TOOLS, edgetool={"constrained": False}).constrained
    assert not job(tools=TOOLS, tool_choice="none").constrained  # prose may hold any sign
    assert not job().constrained


def test_a_request_without_tools_is_offered_the_servers():
    mine = (weather_tool(),)
    assert job(mine).tools == mine
    assert job(mine, tools=[]).tools == ()
    assert [tool.name for tool in job(mine, tools=TOOLS[1:]).tools] == ["play_music"]


def test_parameters_left_out_are_an_object_without_any():
    bare = {"type": "function", "function": {"name": "now"}}
    assert job(tools=[bare]).tools == (Tool("now", "", {"type": "object", "properties": {}}),)


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, SCHEMA),
        ({"type": "json_object", "schema": SCHEMA}, SCHEMA),  # as llama.cpp's clients say it
        ({"type": "json_schema", "schema": SCHEMA}, SCHEMA),
        ({"type": "json_object", "schema": {}}, {"type": "object"}),
        ({"type": "text", "schema": SCHEMA}, None),
    ],
)
def test_response_format_gives_the_completions_schema(form, schema):
    asked = job((weather_tool(),), response_format=form)
    assert asked.schema == schema
    assert asked.constrained
    # who asks for JSON and brings no tools does not want the server's
    assert asked.tools == (() if schema else (weather_tool(),))


def test_a_call_that_is_required_leaves_the_response_format_no_room():
    asked = job(tools=TOOLS, tool_choice="required", response_format={"type": "json_object"})
    assert asked.schema is None


def test_sampling_is_greedy_unless_it_is_asked_for():
    sampling = job().sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.0, 1.0, 0)
    assert sampling.max_completion_length == MAX_TOKENS


def test_sampling_takes_what_the_request_says():
    sampling = job(
        temperature=0.7, top_p=0.9, seed=5, max_completion_tokens=9, max_tokens=8
    ).sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.7, 0.9, 5)
    assert sampling.max_completion_length == 9


def test_choices_differ_in_their_seeds():
    assert [one.sampling.seed for one in jobs(n=3, seed=2**63 - 2)] == [2**63 - 2, 2**63 - 1, 0]
    assert job().sampling.seed != job().sampling.seed  # none given: another one each time


@pytest.mark.parametrize(
    ("given", "stops"), [(None, ()), ("\n", ("\n",)), (["a", "b"], ("a", "b")), ([], ())]
)
def test_stop_is_one_text_or_several(given, stops):
    assert job(stop=given).stop == stops


def test_an_agents_turns_come_as_chat_templates_take_them():
    call = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
    messages = [
        {"role": "developer", "content": "Be brief."},
        *HELLO,
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "rain"}]},
    ]
    system, _, assistant, result = job(messages=messages).messages
    assert system == {"role": "system", "content": "Be brief."}
    assert assistant["tool_calls"][0]["function"]["arguments"] == {"city": "Oslo"}
    assert result == {"role": "tool", "content": "rain", "tool_call_id": "1"}


def test_arguments_that_are_no_json_go_back_as_they_came():
    call = {"id": "1", "type": "function", "function": {"name": "x", "arguments": '{"a'}}
    [message] = job(messages=[{"role": "assistant", "tool_calls": [call]}]).messages
    assert message["tool_calls"][0]["function"]["arguments"] == '{"a'
