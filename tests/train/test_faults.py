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

from edgetool.calls import formats
from edgetool.calls.formats import Parsed
from edgetool.calls.types import Example
from edgetool.errors import EdgetoolError
from edgetool.files import read_log
from edgetool.train import checkpoint, faults, grpo, scoring
from edgetool.train.loop import train
from edgetool.train.policy import Policy
from edgetool.train.scoring import WeightedReward
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
    monkeypatch.setattr(faults, "TIME_LIMIT", 0.05)
    row = Example("r0", ({"role": "user", "content": "hi"},), (), ())
    functions = [
        WeightedReward("one", 1.0, lambda *_: 1.0),
        WeightedReward("broken", 1.0, function),
    ]
    scored = scoring.score("hello", row, formats.get("hermes"), functions)
    assert scored.scores[0] == 1.0
    assert math.isnan(scored.scores[1]) and math.isnan(scored.reward)
    assert scored.fault and re.search(said, scored.fault)


def test_a_run_stops_when_a_fifth_of_the_completions_have_no_reward() -> None:
    faults.require_few(["one"] * 4, 20)
    with pytest.raises(EdgetoolError, match=r"failed on 5 of 20 completions(.|\n)*first: one"):
        faults.require_few(["one"] * 5, 20)


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
    monkeypatch.setattr(grpo, "token_losses", lambda log_ratio, *_: log_ratio * math.nan)
    settings = dataclasses.replace(SETTINGS, max_steps=9)
    with pytest.raises(EdgetoolError, match=r"3 steps in a row(.|\n)*rows: .*lower learning_rate"):
        train(policy, examples, [varied()], settings, tmp_path / "run")
    assert all(torch.equal(p, before[name]) for name, p in policy.trainable().items())
    assert checkpoint.newest(tmp_path / "run" / "checkpoints") is not None
