"""Rewards, with scores worked out by hand from arXiv:2509.04518."""

from __future__ import annotations

import pytest

from edgetool import rewards
from edgetool.calls.formats.base import Parsed
from edgetool.calls.types import Example, ExpectedCall, ToolCall
from edgetool.errors import UsageError
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
