from __future__ import annotations

import json
import socket
import threading
import time

import httpx
import openai
import pytest
import uvicorn

from edgetool.errors import UsageError
from edgetool.serve.ask import ask
from edgetool.serve.http import MAX_BODY, ChatServer, bind, is_loopback, serve

HELLO = [{"role": "user", "content": "weather in Oslo please"}]


def asking(**changes) -> bytes:
    return json.dumps({"messages": HELLO, "max_tokens": 1, **changes}).encode()


def tool(parameters) -> dict:
    return {"type": "function", "function": {"name": "t", "parameters": parameters}}


@pytest.fixture(scope="module")
def start(session):
    """Starts real servers on free ports; gives their addresses."""
    running = []

    def run(**settings) -> str:
        listening = bind("127.0.0.1", 0)
        app = ChatServer(session, **settings).app()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread, listening))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield run
    for server, thread, listening in running:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def url(start, examples):
    return start(tools=examples[0].tools)


@pytest.fixture(scope="module")
def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


@pytest.fixture(scope="module")
def tools(examples):
    return [tool.as_openai() for tool in examples[0].tools]


def complete(client, **body):
    """A completion that finished: a random model now and then talks past any limit."""
    for seed in range(30):
        done = client.chat.completions.create(
            model="any", messages=HELLO, temperature=1, seed=seed, max_tokens=150, **body
        )
        if done.choices[0].finish_reason != "length":
            return done
    raise AssertionError("no completion finished")


def test_the_openai_client_gets_tool_calls(client, tools):
    done = complete(client, tools=tools, tool_choice="required")
    [choice] = done.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    for call in choice.message.tool_calls:
        assert call.function.name in ("get_weather", "play_music")
        assert isinstance(json.loads(call.function.arguments), dict)
    ids = [call.id for call in choice.message.tool_calls]
    assert len(set(ids)) == len(ids)
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


def test_a_named_tool_is_the_only_one_called(client, tools):
    named = {"type": "function", "function": {"name": "play_music"}}
    done = complete(client, tools=tools, tool_choice=named)
    assert {c.function.name for c in done.choices[0].message.tool_calls} == {"play_music"}


def test_tool_choice_none_gives_prose(client, tools):
    done = complete(client, tools=tools, tool_choice="none")
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].message.tool_calls is None


def test_a_request_without_tools_is_offered_the_servers(client):
    done = complete(client, tool_choice="required")
    assert done.choices[0].message.tool_calls


def test_a_stream_carries_the_same_calls(client, tools):
    whole = complete(client, tools=tools, tool_choice="required")
    calls = {}
    chunks = []
    for seed in range(30):
        chunks = list(
            client.chat.completions.create(
                model="any",
                messages=HELLO,
                tools=tools,
                tool_choice="required",
                temperature=1,
                seed=seed,
                max_tokens=150,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        if chunks[-2].choices[0].finish_reason == "tool_calls":
            break
    for chunk in chunks[:-1]:
        for delta in chunk.choices[0].delta.tool_calls or []:
            calls[delta.index] = (delta.function.name, delta.function.arguments)
    expected = [
        (c.function.name, c.function.arguments) for c in whole.choices[0].message.tool_calls
    ]
    assert [calls[i] for i in sorted(calls)] == expected
    assert chunks[-1].usage == whole.usage


def test_a_cut_completion_says_length(client, tools):
    done = client.chat.completions.create(
        model="any", messages=HELLO, tools=tools, tool_choice="required", max_tokens=2
    )
    assert done.choices[0].finish_reason == "length"
    assert done.usage.completion_tokens == 2


def test_a_conversation_with_tool_results_is_read(client, tools):
    function = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
    messages = [
        *HELLO,
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "rain"}]},
    ]
    done = client.chat.completions.create(model="any", messages=messages, max_tokens=1)
    assert done.usage.prompt_tokens > 0


def test_models_and_health_answer(client, url):
    assert [model.id for model in client.models.list()] == ["model.F16"]
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b"{}", 400),
        (b"[" * 50_000, 400),
        (json.dumps({"messages": []}).encode(), 400),
        (json.dumps({"messages": HELLO, "temperature": -1}).encode(), 400),
        (json.dumps({"messages": HELLO, "n": 2}).encode(), 400),
        (json.dumps({"messages": HELLO, "tools": [], "tool_choice": "required"}).encode(), 400),
        (json.dumps({"messages": [{"role": "user", "content": "x " * 5000}]}).encode(), 400),
        (asking(tools=[tool({"type": "string"})]), 400),
        (asking(tools=[tool({"type": "object", "properties": 5})]), 400),
        (asking(tools=[tool({"type": "object", "properties": {"x": {"type": "any"}}})]), 400),
        (asking(tools=[tool({}), tool({})]), 400),
        (asking(tool_choice={"type": "function", "function": {"name": "absent"}}), 400),
        (asking(messages=[{"role": "assistant", "tool_calls": [{"function": 5}]}]), 400),
        (asking(messages=[{"role": "assistant", "tool_calls": [{"id": "1"}]}]), 400),
        (asking(messages=[{"role": "user", "content": "\ud800"}]), 400),
        (b" " * (MAX_BODY + 1), 413),
    ],
)
def test_a_bad_body_gets_an_error_object(url, content, status):
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{url}/v1/chat/completions", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_web_page_gets_nothing_without_a_key(url):
    body = json.dumps({"messages": HELLO, "max_tokens": 1})
    to = f"{url}/v1/chat/completions"
    plain = httpx.post(to, content=body, headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    rebound = {"content-type": "application/json", "host": "evil.example"}
    assert httpx.post(to, content=body, headers=rebound).status_code == 403


def test_a_key_is_asked_for_when_one_is_set(start):
    url = start(api_key="s3cret")
    assert httpx.get(f"{url}/v1/models").status_code == 401
    wrong = {"authorization": "Bearer s3cre"}
    assert httpx.get(f"{url}/v1/models", headers=wrong).status_code == 401
    right = {"authorization": "Bearer s3cret"}
    assert httpx.get(f"{url}/v1/models", headers=right).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_an_open_host_needs_a_key(session, host):
    with pytest.raises(UsageError, match="--api-key"):
        serve(session, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_names_are_known(host):
    assert is_loopback(host)


def test_a_busy_port_is_named(session):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=str(port)):
            serve(session, port=port)


def test_ask_gives_the_calls_of_the_answer(session, examples):
    answer = ask(session, "weather in Oslo please", examples[0].tools)
    assert answer.calls == session.syntax.parse(answer.completion.text).calls
    assert answer.text == ("" if answer.calls else answer.completion.text)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/chat/completions", 405), ("GET", "/v1/x", 404)]
)
def test_a_wrong_path_or_method_gets_an_error_object(url, method, path, status):
    answer = httpx.request(method, f"{url}{path}")
    assert answer.status_code == status
    assert path in answer.json()["error"]["message"]


def test_null_descriptions_and_parameters_are_as_good_as_none(url):
    bare = {"type": "function", "function": {"name": "t", "description": None, "parameters": None}}
    headers = {"content-type": "application/json"}
    to = f"{url}/v1/chat/completions"
    answer = httpx.post(to, content=asking(tools=[bare]), headers=headers)
    assert answer.status_code == 200
