"""Counts that can be checked by hand."""

from __future__ import annotations

from edgetool.calls.types import Example, ExpectedCall
from edgetool.data.show import lines_of
from edgetool.data.stats import gather, leaks
from tests.conftest import music_tool, user, weather_tool

OSLO = ExpectedCall("get_weather", {"city": "Oslo"})


def row(id_, text, *calls, **fields):
    return Example(id_, user(text), (weather_tool(), music_tool()), calls, **fields)


ROWS = [
    row("1", "weather", OSLO),
    row("2", "Weather?", OSLO),  # the same words but for case and punctuation
    row("3", "weather", OSLO),  # the same row under another id
    row("4", "a joke", metadata={"evaluation_only": True, "source": "bfcl"}),
]


def test_rows_are_counted():
    told = gather(ROWS).as_json()
    assert told["rows"] == 4 and told["abstention_share"] == 0.25
    assert told["tools"] == {"offered": 2, "called": 1}
    assert told["calls_per_row"] == {0: 1, 1: 3}
    assert told["tools_per_row"] == {"min": 2, "p50": 2, "p95": 2, "max": 2, "mean": 2.0}
    # lengths 6, 7, 7, 8: half of the rows are no longer than 7
    assert told["utterance_characters"] == {"min": 6, "p50": 7, "p95": 8, "max": 8, "mean": 7.0}
    assert told["utterances"] == 2 and told["repeated_rows"] == 1
    assert told["evaluation_only"] == 1 and told["sources"] == {"unnamed": 3, "bfcl": 1}


def test_leaks_are_what_both_files_have():
    other = [row("9", "WEATHER", OSLO), row("8", "play", ExpectedCall("play_music"))]
    assert leaks(gather(ROWS), gather(other)) == {"utterances": 1, "rows": 0, "called_tools": 1}


def test_no_rows_make_no_spread():
    assert gather([]).as_json()["tools_per_row"] == {}


def test_a_row_is_shown_with_signatures_and_without_control_characters():
    shown = "\n".join(lines_of(row("1", "weather\x1b[2J in\nOslo", OSLO)))
    assert "get_weather(city: string, days?: integer)" in shown
    assert '=> get_weather(city="Oslo")' in shown
    assert "\x1b" not in shown
    assert "=> no call" in "\n".join(lines_of(ROWS[3]))
