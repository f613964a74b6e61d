from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgetool import rewards
from edgetool.activity import Activity
from edgetool.calls import syntaxes
from edgetool.calls.syntaxes import Parsed
from edgetool.calls.types import Example
from edgetool.errors import ConfigError, EdgetoolError, PromptTooLong, UsageError
from edgetool.rewards import scoring
from edgetool.rewards.scoring import WeightedReward
from edgetool.train import checkpoint, grpo_step
from edgetool.train.grpo_step import StepReport
from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.loop import TrainResult, train
from edgetool.train.policy import Policy
from edgetool.train.rollout_batch import RolloutBatch
from edgetool.train.rows import prepare_rows, visited
from edgetool.train.settings import GRPOSettings, LoraSettings

SETTINGS = GRPOSettings(
    num_generations=4,
    prompts_per_step=2,
    max_steps=4,
    max_completion_length=8,
    learning_rate=1e-3,
    gradient_checkpointing=False,
    save_steps=2,
)


@pytest.fixture(autouse=True)
def by_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model never makes a call; its texts still differ, so let their hash be the score."""
    real = grpo_step.score

    def scored(text: str, *rest: Any, **options: Any) -> Any:
        found = real(text, *rest, **options)
        return dataclasses.replace(found, reward=sum(text.encode()) % 97 / 97)

    monkeypatch.setattr(grpo_step, "score", scored)


def no_score(parsed: Parsed, example: Example) -> float:
    return 0.0


ZERO = [WeightedReward("zero", 1.0, no_score)]


def adapter_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rows_of(output: Path) -> list[dict[str, Any]]:
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


Start = Callable[..., TrainResult]


@pytest.fixture
def start(make_policy: Callable[..., Policy], examples: list[Example]) -> Start:
    """Train a fresh policy, as a new process would."""

    def run(output: Path, lora_dropout: float = 0.0, resume: bool = False, **changes: Any) -> Any:
        told = {name: changes.pop(name, None) for name in ("on_step", "on_note")}
        rows = changes.pop("rows", examples)
        settings = dataclasses.replace(SETTINGS, **changes)
        policy = make_policy(lora_dropout=lora_dropout)
        return train(policy, rows, ZERO, settings, output, resume=resume, **told)

    return run


def test_a_run_leaves_adapter_metrics_and_its_two_newest_checkpoints(
    start: Start, tmp_path: Path
) -> None:
    result = start(tmp_path / "run", save_steps=1)
    assert result.steps == 4
    assert result.adapter == tmp_path / "run" / "adapter"
    config = json.loads((result.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert Path(config["base_model_name_or_path"]).is_dir()
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [1, 2, 3, 4]
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step-000003", "step-000004"]


def test_metrics_have_trl_names_and_are_finite_json(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", max_steps=1)
    [row] = rows_of(tmp_path / "run")
    expected = {
        "loss", "reward", "reward_std", "rewards/zero/mean", "kl", "entropy", "clip_ratio",
        "completions/mean_length", "completions/clipped_ratio", "grad_norm", "learning_rate",
        "step_time", "num_tokens", "frac_reward_zero_std", "valid", "right_tool", "exact",
        "tokens_per_second", "rss_mb",
    }  # fmt: skip
    assert expected <= row.keys()
    assert row["grad_norm"] > 0
    assert row["clip_ratio"] == 0  # the first iteration is the old policy itself


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_two_steps_and_two_resumed_are_four(start: Start, tmp_path: Path, dropout: float) -> None:
    whole = start(tmp_path / "whole", lora_dropout=dropout)
    start(tmp_path / "parts", lora_dropout=dropout, max_steps=2)
    parts = start(tmp_path / "parts", lora_dropout=dropout, resume=True)
    assert whole.adapter and parts.adapter
    assert same(adapter_of(whole.adapter), adapter_of(parts.adapter))
    assert rows_of(tmp_path / "parts")[-1]["num_tokens"] == whole.last["num_tokens"]


def test_training_moves_the_adapter(start: Start, tmp_path: Path) -> None:
    one = start(tmp_path / "one", max_steps=1).adapter
    more = start(tmp_path / "more", max_steps=2).adapter
    assert one and more
    before, after = adapter_of(one), adapter_of(more)
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_resumed_run_equals_an_uninterrupted_one(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    def interrupt(report: StepReport) -> None:
        if report.step == 1:
            os.kill(os.getpid(), number)

    stopped = start(tmp_path / "run", on_step=interrupt)
    assert stopped.interrupted
    assert stopped.steps == 1
    assert stopped.adapter is None
    assert stopped.checkpoint == tmp_path / "run" / "checkpoints" / "step-000001"
    done = start(tmp_path / "run", resume=True)
    whole = start(tmp_path / "whole")
    assert done.adapter and whole.adapter
    assert same(adapter_of(done.adapter), adapter_of(whole.adapter))


def test_metrics_of_steps_that_run_again_are_not_there_twice(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", max_steps=2)
    with (tmp_path / "run" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "reward": 9}\n{"step": 4, "rew')  # a crash in the middle of a line
    start(tmp_path / "run", resume=True)
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [1, 2, 3, 4]


def test_an_unfinished_checkpoint_is_neither_found_nor_kept(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", max_steps=2)
    folder = tmp_path / "run" / "checkpoints"
    (folder / ".staging-99").mkdir()
    (folder / "step-latest").mkdir()
    assert checkpoint.newest(folder) == folder / "step-000002"
    start(tmp_path / "run", resume=True)
    assert not (folder / ".staging-99").exists()


def test_a_second_run_in_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", max_steps=1)
    with pytest.raises(UsageError, match="--resume"):
        start(tmp_path / "run", max_steps=1)


def test_a_run_says_what_it_does_while_it_does_it(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for name in ("begin", "reach"):
        real = getattr(Activity, name)

        def noted(self: Activity, *told: Any, real: Any = real) -> None:
            real(self, *told)
            seen.append(self.text)

        monkeypatch.setattr(Activity, name, noted)
    start(tmp_path / "run", max_steps=1, save_steps=1)
    for text in (
        "reading rows, row 3 of 3",
        "step 1: writing 8 completions, token 1 of at most 8",
        "step 1: scoring 8 completions",
        "step 1: learning, pass 1 of 1",
        "saving the checkpoint of step 1",
    ):
        assert text in seen


def test_metrics_without_a_checkpoint_are_not_written_over_unasked(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    with pytest.raises(UsageError, match=r"metrics of 2 steps and no checkpoint.*--resume"):
        start(tmp_path / "run", max_steps=1)
    notes: list[str] = []
    start(tmp_path / "run", max_steps=1, resume=True, on_note=notes.append)
    assert "the metrics of 2 steps that no checkpoint holds are dropped" in notes
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [1]


def test_resuming_with_other_settings_names_them(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", max_steps=1)
    with pytest.raises(ConfigError, match=r"beta was 0\.0, now 0\.1"):
        start(tmp_path / "run", resume=True, beta=0.1)


def test_resuming_with_another_adapter_size_is_refused(
    start: Start, tmp_path: Path, tiny_model: Path, examples: list[Example]
) -> None:
    start(tmp_path / "run", max_steps=1)
    other = load_policy(tiny_model, LoraSettings(r=2), LoadSettings(device="cpu"))
    with pytest.raises(EdgetoolError, match="does not fit"):
        train(other, examples, ZERO, SETTINGS, tmp_path / "run", resume=True)


def damage(checkpoint: Path) -> None:
    """One bit of the optimizer's file, as a failing disk would."""
    file = checkpoint / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_named_when_there_is_no_other(start: Start, tmp_path: Path) -> None:
    result = start(tmp_path / "run", max_steps=1)
    assert result.checkpoint
    damage(result.checkpoint)
    with pytest.raises(EdgetoolError, match=r"step-000001: optimizer\.safetensors is not"):
        start(tmp_path / "run", resume=True)


def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(start: Start, tmp_path: Path) -> None:
    whole = start(tmp_path / "run", save_steps=1)
    assert whole.checkpoint and whole.adapter
    before = adapter_of(whole.adapter)
    damage(whole.checkpoint)
    notes: list[str] = []
    again = start(tmp_path / "run", resume=True, on_note=notes.append)
    assert "step-000004 is damaged" in notes[0]
    assert "step-000003" in notes[1]
    assert again.adapter
    assert same(before, adapter_of(again.adapter))


def test_rows_that_changed_are_not_resumed_on(
    start: Start, tmp_path: Path, examples: list[Example]
) -> None:
    start(tmp_path / "run", max_steps=1)
    with pytest.raises(ConfigError, match="the rows are others"):
        start(tmp_path / "run", resume=True, rows=examples[:-1])


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_several_iterations_clip_and_measure_kl(start: Start, tmp_path: Path, beta: float) -> None:
    result = start(tmp_path / "run", max_steps=1, num_iterations=3, beta=beta, learning_rate=0.05)
    assert result.last["clip_ratio"] > 0
    assert (result.last["kl"] > 0) == (beta > 0)


def test_groups_of_equal_reward_teach_nothing_and_are_counted(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    equal = grpo_step.score

    def scored(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(equal(*arguments, **options), reward=0.5)

    monkeypatch.setattr(grpo_step, "score", scored)
    result = start(tmp_path / "run", max_steps=1)
    assert result.last["frac_reward_zero_std"] == 1
    assert result.last["grad_norm"] == 0
    assert result.last["loss"] == 0


def test_masked_truncated_completions_carry_no_gradient(start: Start, tmp_path: Path) -> None:
    # the random model never stops within two tokens
    result = start(
        tmp_path / "run", max_steps=1, max_completion_length=2, mask_truncated_completions=True
    )
    assert result.last["completions/clipped_ratio"] == 1
    assert result.last["grad_norm"] == 0


def test_tensorboard_gets_the_metrics_when_asked(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    start(tmp_path / "run", max_steps=1, report_to=("tensorboard",))
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_too_long_prompts_are_skipped_and_named(policy: Policy, examples: list[Example]) -> None:
    lengths = {e.id: len(policy.prompter.ids(e.messages, e.tools)) for e in examples}
    limit = sorted(lengths.values())[1]
    over = tuple(name for name, length in lengths.items() if length > limit)
    rows = prepare_rows(policy, examples, GRPOSettings(max_prompt_length=limit))
    assert rows.too_long == over
    assert len(rows.rows) == 3 - len(over)
    assert over[0] in (rows.note() or "")


def test_too_long_prompts_are_refused_by_choice_and_when_none_is_left(
    policy: Policy, examples: list[Example]
) -> None:
    with pytest.raises(PromptTooLong, match="max_prompt_length"):
        prepare_rows(policy, examples, GRPOSettings(max_prompt_length=1))
    limit = max(len(policy.prompter.ids(e.messages, e.tools)) for e in examples) - 1
    with pytest.raises(PromptTooLong, match="1 of 3"):
        prepare_rows(policy, examples, GRPOSettings(max_prompt_length=limit, too_long="refuse"))


def test_completions_that_leave_no_room_for_prompts_are_refused(
    policy: Policy, examples: list[Example]
) -> None:
    with pytest.raises(PromptTooLong, match="2048"):
        prepare_rows(policy, examples, GRPOSettings(max_completion_length=2048))


def test_every_epoch_visits_every_row_once_in_another_order() -> None:
    seen = [index for number in range(10) for index in visited(number, 10, 2, seed=1)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_a_step_may_reach_over_the_end_of_an_epoch() -> None:
    seen = [index for number in range(3) for index in visited(number, 3, 4, seed=1)]
    assert [sorted(seen[i : i + 3]) for i in (0, 3, 6, 9)] == [[0, 1, 2]] * 4


def test_a_sampled_step_counts_each_prompt_once() -> None:
    from edgetool.train.rollout import RolloutCompletion
    from edgetool.train.rows import Row

    row = Row(Example("x", (), (), ()), (1, 2, 3))
    written = [RolloutCompletion((5, 6), "", True, ()), RolloutCompletion((5,), "", True, ())]
    assert RolloutBatch.of([row], [written], [[]]).tokens == 3 + 2 + 1


def test_a_cut_completion_earns_what_it_would_score_in_evaluation() -> None:
    no_call = Example("x", ({"role": "user", "content": "hi"},), (), ())
    syntax = syntaxes.get("hermes")
    paid = WeightedReward("paper", 1.0, rewards.get("paper"))
    # prose is a right refusal when it ended by itself, and nothing when it was cut
    assert scoring.score("No tool", no_call, syntax, [paid]).reward == 1.0
    assert scoring.score("No tool", no_call, syntax, [paid], finished=False).reward == 0.0


def test_groups_of_equal_rewards_make_way_for_other_rows(
    make_policy: Callable[..., Policy], examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first rollout earns 0 throughout; what is drawn in its place differs.
    policy, settings = make_policy(), dataclasses.replace(SETTINGS, dynamic_sampling=2)
    rows = prepare_rows(policy, examples, settings).rows
    real, calls = grpo_step.score, itertools.count()

    def first_round_equal(*rest: Any, **options: Any) -> Any:
        found = real(*rest, **options)
        return dataclasses.replace(found, reward=0.0) if next(calls) < 8 else found

    monkeypatch.setattr(grpo_step, "score", first_round_equal)
    report = grpo_step.Stepper(policy, rows, ZERO, settings).run(0)
    assert report.metrics["replaced_groups"] == 2
    assert report.metrics["frac_reward_zero_std"] == 0
    sampled = report.sampled
    kept = RolloutBatch.of(sampled.rows, sampled.written, sampled.scored)
    assert report.metrics["num_tokens"] == sampled.tokens > kept.tokens  # what was left out counts


def test_replaced_groups_are_the_same_whenever_the_step_is_run(
    make_policy: Callable[..., Policy], examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SETTINGS, dynamic_sampling=1)
    monkeypatch.setattr(
        grpo_step,
        "score",
        lambda *a, real=grpo_step.score, **k: dataclasses.replace(real(*a, **k), reward=0.0),
    )
    drawn = []
    for _ in range(2):
        policy = make_policy()
        rows = prepare_rows(policy, examples, settings).rows
        sampled = grpo_step.Stepper(policy, rows, ZERO, settings).run(5).sampled
        drawn.append(
            [
                (row.example.id, w.token_ids)
                for row, g in zip(sampled.rows, sampled.written, strict=True)
                for w in g
            ]
        )
    assert drawn[0] == drawn[1]
