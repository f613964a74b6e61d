"""Answers and streams as OpenAI's own client reads them, from an engine that says what it must."""

from __future__ import annotations

import json
import socket
import time

import httpx
import openai
import pytest

from edgetool.errors import Busy, EngineError, PromptTooLong
from tests.conftest import weather_tool
from tests.server.scripted import ScriptedWriter

HELLO = [{"role": "user", "content": "weather in Oslo and Rome"}]
TOOLS = [weather_tool().as_openai()]
OSLO = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
TWO = [OSLO[:7], OSLO[7:60], OSLO[60:], "\n", OSLO.replace("Oslo", "Rome")]


@pytest.fixture(scope="module")
def asking(serving):
    """Asks a server whose engine plays `script`; gives what the client's `create` gives."""
    clients = []

    def ask(script, **fields):
        address = serving(ScriptedWriter(script))
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0)
        clients.append(client)
        return client.chat.completions.create(model="any", messages=HELLO, **fields)

    yield ask
    for client in clients:
        client.close()


def collected(chunks) -> list[dict]:
    """The messages that a stream adds up to, one for each choice."""
    made: dict[int, dict] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            message = made.setdefault(choice.index, {"content": "", "calls": {}, "ids": {}})
            message["content"] += choice.delta.content or ""
            for part in choice.delta.tool_calls or []:
                name, text = message["calls"].get(part.index, ("", ""))
                function = part.function
                name, text = name + (function.name or ""), text + (function.arguments or "")
                message["calls"][part.index] = (name, text)
                if part.id:
                    assert part.index not in message["ids"]
                    message["ids"][part.index] = part.id
            message["reason"] = choice.finish_reason
    return [made[index] for index in sorted(made)]


def test_an_answer_has_its_calls_and_usage(asking):
    done = asking(lambda job: TWO, tools=TOOLS)
    [choice] = done.choices
    calls = choice.message.tool_calls
    assert [json.loads(call.function.arguments) for call in calls] == [
        {"city": "Oslo"},
        {"city": "Rome"},
    ]
    assert len({call.id for call in calls}) == 2
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    # ScriptedWriter counts words as tokens: 2 calls of 7
    assert done.usage.completion_tokens == 14
    assert done.usage.total_tokens == 7 + 14
    assert done.usage.prompt_tokens_details.cached_tokens == 4
    assert done.usage.edgetool == {
        "forced_tokens": 1,
        "drafted_tokens": 0,
        "passes": 2,
        "cached_prompt_tokens": 4,
    }


def test_a_stream_adds_up_to_the_answer(asking):
    chunks = list(asking(lambda job: TWO, tools=TOOLS, stream=True))
    [message] = collected(chunks)
    assert [(name, json.loads(text)) for name, text in message["calls"].values()] == [
        ("get_weather", {"city": "Oslo"}),
        ("get_weather", {"city": "Rome"}),
    ]
    assert (message["content"], message["reason"]) == ("", "tool_calls")
    assert len(set(message["ids"].values())) == 2
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_tells_usage_where_it_is_asked_to(asking):
    options = {"include_usage": True}
    *_, last = asking(lambda job: ["Hi"], stream=True, stream_options=options)
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (7, 1)


def test_words_come_as_they_are_written(asking):
    stream = asking(lambda job: ["Hel", "lo", 60.0], stream=True)
    said = ""
    for chunk in stream:  # the engine is silent for a minute behind these
        said += chunk.choices[0].delta.content or ""
        if said == "Hello":
            break
    stream.close()
    assert said == "Hello"


@pytest.mark.parametrize("stream", [False, True])
def test_eight_choices_come_together(asking, stream):
    def script(job):
        return [f"seed {job.sampling.seed}"]

    answer = asking(script, n=8, seed=40, stream=stream)
    if stream:
        said = [message["content"] for message in collected(answer)]
    else:
        said = [choice.message.content for choice in answer.choices]
    assert said == [f"seed {seed}" for seed in range(40, 48)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Busy("8 requests wait"), 503, "engine_overloaded"),
        (EngineError("the child died"), 503, "engine_failed"),
        (PromptTooLong("900 tokens"), 400, "context_length_exceeded"),
    ],
)
def test_a_failure_before_the_first_word_has_its_status(asking, stream, error, status, code):
    with pytest.raises(openai.APIStatusError) as refused:
        asking(lambda job: [error], stream=stream)
    assert refused.value.status_code == status
    assert refused.value.code == code
    assert str(error) in refused.value.message
    assert ("retry-after" in refused.value.response.headers) == (status == 503)


def test_a_failure_amid_a_stream_is_an_event(asking):
    stream = asking(lambda job: ["Hi", EngineError("the child died")], stream=True)
    with pytest.raises(openai.APIError, match="the child died"):
        list(stream)


def test_a_text_completion_is_answered_and_streamed(serving):
    writer = ScriptedWriter()
    client = openai.OpenAI(base_url=f"{serving(writer)}/v1", api_key="unused")
    done = client.completions.create(model="any", prompt="Once", stop=["\n"], max_tokens=5)
    chunks = list(client.completions.create(model="any", prompt="Once", stream=True))
    client.close()
    assert done.choices[0].text == "Hello"
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello"
    assert chunks[-1].choices[0].finish_reason == "stop"
    job = writer.jobs[0]
    assert (job.prompt, job.stop, job.sampling.max_completion_length) == ("Once", ("\n",), 5)


@pytest.mark.parametrize("stream", ["true", "false"])
def test_a_client_that_leaves_cancels_its_job(serving, stream):
    writer = ScriptedWriter(lambda job: ["a", 60.0])
    address = httpx.URL(serving(writer))
    body = f'{{"messages": [{{"role": "user", "content": "x"}}], "stream": {stream}}}'
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
    with socket.create_connection((address.host, address.port)) as connection:
        connection.sendall(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        _wait(lambda: writer.jobs)
    _wait(lambda: writer.cancelled)
    assert writer.cancelled == 1
    metrics = httpx.get(f"{address}/metrics", headers={"host": "localhost"}).text
    assert "edgetool_requests_in_progress 0.0" in metrics


def test_metrics_count_answers_tokens_and_refusals(serving):
    address = serving(ScriptedWriter())
    for body in ({"messages": HELLO}, {"messages": HELLO}, {}):
        httpx.post(f"{address}/v1/chat/completions", json=body)
    httpx.get(f"{address}/no/such/place")
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    chat = 'path="/v1/chat/completions"'
    assert f'edgetool_requests_total{{{chat},status="200"}} 2.0' in lines
    assert f'edgetool_requests_total{{{chat},status="400"}} 1.0' in lines
    assert 'edgetool_requests_total{path="other",status="404"} 1.0' in lines
    assert 'edgetool_completions_total{reason="stop"} 2.0' in lines
    assert 'edgetool_tokens_total{kind="prompt"} 14.0' in lines
    assert 'edgetool_tokens_total{kind="completion"} 2.0' in lines


def test_the_first_token_waits_in_the_queue_too(serving):
    address = serving(ScriptedWriter(lambda job: [0.4, "Hi", 0.4, "there"]))
    httpx.post(f"{address}/v1/chat/completions", json={"messages": HELLO})
    lines = dict(line.split(" ") for line in _metrics(address) if not line.startswith("#"))
    # the script's own first_seconds are 0.01
    assert 0.4 <= float(lines["edgetool_first_token_seconds_sum"]) < 0.8
    assert float(lines["edgetool_request_seconds_sum"]) >= 0.8
    assert lines["edgetool_first_token_seconds_count"] == "1.0"


def test_an_answer_of_nothing_has_a_first_token_too(serving):
    address = serving(ScriptedWriter(lambda job: [0.2]))
    httpx.post(f"{address}/v1/chat/completions", json={"messages": HELLO})
    lines = dict(line.split(" ") for line in _metrics(address) if not line.startswith("#"))
    assert float(lines["edgetool_first_token_seconds_sum"]) >= 0.2


def _metrics(address: str) -> list[str]:
    return httpx.get(f"{address}/metrics").text.splitlines()


def test_health_tells_of_trouble(serving):
    writer = ScriptedWriter()
    address = serving(writer)
    assert httpx.get(f"{address}/health").status_code == 200
    writer.trouble = "the engine is being started again"
    down = httpx.get(f"{address}/health")
    assert (down.status_code, down.json()["reason"]) == (503, writer.trouble)


def _wait(until) -> None:
    ends = time.perf_counter() + 10
    while not until() and time.perf_counter() < ends:
        time.sleep(0.01)
