"""Weights that fall once a reward's moving average has passed a level."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgetool.calls.types import Example
from edgetool.errors import ConfigError
from edgetool.files import read_log
from edgetool.rewards.schedule import RewardWeights, Schedule
from edgetool.rewards.scoring import WeightedReward
from edgetool.train.loop import TrainResult, train
from edgetool.train.policy import Policy
from edgetool.train.settings import GRPOSettings

FALLING = Schedule(until=0.75, then=0.125, window=2)


def test_a_weight_falls_when_the_mean_of_the_last_steps_reaches_the_level():
    weights = RewardWeights([0.5, 1.0], [FALLING, None])
    seen = []
    # step means 1.0; 0.0; 0.5; 1.0 and so means of two: -, 0.5, 0.25, 0.75
    for step in ([1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
        weights.observe([(score, 0.0) for score in step])
        seen.append(weights.now)
    assert seen == [(0.5, 1.0), (0.5, 1.0), (0.5, 1.0), (0.125, 1.0)]


def test_a_weight_that_has_fallen_stays_down():
    weights = RewardWeights([0.5], [FALLING])
    for score in (1.0, 1.0, 0.0, 0.0, 0.0):
        weights.observe([(score,)])
    assert weights.now == (0.125,)


def test_completions_a_reward_has_nothing_to_say_about_do_not_count():
    weights = RewardWeights([0.5], [FALLING])
    weights.observe([(1.0,), (math.nan,)])  # mean 1
    weights.observe([(math.nan,)])  # no step at all
    weights.observe([(0.5,), (0.5,)])  # (1 + 0.5) / 2 = 0.75
    assert weights.now == (0.125,)


def test_the_state_comes_back_from_json_bit_for_bit():
    first, second = RewardWeights([0.5], [FALLING]), RewardWeights([0.5], [FALLING])
    first.observe([(0.1,), (0.2,), (1 / 3,)])
    second.restore(json.loads(json.dumps(first.state())))
    assert second.state() == first.state()
    for weights in (first, second):
        weights.observe([(1.5 - (0.1 + 0.2 + 1 / 3) / 3,)])
    assert second.now == first.now


SETTINGS = GRPOSettings(
    num_generations=4,
    prompts_per_step=2,
    max_steps=4,
    max_completion_length=8,
    learning_rate=1e-3,
    gradient_checkpointing=False,
    save_steps=2,
)


def hashed(completions: Any, **columns: Any) -> list[float]:
    return [sum(completion[0]["content"].encode()) % 97 / 97 for completion in completions]


def first_is_better(completion_ids: Any, **columns: Any) -> list[float]:
    return [ids[0] % 7 / 7 for ids in completion_ids]


Start = Callable[..., TrainResult]


@pytest.fixture
def start(make_policy: Callable[..., Policy], examples: list[Example]) -> Start:
    """A run in which one weight falls after its third step at the latest."""

    def run(output: Path, *, resume: bool = False, until: float = 0.0, **changes: Any) -> Any:
        rewards = [
            WeightedReward("hashed", 1.0, hashed),
            WeightedReward("first", 4.0, first_is_better, Schedule(until, 0.5, window=3)),
        ]
        settings = dataclasses.replace(SETTINGS, **changes)
        return train(make_policy(), examples, rewards, settings, output, resume=resume)

    return run


def test_the_weight_in_force_pays_and_is_logged(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run")
    rows = read_log(tmp_path / "run" / "metrics.jsonl")
    assert [row["rewards/first/weight"] for row in rows] == [4.0, 4.0, 4.0, 0.5]
    for row in rows:
        weighted = row["rewards/hashed/mean"] + (
            row["rewards/first/weight"] * row["rewards/first/mean"]
        )
        assert row["reward"] == pytest.approx(weighted, rel=1e-5)  # metrics keep six digits


def test_a_resumed_run_lowers_the_weight_where_an_uninterrupted_one_does(
    start: Start, tmp_path: Path
) -> None:
    start(tmp_path / "whole")
    start(tmp_path / "halves", max_steps=2)
    start(tmp_path / "halves", resume=True)

    def adapter(name: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")

    def weights(name: str) -> list[float]:
        rows = read_log(tmp_path / name / "metrics.jsonl")
        return [row["rewards/first/weight"] for row in rows]

    whole, halves = adapter("whole"), adapter("halves")
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    assert weights("halves") == weights("whole") == [4.0, 4.0, 4.0, 0.5]


def test_a_run_with_other_rewards_is_another_run(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", max_steps=1)
    with pytest.raises(ConfigError, match="rewards was"):
        start(tmp_path / "run", resume=True, until=0.5)
