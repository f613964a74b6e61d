"""What arXiv:2509.04518's setting needs: restarts, 8-bit moments, accumulation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgetool.calls.types import Example
from edgetool.config import build_config
from edgetool.errors import ConfigError
from edgetool.rewards.scoring import WeightedReward
from edgetool.train import engines, grpo_step
from edgetool.train.loop import train
from edgetool.train.policy import Policy
from edgetool.train.rows import prepare_rows
from edgetool.train.settings import GRPOSettings, SFTSettings
from edgetool.train.sft import SFTStepper, prepare_supervised
from edgetool.train.update import learning_rate, make_optimizer

ZERO = [WeightedReward("zero", 1.0, lambda parsed, example: 0.0)]
SETTINGS = GRPOSettings(
    num_generations=2,
    prompts_per_step=2,
    max_steps=4,
    max_completion_length=6,
    learning_rate=1e-2,
    gradient_checkpointing=False,
    save_steps=2,
)


@pytest.fixture(autouse=True)
def by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    real = grpo_step.score

    def scored(text: str, *rest: Any, **options: Any) -> Any:
        found = real(text, *rest, **options)
        return dataclasses.replace(found, reward=sum(text.encode()) % 97 / 97)

    monkeypatch.setattr(grpo_step, "score", scored)


def rates(cycles: int | None, warmup_steps: int = 0, max_steps: int = 8) -> list[float]:
    settings = GRPOSettings(
        learning_rate=1.0,
        lr_scheduler_type="cosine_with_restarts",
        lr_scheduler_kwargs={} if cycles is None else {"num_cycles": cycles},
        warmup_steps=warmup_steps,
        max_steps=max_steps,
    )
    return [learning_rate(number, settings) for number in range(max_steps)]


def test_two_cycles_are_two_half_cosines_by_hand() -> None:
    # (1 + cos(pi x)) / 2 at x = 0, 1/4, 1/2, 3/4, and once more from the top
    once = [1.0, 0.853553, 0.5, 0.146447]
    assert rates(2) == pytest.approx(once * 2, abs=1e-6)


def test_restarts_begin_behind_the_warm_up() -> None:
    # 2 steps of warm-up, then 2 cycles over the 4 left
    assert rates(2, warmup_steps=2, max_steps=6) == pytest.approx([0.5, 1, 1, 0.5, 1, 0.5])


def test_one_cycle_is_the_default_and_a_plain_cosine() -> None:
    plain = GRPOSettings(learning_rate=1.0, lr_scheduler_type="cosine", max_steps=8)
    assert rates(None) == rates(1) == [learning_rate(number, plain) for number in range(8)]


@pytest.mark.slow  # importing transformers' schedulers takes as long as the rest
@pytest.mark.parametrize("cycles", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0, 3])
def test_rates_are_transformers_own(cycles: int, warmup: int) -> None:
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_scheduler(
        "cosine_with_restarts",
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=20,
        scheduler_specific_kwargs={"num_cycles": cycles},
    )
    expected = []
    for _ in range(20):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = rates(cycles, warmup, 20)
    # they begin the warm-up at 0 and we at the first share of it, so that no step is wasted
    assert ours[warmup:] == pytest.approx(expected[warmup:], abs=1e-9)


@pytest.mark.parametrize(
    ("grpo", "complaint"),
    [
        ({"optim": "adam8"}, "optim = 'adam8': expected one of adamw_torch, adamw_8bit"),
        ({"lr_scheduler_kwargs": {"num_cycles": 2}}, "lr_scheduler_kwargs.num_cycles = 2"),
        (
            {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycle": 2}},
            "lr_scheduler_kwargs.num_cycle = 2: expected num_cycles",
        ),
        (
            {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 0}},
            "lr_scheduler_kwargs.num_cycles = 0: expected at least 1",
        ),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps = 0"),
    ],
)
def test_a_wrong_setting_is_named(grpo: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config({"model": "nano", "output_dir": "x", "grpo": grpo}, "x.yaml")
    assert complaint in str(caught.value)


def test_a_configuration_with_restarts_reads_back_the_same() -> None:
    grpo = {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 3}}
    config = build_config({"model": "nano", "output_dir": "x", "grpo": grpo}, "x.yaml")
    import yaml

    assert build_config(yaml.safe_load(config.dump()), "y.yaml") == config


def test_8_bit_moments_are_bytes(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(r=16)
    optimizer = make_optimizer(policy, dataclasses.replace(SETTINGS, optim="adamw_8bit"))
    for matrix in policy.trainable().values():
        matrix.grad = torch.ones_like(matrix)
    optimizer.step()
    states = [optimizer.state[matrix] for matrix in policy.trainable().values()]
    kinds = {state["state1"].dtype for state in states}
    assert torch.uint8 in kinds


def test_a_resumed_8_bit_run_equals_a_whole_one_bit_for_bit(
    make_policy: Callable[..., Policy], examples: list[Example], tmp_path: Path
) -> None:
    def run(name: str, resume: bool = False, **changes: Any) -> Any:
        settings = dataclasses.replace(SETTINGS, optim="adamw_8bit", **changes)
        policy = make_policy(r=16)  # 4096 weights a matrix: enough for 8-bit moments
        return train(policy, examples, ZERO, settings, tmp_path / name, resume=resume)

    whole = run("whole").adapter
    run("parts", max_steps=2)
    parts = run("parts", resume=True).adapter
    one, other = (load_file(folder / "adapter_model.safetensors") for folder in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_accumulation_is_the_same_step_in_smaller_rollouts(
    make_policy: Callable[..., Policy], examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = engines.rollout

    def counted(policy: Policy, prompts: Any, *rest: Any, **options: Any) -> Any:
        sizes.append(len(prompts))
        return real(policy, prompts, *rest, **options)

    monkeypatch.setattr(engines, "rollout", counted)

    def run(prompts: int, parts: int) -> tuple[Any, dict[str, torch.Tensor]]:
        policy = make_policy()
        settings = dataclasses.replace(
            SETTINGS, prompts_per_step=prompts, gradient_accumulation_steps=parts
        )
        rows = prepare_rows(policy, examples, settings).rows
        report = grpo_step.Stepper(policy, rows, ZERO, settings).run(0)
        return report, {n: m.detach().clone() for n, m in policy.trainable().items()}

    at_once, one = run(6, 1)
    in_parts, other = run(2, 3)
    assert sizes == [6, 2, 2, 2]
    assert [w.token_ids for group in at_once.sampled.written for w in group] == [
        w.token_ids for group in in_parts.sampled.written for w in group
    ]
    # the rollouts' other batches round otherwise, which AdamW's first step leaves at 1e-6
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-5)


def test_accumulation_multiplies_the_rows_of_a_supervised_step(
    policy: Policy, examples: list[Example]
) -> None:
    settings = SFTSettings(per_device_train_batch_size=2, gradient_accumulation_steps=3)
    rows = prepare_supervised(policy, examples, settings).rows
    assert len(SFTStepper(policy, rows, settings).run(0).rows) == 6
