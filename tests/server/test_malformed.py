"""Whatever a stranger sends is answered with a 4xx and OpenAI's error object, never a 5xx."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from edgetool.server.app import MAX_BODY, ChatServer
from tests.server.scripted import ScriptedWriter

HELLO = [{"role": "user", "content": "hello"}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
JSON = {"content-type": "application/json"}


def chat(**fields) -> bytes:
    return json.dumps({"messages": HELLO, **fields}).encode()


def said(*messages) -> bytes:
    return json.dumps({"messages": messages}).encode()


def tool(parameters=None, **function) -> dict:
    return {"type": "function", "function": {"name": "t", "parameters": parameters, **function}}


def nested(depth: int) -> dict:
    schema: dict = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def answer_of(schema) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


NAMED = {"type": "function", "function": {"name": "t"}}
MALFORMED = {
    "nothing": b"",
    "half JSON": b"{",
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "not UTF-8": b"\xff\xfe{}",
    "UTF-8 cut inside a character": b'{"messages": "\xe2\x82',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "gzip": b"\x1f\x8b\x08\x00",
    "two bodies": b"{}{}",
    "NaN": b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "a number of 5,000 digits": b'{"seed": ' + b"9" * 5_000 + b"}",
    "lists 50,000 deep": b"[" * 50_000,
    "objects 200 deep": b'{"a":' * 200 + b"1" + b"}" * 200,
    "half a surrogate pair in a message": said({"role": "user", "content": "\ud800"}),
    "half a surrogate pair in a schema": chat(tools=[tool({"description": "\udfff"})]),
    "no fields": b"{}",
    "no messages": json.dumps({"messages": []}).encode(),
    "messages that are text": chat(messages="hello"),
    "messages that are null": chat(messages=None),
    "a message that is text": said("hello"),
    "a message without a role": said({"content": "hello"}),
    "an unknown role": said({"role": "robot", "content": "hello"}),
    "content that is a number": said({"role": "user", "content": 5}),
    "content that is null": said({"role": "user", "content": None}),
    "content that is an object": said({"role": "user", "content": {"text": "x"}}),
    "an image": said({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
    "text parts of numbers": said({"role": "user", "content": [{"type": "text", "text": 5}]}),
    "a tool result without content": said({"role": "tool", "tool_call_id": "1"}),
    "calls that are an object": said({"role": "assistant", "tool_calls": {}}),
    "a call without a function": said({"role": "assistant", "tool_calls": [{"id": "1"}]}),
    "a call whose function is a number": said(
        {"role": "assistant", "tool_calls": [{"function": 5}]}
    ),
    "arguments that are a list": said(
        {"role": "assistant", "tool_calls": [{"function": {"name": "t", "arguments": []}}]}
    ),
    "10,000 messages": said(*HELLO * 10_000),
    "tools that are an object": chat(tools={}),
    "129 tools": chat(tools=[tool(name=f"t{i}") for i in range(129)]),
    "a tool of another type": chat(tools=[{"type": "code_interpreter"}]),
    "a tool without a function": chat(tools=[{"type": "function"}]),
    "a tool without a name": chat(tools=[{"type": "function", "function": {}}]),
    "a tool whose name is empty": chat(tools=[tool(name="")]),
    "a tool whose name holds a marker": chat(tools=[tool(name="<|im_end|>")]),
    "two tools of one name": chat(tools=[tool(), tool()]),
    "parameters that are text": chat(tools=[tool("city")]),
    "parameters of type string": chat(tools=[tool({"type": "string"})]),
    "properties that are a number": chat(tools=[tool({"type": "object", "properties": 5})]),
    "a type JSON does not have": chat(tools=[tool({"properties": {"x": {"type": "any"}}})]),
    "required that is text": chat(tools=[tool({"properties": {}, "required": "x"})]),
    "an enum that is text": chat(tools=[tool({"properties": {"x": {"enum": "abc"}}})]),
    "a minimum that is text": chat(tools=[tool({"properties": {"x": {"minimum": "1"}}})]),
    "a schema 33 deep": chat(tools=[tool(nested(33))]),
    "300 properties": chat(tools=[tool({"properties": {f"p{i}": {} for i in range(300)}})]),
    "an enum of 1,001": chat(tools=[tool({"properties": {"x": {"enum": list(range(1001))}}})]),
    "a schema of 70 KB": chat(tools=[tool({"description": "x" * 70_000})]),
    "tool_choice that nobody knows": chat(tool_choice="maybe"),
    "tool_choice that is a number": chat(tool_choice=5),
    "tool_choice of no tool": chat(tool_choice=NAMED),
    "tool_choice of an absent tool": chat(tools=[tool(name="u")], tool_choice=NAMED),
    "required without tools": chat(tools=[], tool_choice="required"),
    "required and free": chat(
        tools=[tool()], tool_choice="required", edgetool={"constrained": False}
    ),
    "an extension nobody knows": chat(edgetool={"speed": 2}),
    "an extension that is null": chat(edgetool=None),
    "response_format of no type": chat(response_format={}),
    "response_format nobody knows": chat(response_format={"type": "xml"}),
    "response_format without its schema": chat(response_format={"type": "json_schema"}),
    "response_format with a bad schema": chat(response_format=answer_of({"type": "x"})),
    "response_format with a list": chat(response_format=answer_of([])),
    "response_format of 33 levels": chat(response_format=answer_of(nested(33))),
    "temperature as text": chat(temperature="1"),
    "temperature below zero": chat(temperature=-1),
    "temperature of 3": chat(temperature=3),
    "temperature that is true": chat(temperature=True),
    "top_p below zero": chat(top_p=-0.1),
    "top_p of 2": chat(top_p=2),
    "n of zero": chat(n=0),
    "n of nine": chat(n=9),
    "a huge n": chat(n=10**18),
    "n of half": chat(n=1.5),
    "negative max_tokens": chat(max_tokens=-2),
    "negative n_predict": chat(n_predict=-2),
    "negative top_k": chat(top_k=-2),
    "max_tokens of zero": chat(max_tokens=0),
    "max_completion_tokens as text": chat(max_completion_tokens="10"),
    "a seed beyond 64 bits": chat(seed=2**64),
    "a seed that is text": chat(seed="x"),
    "stop that is a number": chat(stop=5),
    "stop that is empty": chat(stop=""),
    "five stops": chat(stop=list("abcde")),
    "stream as text": chat(stream="yes"),
    "stream_options that is a list": chat(stream_options=[]),
    "include_usage as a number": chat(stream_options={"include_usage": 1}),
    "a field nobody knows": chat(max_token=5),
    "logprobs": chat(logprobs=True),
    "logit_bias": chat(logit_bias={"1": 100}),
    "a penalty": chat(frequency_penalty=1),
    "functions of old": chat(functions=[{"name": "t"}]),
    "audio": chat(modalities=["text", "audio"]),
}


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(ChatServer(ScriptedWriter(), "tiny").app(), base_url="http://localhost")


def assert_refused(answer, statuses=range(400, 500)) -> None:
    assert answer.status_code in statuses
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_chat_request_is_refused(client, body):
    assert_refused(client.post(CHAT, content=body, headers=JSON), [400])


NAMES = st.text(max_size=5) | st.sampled_from(["type", "properties", "enum", "$ref", "name"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
WELL_FORMED = {
    "messages": [
        *HELLO,
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "t"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "x"}]},
    ],
    "tools": [tool({"type": "object", "properties": {"x": {"type": "string"}}})],
    "tool_choice": NAMED,
    "response_format": answer_of({"type": "object"}),
    "stop": ["x"],
    "stream_options": {"include_usage": True},
}


def places(value, path=()):
    """Every place in a JSON value, as a path."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def put(value, path, new):
    """The value with something else in one place."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(list(places(WELL_FORMED))), new=ANYTHING)
def test_anything_anywhere_in_a_request_is_answered_or_refused(client, path, new):
    content = json.dumps(put(WELL_FORMED, path, new)).encode()
    answer = client.post(CHAT, content=content, headers=JSON)
    if answer.status_code != 200:
        assert_refused(answer, [400])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt": None},
        {"prompt": 5},
        {"prompt": ""},
        {"prompt": []},
        {"prompt": ["a", "b"]},
        {"prompt": [1, -2]},
        {"prompt": [1, "a"]},
        {"prompt": "x", "messages": HELLO},
        {"prompt": "x", "tools": []},
        {"prompt": "x", "echo": True},
        {"prompt": "x", "best_of": 3},
        {"prompt": "x", "suffix": "y"},
        {"prompt": "x", "logprobs": 3},
        {"prompt": "x", "logprobs": True},
        {"prompt": "x", "logprobs": 1},
        {"prompt": "x", "n": 9},
    ],
)
def test_a_malformed_text_request_is_refused(client, fields):
    assert_refused(client.post(TEXT, json=fields), [400])


def test_a_body_that_is_too_large_is_refused(client):
    assert_refused(client.post(CHAT, content=b" " * (MAX_BODY + 1), headers=JSON), [413])


def test_the_largest_body_is_read(client):
    body = chat(metadata={"x": ""})
    body = body.replace(b'"x": ""', b'"x": "' + b"a" * (MAX_BODY - len(body)) + b'"')
    assert len(body) == MAX_BODY
    assert client.post(CHAT, content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_is_not_called_json_is_refused(client, kind):
    assert_refused(client.post(CHAT, content=chat(), headers={"content-type": kind}), [415])


def test_the_name_of_json_may_be_spelled_in_any_case(client):
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post(CHAT, content=chat(), headers=headers).is_success


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CHAT, 405),
        ("PUT", TEXT, 405),
        ("DELETE", "/health", 405),
        ("GET", "/v1/x", 404),
        ("GET", "/v1/models/absent", 404),
        ("GET", "/../etc/passwd", 404),
    ],
)
def test_a_wrong_path_or_method_is_refused(client, method, path, status):
    assert_refused(client.request(method, path), [status])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(max_token=1), "max_token"),
        (said({"role": "user", "content": 5}), "messages[0].content"),
        (said(*HELLO, {"role": "user"}), "messages[1]"),
        (chat(tools=[tool(), {"type": "function"}]), "tools[1].function"),
        (chat(n=9), "n"),
    ],
)
def test_the_field_at_fault_is_named(client, body, param):
    assert client.post(CHAT, content=body, headers=JSON).json()["error"]["param"] == param


def test_a_field_that_asks_for_nothing_is_as_good_as_none(client):
    nothing = {"logprobs": False, "frequency_penalty": 0, "logit_bias": None, "user": "me"}
    nulls = dict.fromkeys(["tools", "tool_choice", "n", "stop", "seed", "response_format"])
    assert client.post(CHAT, json={"messages": HELLO, **nothing, **nulls}).status_code == 200


def test_a_null_description_and_null_parameters_are_as_good_as_none(client):
    assert client.post(CHAT, content=chat(tools=[tool(description=None)]), headers=JSON).is_success
