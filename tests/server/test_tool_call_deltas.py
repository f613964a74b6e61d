from __future__ import annotations

import json

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.types import ToolCall
from edgetool.server.tool_call_deltas import PartStream

CALLS = [
    ToolCall("get_weather", {"city": 'a "}{" b\\', "days": [1, {"x": '\\"]'}]}),
    ToolCall("play", {}),
    ToolCall("get_weather", {"city": '{"name": "no", "arguments": {}}'}),
]


def told(text: str, size: int) -> list[tuple[str, str]]:
    """(name, arguments) that the parts of a text add up to, the text being cut every `size`."""
    stream, calls = PartStream(), []
    for start in range(0, len(text), size):
        for part in stream.feed(text[start : start + size]):
            if part.name:
                calls.append((part.name, ""))
            assert part.index == len(calls) - 1
            calls[-1] = (calls[-1][0], calls[-1][1] + part.text)
    return calls


@pytest.mark.parametrize("size", [1, 2, 5, 10_000])
@pytest.mark.parametrize("syntax", ["hermes", "llama3_json", "json", "mistral"])
def test_the_parts_add_up_to_the_calls(syntax, size):
    calls = told(syntaxes.get(syntax).render(CALLS), size)
    assert [(name, json.loads(text)) for name, text in calls] == [
        (call.name, call.arguments) for call in CALLS
    ]


@pytest.mark.parametrize("syntax", ["pythonic", "qwen3_coder"])
def test_nothing_is_told_of_calls_that_are_not_json(syntax):
    assert told(syntaxes.get(syntax).render(CALLS[:2]), 3) == []


def test_arguments_are_told_as_they_are_written():
    stream = PartStream()
    assert stream.feed('{"name": "play", "argu') == []
    [first] = stream.feed('ments": {"artist": "Ch')
    assert (first.name, first.text) == ("play", '{"artist": "Ch')
    [second] = stream.feed('et"}}\n')
    assert (second.name, second.text) == ("", 'et"}')
    assert stream.feed("</tool_call>") == []
