"""A stop in the middle of a step."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgetool.calls.types import Example
from edgetool.rewards.scoring import WeightedReward
from edgetool.train import checkpoint, grpo_step
from edgetool.train.loop import TrainResult, train
from edgetool.train.policy import Policy
from edgetool.train.rollout_batch import RolloutBatch
from edgetool.train.settings import GRPOSettings
from edgetool.train.update import Update

SETTINGS = GRPOSettings(
    num_generations=4,
    prompts_per_step=2,
    max_steps=2,
    num_iterations=3,
    beta=0.1,
    max_completion_length=8,
    learning_rate=1e-2,
    gradient_checkpointing=False,
    packed_tokens=1,  # a micro-batch per group, so that there is a middle of accumulation
)


@pytest.fixture(autouse=True)
def by_length(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A random model never makes a call; let a hash of its text be the score, and note the text."""
    real, seen = grpo_step.score, []

    def scored(text: str, *rest: Any, **options: Any) -> Any:
        seen.append(text)
        found = real(text, *rest, **options)
        return dataclasses.replace(found, reward=sum(text.encode()) % 97 / 97)

    monkeypatch.setattr(grpo_step, "score", scored)
    yield seen


Start = Callable[..., TrainResult]


@pytest.fixture
def start(make_policy: Callable[..., Policy], examples: list[Example]) -> Start:
    def run(output: Path, resume: bool = False) -> TrainResult:
        policy = make_policy(lora_dropout=0.3)
        reward = [WeightedReward("zero", 1.0, lambda parsed, example: 0.0)]
        return train(policy, examples, reward, SETTINGS, output, resume=resume)

    return run


def stop_after(calls: int, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """SIGTERM when `Update.<name>` has been called so often; later calls are left alone."""
    real, count = getattr(Update, name), iter(range(1, 1000))

    def counted(self: Update, *rest: Any) -> Any:
        found = real(self, *rest)
        if next(count) == calls:
            os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(Update, name, counted)


def adapter_of(result: TrainResult) -> dict[str, torch.Tensor]:
    assert result.adapter
    return load_file(result.adapter / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("calls", "name", "iterations"),
    [
        (1, "__init__", 1),  # a step is interrupted after its rollout or after an iteration
        (1, "_apply", 1),
        (2, "_apply", 2),
        (1, "_accumulate", 1),  # the first of two micro-batches: the iteration is still finished
        (3, "_accumulate", 2),
    ],
)
def test_a_stop_anywhere_in_a_step_gives_the_uninterrupted_result(
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_length: list[str],
    calls: int,
    name: str,
    iterations: int,
) -> None:
    whole = start(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(calls, patch, name)
        stopped = start(tmp_path / "run")
    assert stopped.interrupted and stopped.checkpoint
    assert stopped.checkpoint.name == "step-000000-begun"
    saved = json.loads((stopped.checkpoint / "begun.json").read_text(encoding="utf-8"))
    assert saved["iteration"] == iterations
    by_length.clear()
    resumed = start(tmp_path / "run", resume=True)
    assert len(by_length) == 8  # the second step's completions alone: the first were kept
    one, other = adapter_of(whole), adapter_of(resumed)
    assert all(torch.equal(one[key], other[key]) for key in one)
    timeless = ("time", "per_second", "_mb")
    for key, value in whole.last.items():
        if not any(part in key for part in timeless):
            assert resumed.last[key] == value, key


def test_a_finished_rollout_is_kept_by_a_stop_before_the_update(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_length: list[str]
) -> None:
    real = grpo_step.Stepper._sample

    def then_stop(self: grpo_step.Stepper, number: int) -> RolloutBatch:
        found = real(self, number)
        os.kill(os.getpid(), signal.SIGTERM)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(grpo_step.Stepper, "_sample", then_stop)
        stopped = start(tmp_path / "run")
    assert stopped.checkpoint == tmp_path / "run" / "checkpoints" / "step-000000-begun"
    assert not (stopped.checkpoint / "begun.safetensors").exists()
    by_length.clear()
    one, other = adapter_of(start(tmp_path / "run", resume=True)), adapter_of(start(tmp_path / "b"))
    assert len(by_length) == 8 + 16
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_begun_step_is_newer_than_the_finished_one_before_it(tmp_path: Path) -> None:
    for name in ("step-000002-begun", "step-000003", "step-000002"):
        (tmp_path / name).mkdir()
    names = [path.name for path in checkpoint.complete(tmp_path)]
    assert names == ["step-000002", "step-000002-begun", "step-000003"]


def test_an_exception_in_an_iteration_leaves_weights_and_state_untouched(
    make_policy: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgetool.train.packing import Group
    from edgetool.train.update import Batch, make_optimizer

    policy = make_policy()
    groups = [Group([5, 6], [[7, 8], [9]], [0, 1]), Group([5], [[7], [9, 4]], [2, 3])]
    batch = Batch(groups, torch.ones(4), torch.tensor([1.0, -1.0, 1.0, -1.0]))
    update = Update(policy, batch, SETTINGS, make_optimizer(policy, SETTINGS))
    before = [p.detach().clone() for p in policy.trainable().values()]

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(update, "_apply", interrupted)
    with pytest.raises(KeyboardInterrupt):
        update.iterate()
    assert update.state.iteration == 0
    assert update.state.metrics.tokens == 0
    after = list(policy.trainable().values())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)
