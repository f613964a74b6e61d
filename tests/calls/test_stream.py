"""A completion in pieces reads as the whole one does."""

from __future__ import annotations

import itertools
import random

import pytest

from edgetool.calls import syntaxes
from edgetool.calls.prompt.stream import CallStream
from edgetool.calls.types import ToolCall
from tests.conftest import music_tool, weather_tool

SYNTAXES = [syntaxes.get(name) for name in syntaxes.names()]
TOOLS = [weather_tool(), music_tool()]
CALLS = [
    ToolCall("get_weather", {"city": "Oslo, [1] {x} \"</tool\" 'q'", "days": 3}),
    ToolCall("play_music", {"artist": "Björk"}),
    ToolCall("get_weather", {"city": "3"}),
]


def streamed(syntax, text, cuts):
    stream = CallStream(syntax, TOOLS)
    bounds = [0, *sorted(cuts), len(text)]
    events = [
        event for begin, end in itertools.pairwise(bounds) for event in stream.feed(text[begin:end])
    ]
    parsed = stream.finish(finished=True)
    return [*events, *stream.rest], parsed


def random_cuts(text, seed):
    draw = random.Random(seed)
    return [draw.randrange(len(text) + 1) for _ in range(draw.randrange(12))]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.NAME)
@pytest.mark.parametrize("before", ["", "Let me see. "])
def test_a_hundred_ways_to_cut_a_completion_give_the_same_calls(syntax, before):
    text = before + syntax.render(CALLS)
    whole = syntax.parse(text, TOOLS)
    assert list(whole.calls) == CALLS
    for seed in range(100):
        events, parsed = streamed(syntax, text, random_cuts(text, seed))
        assert parsed == whole
        assert [event for event in events if isinstance(event, ToolCall)] == CALLS


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.NAME)
def test_every_prefix_can_be_the_end(syntax):
    text = "Well. " + syntax.render(CALLS)
    for end in range(len(text)):
        events, parsed = streamed(syntax, text[:end], range(end))
        made = [event for event in events if isinstance(event, ToolCall)]
        assert made == list(parsed.calls) == list(syntax.parse(text[:end], TOOLS).calls)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.NAME)
@pytest.mark.parametrize("text", ["No tool fits.", "1 < 2 [see] {it} ``` <tool_", "", "a <|tool"])
def test_prose_comes_out_whole(syntax, text):
    events, parsed = streamed(syntax, text, range(len(text)))
    assert parsed.calls == ()
    assert "".join(events) == text


def test_a_call_is_told_before_the_completion_ends():
    hermes = syntaxes.get("hermes")
    stream = CallStream(hermes)
    assert stream.feed("Sure. " + hermes.render(CALLS[:1]) + "\n") == ["Sure. ", CALLS[0]]
    assert stream.feed("<tool_call>\n{") == []


def test_prose_is_held_back_only_where_a_marker_may_begin():
    stream = CallStream(syntaxes.get("hermes"))
    assert stream.feed("so <tool") == ["so "]
    assert stream.feed("box>") == ["<toolbox>"]
