"""Reward functions with TRL's signature: what they are given, what they may give back."""

from __future__ import annotations

import pytest

from edgetool.calls.types import Example, ExpectedCall
from edgetool.rewards.batch import Attempt, TrainerState, call
from tests.conftest import user, weather_tool

OSLO = ExpectedCall("get_weather", {"city": "Oslo"})
FIRST = Example("a", user("weather in Oslo"), (weather_tool(),), (OSLO,), columns={"level": 2})
SECOND = Example("b", user("hi"), (weather_tool(),), (), completion="Hello.")
ATTEMPTS = [Attempt(FIRST, "one", (7, 8)), Attempt(FIRST, "two", (9,)), Attempt(SECOND, "three")]


def test_a_function_is_given_what_trl_gives_it():
    seen = {}

    def function(prompts, completions, **columns):
        seen.update(columns, prompts=prompts, completions=completions)
        return [0.0, 1, None]

    assert call(function, ATTEMPTS, TrainerState(3, 10)) == [0.0, 1, None]
    assert seen["prompts"] == [[{"role": "user", "content": "weather in Oslo"}]] * 2 + [
        [{"role": "user", "content": "hi"}]
    ]
    assert seen["completions"] == [
        [{"role": "assistant", "content": text}] for text in ("one", "two", "three")
    ]
    assert seen["completion_ids"] == [[7, 8], [9], []]
    assert seen["calls"] == [[{"name": "get_weather", "arguments": {"city": "Oslo"}}]] * 2 + [[]]
    assert seen["tools"] == [[weather_tool().as_openai()]] * 3
    assert seen["id"] == ["a", "a", "b"]
    assert seen["level"] == [2, 2, None]  # a column of the user's own
    assert seen["trainer_state"].global_step == 3 and seen["trainer_state"].max_steps == 10
    assert "completion" not in seen and "messages" not in seen


def test_a_function_without_keywords_is_given_what_it_names():
    def by_level(completions, level):
        return [len(c[0]["content"]) * (n or 0) for c, n in zip(completions, level, strict=True)]

    assert call(by_level, ATTEMPTS, TrainerState()) == [6, 6, 0]


@pytest.mark.parametrize(
    ("returned", "error"),
    [(None, "returned None; expected a list"), ([1.0], "1 scores for 3 completions")],
)
def test_anything_but_a_score_per_completion_is_refused(returned, error):
    with pytest.raises((TypeError, ValueError), match=error):
        call(lambda completions: returned, ATTEMPTS, TrainerState())
