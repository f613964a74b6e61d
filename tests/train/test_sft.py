"""Supervised fine-tuning against transformers' own loss, and the promises of a run."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edgetool.calls.types import Example
from edgetool.errors import ConfigError, UsageError
from edgetool.runtime import Sampling, in_order
from edgetool.train import oom, sft
from edgetool.train.loop import TrainResult
from edgetool.train.policy import Policy
from edgetool.train.runtime import PolicyRuntime
from edgetool.train.settings import SFTSettings
from edgetool.train.sft import (
    SFTReport,
    SFTStepper,
    SupervisedRow,
    fine_tune,
    grouped,
    prepare_supervised,
)

SETTINGS = SFTSettings(
    max_steps=4,
    per_device_train_batch_size=2,
    learning_rate=1e-3,
    gradient_checkpointing=False,
    save_steps=2,
)
IGNORED = -100  # what transformers leaves out of its cross-entropy


def padded_loss(policy: Policy, rows: list[SupervisedRow]) -> Tensor:
    """transformers' loss, prompts masked, one padded row each: the mean over all their tokens."""
    width = max(map(len, rows))
    ids = [[*row.prompt, *row.completion] for row in rows]
    labels = [[IGNORED] * len(row.prompt) + list(row.completion) for row in rows]
    return policy.causal(
        torch.tensor([line + [0] * (width - len(line)) for line in ids]),
        attention_mask=torch.tensor([[1] * len(line) + [0] * (width - len(line)) for line in ids]),
        labels=torch.tensor([line + [IGNORED] * (width - len(line)) for line in labels]),
    ).loss


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def gradients_of_a_step(
    policy: Policy, rows: list[SupervisedRow], **changes: Any
) -> tuple[SFTReport, dict[str, Tensor]]:
    """A step's report, and the gradient its optimizer was given."""
    changes = {"max_grad_norm": 1e9, "per_device_train_batch_size": len(rows), **changes}
    stepper = SFTStepper(policy, rows, dataclasses.replace(SETTINGS, **changes))
    found: dict[str, Tensor] = {}

    def note(*_: Any) -> None:
        found.update({n: p.grad.clone() for n, p in policy.trainable().items()})

    stepper.optimizer.step = note  # type: ignore[method-assign]
    return stepper.run(0), found


@pytest.fixture
def rows(policy: Policy, examples: list[Example]) -> list[SupervisedRow]:
    """Ragged: completions of one call, two calls and a sentence; two rows share a prompt."""
    again = dataclasses.replace(examples[2], id="again", completion="Why? Because.")
    return list(prepare_supervised(policy, [*examples, again], SFTSettings()).rows)


@pytest.mark.parametrize("packed_tokens", [1, 600, 100_000])
def test_loss_and_gradient_are_those_of_padded_rows_whatever_the_packing(
    policy: Policy, rows: list[SupervisedRow], packed_tokens: int
) -> None:
    plain = padded_loss(policy, rows)
    names, matrices = zip(*policy.trainable().items(), strict=True)
    expected = dict(zip(names, torch.autograd.grad(plain, matrices), strict=True))
    report, found = gradients_of_a_step(policy, rows, packed_tokens=packed_tokens)
    assert report.metrics["loss"] == pytest.approx(plain.item(), rel=1e-5)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert relative(gradient, expected[name]) <= 1e-5, name
    norm = torch.cat([g.flatten() for g in expected.values()]).norm()
    assert report.metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-5)


def test_out_of_memory_gives_the_same_gradient_and_names_the_setting(
    policy: Policy, rows: list[SupervisedRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = gradients_of_a_step(policy, rows)
    real, notes = sft.completion_logps, []

    def small(network: Any, batch: Any, *rest: Any) -> Any:
        if len(batch.input_ids) > 1:
            raise torch.OutOfMemoryError
        return real(network, batch, *rest)

    monkeypatch.setattr(sft, "completion_logps", small)
    monkeypatch.setattr(
        oom.MicroBatchSplitter, "_note", lambda self, tokens: notes.append(self.section)
    )
    _, halves = gradients_of_a_step(policy, rows)
    assert set(notes) == {"sft"}
    assert all(relative(halves[name], whole[name]) <= 1e-5 for name in whole)


def test_accuracy_and_entropy_are_means_over_completion_tokens(
    policy: Policy, rows: list[SupervisedRow]
) -> None:
    right, entropy, tokens = 0, 0.0, 0
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([[*row.prompt, *row.completion]])
            places = slice(len(row.prompt) - 1, -1)
            logps = policy.causal(ids).logits[0, places].log_softmax(-1)
            right += int((logps.argmax(-1) == torch.tensor(row.completion)).sum())
            entropy -= float((logps.exp() * logps).sum())
            tokens += len(row.completion)
    report, _ = gradients_of_a_step(policy, rows)
    assert report.metrics["mean_token_accuracy"] == pytest.approx(right / tokens, abs=1e-9)
    assert report.metrics["entropy"] == pytest.approx(entropy / tokens, rel=1e-5)


def test_rows_of_one_prompt_share_it(policy: Policy, rows: list[SupervisedRow]) -> None:
    groups = grouped(rows)
    assert [list(group.owners) for group in groups] == [[0], [1], [2, 3]]
    report, _ = gradients_of_a_step(policy, rows)
    # every prompt once, every completion
    read = sum(len(r.prompt) for r in rows[:3]) + sum(len(r.completion) for r in rows)
    assert report.metrics["num_tokens"] == read


Start = Callable[..., TrainResult]


@pytest.fixture
def start(make_policy: Callable[..., Policy], examples: list[Example]) -> Start:
    """Train a fresh policy, as a new process would."""

    def run(output: Path, lora_dropout: float = 0.0, **changes: Any) -> TrainResult:
        resume, on_step = changes.pop("resume", False), changes.pop("on_step", None)
        rows = changes.pop("examples", examples)
        settings = dataclasses.replace(SETTINGS, **changes)
        policy = make_policy(lora_dropout=lora_dropout)
        return fine_tune(policy, rows, settings, output, resume=resume, on_step=on_step)

    return run


def adapter_of(result: TrainResult) -> dict[str, Tensor]:
    assert result.adapter
    return load_file(result.adapter / "adapter_model.safetensors")


def same(one: TrainResult, other: TrainResult) -> bool:
    """The same adapter, bit for bit."""
    a, b = adapter_of(one), adapter_of(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_tiny_model_learns_its_batch_by_heart_and_then_writes_it(
    make_policy: Callable[..., Policy], examples: list[Example], tmp_path: Path
) -> None:
    policy, losses = make_policy(), []
    # Hidden states and embeddings of a random model are so small that no token could get sure of
    # itself: the largest logit is 5, which is a fifth of the probability.
    policy.causal.model.norm.weight.data.mul_(10)
    settings = dataclasses.replace(
        SETTINGS,
        max_steps=60,
        per_device_train_batch_size=3,
        learning_rate=3e-3,
        lr_scheduler_type="linear",
    )
    result = fine_tune(
        policy,
        examples,
        settings,
        tmp_path / "run",
        on_step=lambda report: losses.append(report.metrics["loss"]),
    )
    assert losses[0] > 5 and losses[-1] < 0.05
    assert result.last["mean_token_accuracy"] == 1.0
    greedy = Sampling(max_completion_length=80, temperature=0.0)
    written = in_order(PolicyRuntime(policy).generate(examples, greedy))
    expected = prepare_supervised(policy, examples, settings).rows
    assert [tuple(c.token_ids) for c in written] == [row.completion for row in expected]


def test_metrics_have_trl_names_and_are_finite_json(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", max_steps=1, learning_rate=1e-3, warmup_steps=2)
    [line] = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(line)
    assert row.keys() == {
        "step", "loss", "grad_norm", "skipped_updates", "mean_token_accuracy", "entropy",
        "learning_rate", "num_tokens", "step_time", "tokens_per_second", "rss_mb", "device_mb",
    }  # fmt: skip
    assert row["learning_rate"] == 5e-4  # the first of two warm-up steps
    assert row["grad_norm"] > 0


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_two_steps_and_two_resumed_are_four(start: Start, tmp_path: Path, dropout: float) -> None:
    whole = start(tmp_path / "whole", dropout)
    start(tmp_path / "parts", dropout, max_steps=2)
    parts = start(tmp_path / "parts", dropout, resume=True)
    assert same(whole, parts)
    assert parts.last["num_tokens"] == whole.last["num_tokens"]


def test_a_signal_saves_and_the_resumed_run_equals_an_uninterrupted_one(
    start: Start, tmp_path: Path
) -> None:
    def interrupt(report: SFTReport) -> None:
        if report.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = start(tmp_path / "run", on_step=interrupt)
    assert stopped.interrupted and stopped.adapter is None
    assert stopped.checkpoint == tmp_path / "run" / "checkpoints" / "step-000001"
    assert same(start(tmp_path / "run", resume=True), start(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 0.5}, r"learning_rate was 0\.001, now 0\.5"),
        ({"no_call_text": "Sorry."}, "no_call_text was None, now Sorry"),
    ],
)
def test_resuming_with_other_settings_names_them(
    start: Start, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    start(tmp_path / "run", max_steps=1)
    with pytest.raises(ConfigError, match=said):
        start(tmp_path / "run", resume=True, **changes)


def test_resuming_with_other_words_in_a_row_is_refused(
    start: Start, tmp_path: Path, examples: list[Example]
) -> None:
    start(tmp_path / "run", max_steps=1)
    other = [*examples[:2], dataclasses.replace(examples[2], completion="No.")]
    with pytest.raises(ConfigError, match="the rows are others"):
        start(tmp_path / "run", resume=True, examples=other)


def test_a_second_run_in_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", max_steps=1)
    with pytest.raises(UsageError, match="--set output_dir="):
        start(tmp_path / "run", max_steps=1)
