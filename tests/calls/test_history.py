"""A call in a conversation's history makes the same prompt however its arguments were sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgetool.calls.prompt.history import with_objects, with_text
from edgetool.calls.prompt.prompt import render_prompt
from edgetool.data.rows import example_of, line_of, parse_row
from edgetool.server.requests import ChatRequest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (
    "{% for m in messages %}{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
)


def conversation(arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]


def rendered(messages: Any) -> str:
    return "".join(render_prompt(TEMPLATE, messages, [], []))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"city": "Oslo"}, '{"city": "Oslo"}'),
        ('{"city": "Oslo"}', '{"city": "Oslo"}'),
        ('{"a": null}', '{"a": null}'),
        ("", "{}"),
        ("  ", "{}"),
        ("null", "{}"),
        ('"{\\"city\\": \\"Oslo\\"}"', '{"city": "Oslo"}'),
        (None, "{}"),
        ({}, "{}"),
        ("Oslo", '"Oslo"'),
        ("[1]", '"[1]"'),
    ],
)
def test_arguments_are_rendered_as_one_object_in_every_way_in(sent: Any, shown: str) -> None:
    messages = conversation(sent)
    row = example_of({"messages": messages, "tools": [], "calls": []}, "x")
    request = ChatRequest.model_validate({"messages": messages})
    served = [message.as_message() for message in request.messages]
    assert rendered(messages) == rendered(row.messages) == rendered(served) == f"go{shown}ok"


@pytest.mark.parametrize("sent", ["", " ", "null", None, "{}", '"{}"', {}])
def test_a_call_that_is_right_may_have_no_arguments(sent: Any) -> None:
    tools = [{"name": "ping", "description": "d"}]
    calls = [{"name": "ping", "arguments": sent}]
    row = example_of({"messages": conversation("")[:1], "tools": tools, "calls": calls}, "x")
    assert row.calls[0].arguments == {}


@pytest.mark.parametrize("calls", [None, "text", 7, [], ["f"], [{"function": "f"}], [{}]])
def test_what_is_no_list_of_calls_stays_as_it_is(calls: Any) -> None:
    message = {"role": "assistant", "content": "x", "tool_calls": calls}
    assert with_objects([message]) == [message]


def test_a_call_without_the_wrapper_is_read_too() -> None:
    message = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": '{"a": 1}'}]}
    assert with_objects([message])[0]["tool_calls"] == [{"name": "f", "arguments": {"a": 1}}]


def test_the_messages_given_are_not_changed() -> None:
    messages = conversation("")
    with_objects(messages)
    assert messages == conversation("")


def test_an_openai_server_is_sent_text_and_reads_the_same() -> None:
    sent = with_text(conversation({"city": "Ås"}))[1]["tool_calls"][0]["function"]["arguments"]
    assert sent == '{"city": "Ås"}'
    assert rendered(with_text(conversation({}))) == rendered(conversation({}))


def test_a_row_with_text_is_written_with_objects() -> None:
    row = example_of({"messages": conversation('{"n": 1}'), "tools": [], "calls": []}, "x")
    assert parse_row(line_of(row), "x") == row
    assert json.loads(line_of(row))["messages"][1]["tool_calls"][0]["function"]["arguments"] == {
        "n": 1
    }


def test_a_row_of_the_case_makes_the_prompt_that_is_served(shared: Path) -> None:
    template = (ROOT / "models" / "nano" / "chat_template.jinja").read_text(encoding="utf-8")
    with (shared / "cases" / "history_text" / "rows.jsonl").open(encoding="utf-8") as rows:
        row = json.loads(rows.readline())
    example = example_of(row, "x")
    request = ChatRequest.model_validate({"messages": row["messages"][:-1]})
    served = [message.as_message() for message in request.messages]
    made = [
        "".join(render_prompt(template, m, example.tools, [])) for m in (example.messages, served)
    ]
    assert made[0] == made[1]
    assert '"arguments": {"city": "Oslo"}' in made[0]
