"""Rewards, with scores worked out by hand: `paper` from arXiv:2509.04518, `toolrl` from
arXiv:2504.13958, section 3.3."""

from __future__ import annotations

import time

import pytest

from edgetool import rewards
from edgetool.calls import syntaxes
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import Example, ExpectedCall, Tool, ToolCall
from edgetool.errors import UsageError
from edgetool.rewards.batch import Attempt, TrainerState
from edgetool.rewards.batch import call as call_batch
from tests.conftest import user, weather_tool

ROME = ExpectedCall("get_weather", {"city": "Rome", "days": 3})
OSLO = ExpectedCall("get_weather", {"city": "Oslo"})


def paper(calls, expected, problem=None):
    example = Example("r", user("?"), (weather_tool(),), tuple(expected))
    return rewards.get("paper")(Parsed(tuple(calls), problem), example)


def test_the_expected_call_earns_everything():
    assert paper([ROME], [ROME]) == 1.0  # 0.125 + 0.375 + 0.5


def test_half_the_arguments_earn_half_of_their_part():
    half = ToolCall("get_weather", {"city": "Rome", "days": 4})
    assert paper([half], [ROME]) == 0.75  # 0.125 + 0.375 + 0.5 * 1/2


def test_a_wrong_name_earns_only_validity():
    assert paper([ToolCall("other", ROME.arguments)], [ROME]) == 0.125


def test_a_missing_call_halves_names_and_arguments():
    assert paper([OSLO], [OSLO, ROME]) == 0.5625  # 0.125 + 0.375 * 1/2 + 0.5 * 1/2


def test_extra_calls_scale_names_and_arguments_down():
    assert paper([ROME, OSLO], [ROME]) == 0.5625  # 0.125 + 1/2 * (0.375 + 0.5)


@pytest.mark.parametrize(
    "problem", ["empty", "invalid_json", "extra_text", "unclosed", "not_a_call"]
)
def test_anything_but_clean_json_earns_nothing(problem):
    assert paper([ROME], [ROME], problem) == 0.0


def test_silence_where_a_call_is_expected_earns_nothing():
    assert paper([], [ROME]) == 0.0


def test_silence_where_no_call_is_expected_earns_everything():
    assert paper([], []) == 1.0
    assert paper([ROME], []) == 0.0


def test_exact_pays_only_for_exactly_the_expected_calls():
    example = Example("r", user("?"), (weather_tool(),), (ROME,))
    exact = rewards.get("exact")
    assert exact(Parsed((ROME,)), example) == 1.0
    assert exact(Parsed((OSLO,)), example) == 0.0
    assert exact(Parsed((ROME,), "extra_text"), example) == 0.0


def test_an_unknown_reward_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'paper'"):
        rewards.get("papr")


@pytest.mark.parametrize(
    ("made", "expected", "problem", "score"),
    [
        ((), (), None, 1.0),
        ((ROME,), (), None, 0.0),
        ((), (), "unclosed", 0.0),
        ((), (ROME,), None, 0.0),
        ((ROME,), (ROME,), None, 0.0),
    ],
)
def test_abstain_pays_for_right_refusals_alone(made, expected, problem, score):
    example = Example("r", user("?"), (weather_tool(),), expected)
    assert rewards.get("abstain")(Parsed(made, problem), example) == score


def score(name, calls, expected, problem=None, tool=None):
    example = Example("r", user("?"), (tool or weather_tool(),), tuple(expected))
    return rewards.get(name)(Parsed(tuple(calls), problem), example)


def call(**arguments):
    return ToolCall("get_weather", arguments)


@pytest.mark.parametrize(
    ("calls", "problem", "total"),
    [
        # expected: get_weather(city=Rome, days=3), so S = 1 + 1 + 2 = 4
        ([ROME], None, 4.0),  # R = 1 + 1 + 2: 1 + 6 * 4/4 - 3
        ([call(city="Rome", days=4)], None, 2.5),  # R = 1 + 1 + 1: 1 + 6 * 3/4 - 3
        ([call(city="Rome")], None, 1.75),  # R = 1 + 1/2 + 1: 1 + 6 * 2.5/4 - 3
        ([call(city="Rome", days=3, x=1)], None, 3.5),  # R = 1 + 2/3 + 2: 1 + 6 * 11/12 - 3
        ([ToolCall("other", ROME.arguments)], None, -2.0),  # R = 0: 1 + 0 - 3
        ([], None, -2.0),  # well formed, but nothing of it: 1 + 0 - 3
        ([], "invalid_json", -3.0),
        ([ROME], "extra_text", 3.0),  # 0 + 6 * 4/4 - 3
        ([ROME, ROME], None, 3.25),  # names 1/2: R = 3.5: 1 + 6 * 3.5/4 - 3
    ],
)
def test_toolrl_adds_format_and_six_times_correctness(calls, problem, total):
    assert score("toolrl", calls, [ROME], problem) == pytest.approx(total, abs=1e-12)


def test_toolrl_pairs_calls_so_that_most_is_right():
    # S = 1 + (1 + 1) + (1 + 2) = 6. In order, OSLO would be held against ROME.
    assert score("toolrl", [ROME, OSLO], [OSLO, ROME]) == pytest.approx(4.0)
    # names 1/2, the one call made is paired with ROME: keys 1, values 2. R = 3.5: 1 + 3.5 - 3
    assert score("toolrl", [ROME], [OSLO, ROME]) == pytest.approx(1.5)


def test_toolrl_does_not_miss_an_optional_argument():
    want = ExpectedCall("get_weather", ROME.arguments, optional=frozenset({"days"}))
    assert score("toolrl", [call(city="Rome")], [want]) == pytest.approx(4.0)
    # days is an argument once it is given: R = 1 + 1 + 1 of 4
    assert score("toolrl", [call(city="Rome", days=9)], [want]) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("calls", "problem", "total"),
    [((), None, 4.0), ((ROME,), None, -2.0), ((), "invalid_json", -3.0), ((ROME,), "cut", -3.0)],
)
def test_toolrl_pays_for_abstaining(calls, problem, total):
    assert score("toolrl", calls, [], problem) == total


@pytest.mark.parametrize(
    ("calls", "expected", "problem", "paid"),
    [
        ([OSLO, ROME], [ROME, OSLO], None, 1.0),
        ([OSLO], [ROME, OSLO], None, 0.0),
        ([OSLO], [OSLO], "extra_text", 0.0),
        ([], [], None, 1.0),
    ],
)
def test_binary_pays_for_the_right_format_and_every_call_or_nothing(calls, expected, problem, paid):
    assert score("binary", calls, expected, problem) == paid


@pytest.mark.parametrize(
    ("calls", "expected", "problem", "share"),
    [
        ([OSLO], [ROME], None, 1.0),  # fits its schema, wrong as it is
        ([call(city=5)], [ROME], None, 0.0),
        ([call(days=1)], [ROME], None, 0.0),  # city is required
        ([call(city="Rome", when="now")], [ROME], None, 0.0),  # no such parameter
        ([ToolCall("play", {})], [ROME], None, 0.0),  # no such tool
        ([OSLO, call(city=5)], [ROME], None, 0.5),
        ([OSLO], [ROME], "extra_text", 0.0),
        ([], [ROME], None, 0.0),
        ([], [], None, 1.0),
    ],
)
def test_schema_valid_pays_for_calls_that_fit_their_tool(calls, expected, problem, share):
    assert score("schema_valid", calls, expected, problem) == share


def test_schema_valid_lets_in_what_a_schema_invites():
    schema = {"type": "object", "properties": {}, "additionalProperties": True}
    tool = Tool("get_weather", "", schema)
    assert score("schema_valid", [call(when="now")], [], tool=tool) == 1.0


@pytest.mark.parametrize(
    ("calls", "expected", "problem", "paid"),
    [
        ([ToolCall("other")], [ROME], None, 1.0),  # nothing but a call, wrong as it is
        ([ROME], [ROME], "extra_text", 0.0),
        ([], [ROME], None, 0.0),  # words in place of a call
        ([], [], None, 1.0),
        ([], [], "empty", 0.0),
    ],
)
def test_no_extra_text_pays_for_nothing_beside_what_was_asked_for(calls, expected, problem, paid):
    assert score("no_extra_text", calls, expected, problem) == paid


def length(text, expected):
    example = Example("r", user("?"), (weather_tool(),), tuple(expected))
    return call_batch(rewards.get("length"), [Attempt(example, text)], TrainerState())


def test_length_pays_in_full_up_to_twice_the_expected_calls_and_then_less():
    # {"name": "get_weather", "arguments": {"city": "Oslo"}} has 54 characters
    assert length("x" * 108, [OSLO]) == [1.0]
    assert length("x" * 216, [OSLO]) == [0.5]
    assert length("", [OSLO]) == [1.0]
    assert length("x" * 216, [OSLO, OSLO]) == [1.0]
    assert length("Nothing fits.", []) == [None]


@pytest.mark.parametrize("syntax", syntaxes.names())
def test_length_has_room_for_every_call_syntax(syntax):
    for calls in ([OSLO], [OSLO, ROME], [ExpectedCall("f")]):
        assert length(syntaxes.get(syntax).render(calls), calls) == [1.0]


def test_a_pattern_that_backtracks_for_ever_costs_milliseconds():
    properties = {"city": {"type": "string", "pattern": r"(.*)*\1b"}}
    tool = Tool("get_weather", "", {"type": "object", "properties": properties})
    started = time.process_time()
    assert score("schema_valid", [call(city="a" * 500 + "!")], [ROME], tool=tool) == 0.0
    assert time.process_time() - started < 0.2  # tens of milliseconds on a free machine
