"""The server with a real model in its child process, asked by OpenAI's own client."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import jsonschema_rs
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetool.llama.client import WorkerClient
from tests.conftest import TINY_TEMPLATE
from tests.server.scripted import ScriptedWriter
from tests.server.test_malformed import ANYTHING, WELL_FORMED, places, put

HELLO = [{"role": "user", "content": "weather in Oslo please"}]
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "label": {"enum": ["a", "b"]}},
    "required": ["x", "label"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def writer(gguf):
    with WorkerClient(gguf, context=1024) as opened:
        yield opened


@pytest.fixture(scope="module")
def url(serving, writer, examples):
    return serving(writer, tools=examples[0].tools, offer_tools=True)


@pytest.fixture(scope="module")
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as opened:
        yield opened


@pytest.fixture(scope="module")
def tools(examples):
    return [tool.as_openai() for tool in examples[0].tools]


def complete(client, **body):
    """A completion that finished: a random model now and then talks past any limit."""
    for seed in range(30):
        asked = {"model": "any", "messages": HELLO, "temperature": 1, "max_tokens": 150, **body}
        done = client.chat.completions.create(seed=seed, **asked)
        if done.choices[0].finish_reason != "length":
            return done
    raise AssertionError("no completion finished")


def test_a_required_call_is_made_and_fits_its_schema(client, tools, examples):
    schemas = {tool.name: tool.parameters for tool in examples[0].tools}
    for seed in range(4):
        done = client.chat.completions.create(
            model="any",
            messages=HELLO,
            tools=tools,
            tool_choice="required",
            temperature=1,
            seed=seed,
            max_tokens=150,
        )
        message = done.choices[0].message
        assert message.content is None
        assert message.tool_calls
        for call in message.tool_calls:
            jsonschema_rs.validate(schemas[call.function.name], json.loads(call.function.arguments))
        ids = [call.id for call in message.tool_calls]
        assert len(set(ids)) == len(ids)


def test_a_named_tool_is_the_only_one_called(client, tools):
    named = {"type": "function", "function": {"name": "play_music"}}
    done = complete(client, tools=tools, tool_choice=named)
    assert {c.function.name for c in done.choices[0].message.tool_calls} == {"play_music"}


def test_parallel_calls_are_made_only_where_they_may(client, tools):
    def calls(seed: int, parallel: bool) -> int:
        done = client.chat.completions.create(
            model="any",
            messages=HELLO,
            tools=tools,
            tool_choice="required",
            parallel_tool_calls=parallel,
            temperature=1.5,
            seed=seed,
            max_tokens=150,
        )
        return len(done.choices[0].message.tool_calls)

    assert {calls(seed, False) for seed in range(4)} == {1}
    assert any(calls(seed, True) > 1 for seed in range(30))  # else this test saw nothing


def test_tool_choice_none_gives_prose(client, tools):
    done = complete(client, tools=tools, tool_choice="none")
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].message.tool_calls is None


def test_a_response_format_is_kept_to(client):
    form = {"type": "json_schema", "json_schema": {"name": "point", "schema": POINT}}
    done = complete(client, response_format=form)
    jsonschema_rs.validate(POINT, json.loads(done.choices[0].message.content))


def test_what_a_response_format_leaves_open_is_checked_behind(client, url):
    draw = {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2, "contains": {"const": 3}}
    form = {"type": "json_schema", "json_schema": {"name": "draw", "schema": draw}}
    done = complete(client, response_format=form)
    assert set(json.loads(done.choices[0].message.content)) <= {1, 2}  # what the grammar holds
    assert done.choices[0].edgetool["invalid_content"]["reason"]
    asked = {"model": "any", "messages": HELLO, "response_format": form, "max_tokens": 150}
    chunks = [one.choices[0] for one in client.chat.completions.create(stream=True, **asked)]
    assert chunks[-1].finish_reason == "stop" and chunks[-1].edgetool["invalid_content"]["reason"]


def test_a_response_format_leaves_calls_possible(client, tools):
    form = {"type": "json_schema", "json_schema": {"name": "point", "schema": POINT}}
    kinds = set()
    for seed in range(20):
        done = client.chat.completions.create(
            model="any",
            messages=HELLO,
            tools=tools,
            response_format=form,
            temperature=1,
            seed=seed,
            max_tokens=150,
        )
        message = done.choices[0].message
        kinds.add(bool(message.tool_calls))
        if not message.tool_calls:
            jsonschema_rs.validate(POINT, json.loads(message.content))
        if kinds == {True, False}:
            return
    raise AssertionError(f"calls were made: {kinds}")


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_stream_carries_the_same_answer(client, tools, choice):
    asked = {"model": "any", "messages": HELLO, "tools": tools, "tool_choice": choice}
    asked |= {"temperature": 1, "max_tokens": 150}
    compared = 0
    for seed in range(20):
        whole = client.chat.completions.create(seed=seed, **asked)
        if whole.choices[0].finish_reason == "length":  # the client's helper refuses such a stream
            continue
        usage = {"include_usage": True}
        with client.chat.completions.stream(seed=seed, stream_options=usage, **asked) as stream:
            streamed = stream.get_final_completion()
        assert answer_of(streamed) == answer_of(whole)
        assert streamed.usage.completion_tokens == whole.usage.completion_tokens
        compared += 1
        if compared == 3:
            return
    raise AssertionError("too few completions finished")


def answer_of(done) -> tuple:
    [choice] = done.choices
    calls = choice.message.tool_calls or []
    made = [(call.function.name, json.loads(call.function.arguments)) for call in calls]
    return choice.finish_reason, choice.message.content or "", made


def test_a_cut_completion_says_length(client):
    done = client.completions.create(model="any", prompt="weather", max_tokens=2)
    assert done.choices[0].finish_reason == "length"
    assert done.usage.completion_tokens == 2


def test_a_stop_text_ends_a_completion_before_it(client):
    whole = client.completions.create(model="any", prompt="weather", max_tokens=40)
    text = whole.choices[0].text
    stop = text[10:13]
    cut = client.completions.create(model="any", prompt="weather", max_tokens=40, stop=stop)
    assert cut.choices[0].text == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"


def test_choices_come_from_their_own_seeds(client):
    asked = {"model": "any", "messages": HELLO, "temperature": 1, "max_tokens": 20}
    four = client.chat.completions.create(n=4, seed=7, **asked)
    said = [choice.message.content for choice in four.choices]
    alone = [client.chat.completions.create(seed=7 + i, **asked) for i in range(4)]
    assert said == [one.choices[0].message.content for one in alone]
    assert len(set(said)) > 1


def test_an_agents_loop_goes_round(client, tools):
    messages, prompts = list(HELLO), []
    for _ in range(3):
        done = complete(client, messages=messages, tools=tools, tool_choice="required")
        prompts.append(done.usage.prompt_tokens)
        message = done.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "rain, 12 C"})
    assert prompts == sorted(set(prompts))  # calls and results are read: each prompt is longer
    last = complete(client, messages=messages, tools=tools, tool_choice="none", max_tokens=400)
    assert last.choices[0].finish_reason == "stop"  # with or without a word: the model is random
    assert last.choices[0].message.tool_calls is None


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": "x " * 5_000}]},
        {"tools": [{"pattern": "("}]},
        {"tools": [{"enum": []}]},
        {"tools": [{"type": "object", "properties": {"y": {"$ref": "#/properties/x"}},
                    "required": ["y"]}]},
        {"tools": [{"$ref": "https://a.example/b"}]},
        {"tools": [{"$ref": "#/no/such/place"}]},
        {"tools": [{"not": {}}]},
        {"tools": [{"allOf": [{"type": "string"}, {"type": "integer"}]}]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "("}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": []}}}},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)  # fmt: skip
def test_what_the_engine_cannot_do_is_a_bad_request(url, fields):
    if "tools" in fields:
        parameters = {"properties": {"x": fields["tools"][0]}, "required": ["x"]}
        function = {"name": "t", "parameters": parameters}
        fields = {"tools": [{"type": "function", "function": function}]}
        fields["tool_choice"] = "required"
    body = {"messages": HELLO, "max_tokens": 5, **fields}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    message = answer.json()["error"]["message"]
    assert message and "%json" not in message
    if "tools" in fields:
        assert "tool 't': parameters.properties.x" in message and "--" not in message


TREE = {"type": "object", "properties": {"label": {"type": "string"}, "children": {
    "type": "array", "maxItems": 2, "items": {"$ref": "#/properties/x"}}},
    "required": ["label"]}  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [TREE, {"anyOf": [{"enum": ["a"]}, {"$ref": "#/properties/x"}]}, {"pattern": "^(?=a)[ab]$"}],
    ids=["tree", "choice of itself", "look-ahead"],
)
def test_a_schema_that_comes_back_to_itself_or_looks_around_is_answered(url, schema):
    function = {"name": "t", "parameters": {"properties": {"x": schema}, "required": ["x"]}}
    body = {"messages": HELLO, "max_tokens": 60, "tool_choice": "required"}
    body["tools"] = [{"type": "function", "function": function}]
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["tool_calls"]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(list(places(WELL_FORMED))), new=ANYTHING)
def test_anything_anywhere_in_a_request_leaves_the_engine_alive(url, writer, path, new):
    alive = writer.pid
    body = put({**WELL_FORMED, "max_tokens": 3}, path, new)
    headers = {"content-type": "application/json"}
    to = f"{url}/v1/chat/completions"
    answer = httpx.post(to, content=json.dumps(body), headers=headers, timeout=60)
    assert answer.status_code in (200, 400), answer.text
    assert writer.pid == alive


def test_a_prompt_that_is_too_long_has_openais_code(client):
    with pytest.raises(openai.BadRequestError, match="the context holds 1024") as refused:
        client.completions.create(model="any", prompt="x " * 5_000)
    assert refused.value.code == "context_length_exceeded"


def test_many_clients_at_once_get_what_each_would_get_alone(client, tools):
    def ask(number: int) -> str:
        done = client.chat.completions.create(
            model="any",
            messages=[{"role": "user", "content": f"weather in town {number}"}],
            tools=tools,
            tool_choice="required",
            max_tokens=60,
        )
        return json.dumps([c.function.model_dump() for c in done.choices[0].message.tool_calls])

    alone = [ask(number) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == alone


def test_models_and_health_answer(client, url, writer):
    [model] = client.models.list()
    assert model.id == "tiny"
    own = {"name": "own", "replaced": False, "note": None}
    about = {"context": 1024, "call_syntax": "hermes", "chat_template": own}
    assert client.models.retrieve("tiny").edgetool == about
    props = httpx.get(f"{url}/props").json()
    assert (props["chat_template"], props["edgetool"]) == (TINY_TEMPLATE, about)
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}


def test_a_web_page_gets_nothing_without_a_key(url):
    to, body = f"{url}/v1/chat/completions", json.dumps({"messages": HELLO})
    assert httpx.post(to, content=body, headers={"content-type": "text/plain"}).status_code == 415
    rebound = {"content-type": "application/json", "host": "evil.example"}
    assert httpx.post(to, content=body, headers=rebound).status_code == 403
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    preflight = httpx.options(to, headers=asked)
    assert not [name for name in preflight.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer s3cre"}, 401),
        ({"authorization": "Bearer s3crets"}, 401),
        ({"authorization": "s3cret"}, 401),
        ({"authorization": "Bearer schl\u00fcssel".encode()}, 401),
        ({"authorization": "Bearer s3cret"}, 200),
        ({"authorization": "Bearer s3cret", "host": "example.org"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/metrics"])
def test_a_key_is_asked_for_when_one_is_set(locked, path, given, status):
    assert httpx.get(f"{locked}{path}", headers=given).status_code == status


@pytest.fixture(scope="module")
def locked(serving):
    return serving(ScriptedWriter(), api_key="s3cret")


def test_a_key_beyond_ascii_is_known(serving):
    locked = serving(ScriptedWriter(), api_key="schlüssel")
    headers = {"authorization": "Bearer schlüssel".encode()}
    assert httpx.get(f"{locked}/v1/models", headers=headers).status_code == 200
