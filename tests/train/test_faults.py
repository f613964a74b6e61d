"""What a user's reward function may do wrong, and a gradient that is no number."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edgetool.calls import syntaxes
from edgetool.calls.syntaxes import Parsed
from edgetool.calls.types import Example
from edgetool.errors import EdgetoolError
from edgetool.files import read_log
from edgetool.rewards import scoring
from edgetool.rewards.batch import Attempt
from edgetool.rewards.scoring import WeightedReward
from edgetool.train import checkpoint, grpo_loss
from edgetool.train.loop import train
from edgetool.train.policy import Policy
from edgetool.train.settings import GRPOSettings

SETTINGS = GRPOSettings(
    num_generations=4,
    prompts_per_step=2,
    max_steps=3,
    max_completion_length=8,
    gradient_checkpointing=False,
    save_steps=1,
)


def varied(fails_at: int | None = None) -> WeightedReward:
    """0, 1, 2, 0, ... and so a spread in every group; None for one of every eight if asked."""
    calls = itertools.count()

    def function(parsed: Parsed, example: Example) -> Any:
        number = next(calls)
        return None if number % 8 == fails_at else number % 3

    return WeightedReward("varied", 1.0, function)


def raising(parsed: Parsed, example: Example) -> float:
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda parsed, example: float("nan"), "'broken' on row 'r0' returned nan"),
        (lambda parsed, example: float("inf"), "returned inf; it must return a finite number"),
        (lambda parsed, example: None, "returned None"),
        (lambda parsed, example: [1.0], r"returned \[1.0\]"),
        (raising, "raised:\nTraceback(.|\n)*KeyError: 'lost'"),
        (lambda parsed, example: time.sleep(5), "no result within 0.05 s"),
    ],
)
def test_a_reward_that_fails_leaves_its_completion_without_a_reward(
    monkeypatch: pytest.MonkeyPatch, function: Any, said: str
) -> None:
    monkeypatch.setattr(scoring, "TIME_LIMIT", 0.05)
    row = Example("r0", ({"role": "user", "content": "hi"},), (), ())
    functions = [
        WeightedReward("one", 1.0, lambda *_: 1.0),
        WeightedReward("broken", 1.0, function),
    ]
    scored = scoring.score("hello", row, syntaxes.get("hermes"), functions)
    assert scored.scores[0] == 1.0
    assert math.isnan(scored.scores[1]) and math.isnan(scored.reward)
    assert scored.fault and re.search(said, scored.fault)


def test_a_run_stops_when_a_fifth_of_the_completions_have_no_reward() -> None:
    scoring.require_few(["one"] * 4, 20)
    with pytest.raises(EdgetoolError, match=r"failed on 5 of 20 completions(.|\n)*first: one"):
        scoring.require_few(["one"] * 5, 20)


def test_a_few_failing_rewards_do_not_stop_a_run(
    make_policy: Callable[..., Policy], examples: list[Example], tmp_path: Path
) -> None:
    # 2 prompts x 4 completions a step: one of eight fails
    train(make_policy(), examples, [varied(fails_at=3)], SETTINGS, tmp_path / "run")
    rows = read_log(tmp_path / "run" / "metrics.jsonl")
    assert [row["reward_faults"] for row in rows] == [1] * len(rows)
    assert all(row["grad_norm"] > 0 for row in rows)


def test_updates_that_are_not_finite_are_skipped_and_three_in_a_row_end_the_run(
    make_policy: Callable[..., Policy],
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = make_policy()
    before = {name: p.detach().clone() for name, p in policy.trainable().items()}
    monkeypatch.setattr(grpo_loss, "token_losses", lambda log_ratio, *_: log_ratio * math.nan)
    settings = dataclasses.replace(SETTINGS, max_steps=9)
    with pytest.raises(EdgetoolError, match=r"3 steps in a row(.|\n)*rows: .*lower learning_rate"):
        train(policy, examples, [varied()], settings, tmp_path / "run")
    assert all(torch.equal(p, before[name]) for name, p in policy.trainable().items())
    assert checkpoint.newest(tmp_path / "run" / "checkpoints") is not None


def scored_together(function: Any, texts: list[str]) -> list[scoring.Scored]:
    row, syntax = (
        Example("r0", ({"role": "user", "content": "hi"},), (), ()),
        syntaxes.get("hermes"),
    )
    rewards = [
        WeightedReward("one", 1.0, lambda *_: 1.0),
        WeightedReward("mine", 0.5, function),
    ]
    attempts = [Attempt(row, text) for text in texts]
    return [
        scoring.score(text, row, syntax, rewards, together=together)
        for text, together in zip(texts, scoring.score_together(attempts, rewards), strict=True)
    ]


def test_a_function_of_trls_signature_scores_all_completions_in_one_call() -> None:
    calls = []

    def lengths(completions: Any, **columns: Any) -> list[float]:
        calls.append(completions)
        return [len(completion[0]["content"]) for completion in completions]

    found = scored_together(lengths, ["a", "bbb"])
    assert [scored.scores for scored in found] == [(1.0, 1.0), (1.0, 3.0)]
    assert [scored.reward for scored in found] == [1.5, 2.5]
    assert len(calls) == 1


def test_a_completion_without_a_score_is_paid_by_its_other_rewards() -> None:
    first, second = scored_together(lambda completions: [None, 1.0], ["a", "b"])
    assert first.reward == 1.0 and first.fault is None and math.isnan(first.scores[1])
    assert second.reward == 1.5


def test_a_completion_that_no_function_has_a_score_for_has_no_reward() -> None:
    row = Example("r0", (), (), ())
    rewards = [WeightedReward("mine", 1.0, lambda completions: [None])]
    scored = scoring.score("x", row, syntaxes.get("hermes"), rewards)
    assert math.isnan(scored.reward) and scored.fault is None


def test_a_score_that_is_no_number_costs_its_own_completion() -> None:
    first, second = scored_together(lambda completions: ["much", 1.0], ["a", "b"])
    assert math.isnan(first.reward) and "returned 'much'" in str(first.fault)
    assert second.reward == 1.5 and second.fault is None


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    values = [numpy.float32(0.5), torch.tensor(0.25)]
    first, second = scored_together(lambda completions: values, ["a", "b"])
    assert first.scores[1] == 0.5 and second.scores[1] == 0.25


@pytest.mark.parametrize("function", [lambda completions: [1.0], lambda completions: 1 / 0])
def test_a_function_that_fails_as_a_whole_costs_every_completion(function: Any) -> None:
    for scored in scored_together(function, ["a", "b"]):
        assert scored.scores[0] == 1.0 and math.isnan(scored.reward)
        assert "reward 'mine' on 2 completions raised:\nTraceback" in str(scored.fault)
