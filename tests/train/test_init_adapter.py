"""GRPO from an adapter that was trained before."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edgetool.calls.types import Example
from edgetool.errors import ConfigError, ModelError, UsageError
from edgetool.rewards.scoring import WeightedReward
from edgetool.train import grpo_step
from edgetool.train.adapter import find_adapter, start_from
from edgetool.train.load import load_policy
from edgetool.train.loop import train
from edgetool.train.policy import Policy
from edgetool.train.settings import GRPOSettings, LoraSettings, SFTSettings
from edgetool.train.sft import fine_tune
from tests.train.conftest import EXACT

IDS = torch.tensor([[5, 9, 33, 70, 8, 12]])
NOTHING = WeightedReward("zero", 1.0, lambda parsed, example: 0.0)


def fresh(model: Path, **lora: Any) -> Policy:
    return load_policy(model, LoraSettings(**{"r": 4, **lora}), EXACT)


def logits(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return policy.causal(IDS).logits


def unheard(line: str) -> None:
    raise AssertionError(f"nothing was to be said, but: {line}")


@pytest.fixture
def saved(make_policy: Callable[..., Policy], tmp_path: Path) -> Path:
    """An adapter that does something: r = 4, lora_alpha = 32, all linear layers."""
    make_policy().save_adapter(tmp_path / "run" / "adapter")
    return tmp_path / "run" / "adapter"


def test_the_policy_starts_from_exactly_those_weights(
    saved: Path, policy: Policy, tiny_model: Path
) -> None:
    new = fresh(tiny_model)
    assert not torch.equal(logits(new), logits(policy))
    start_from(new, saved, unheard)
    own = policy.trainable()
    assert all(torch.equal(matrix, own[name]) for name, matrix in new.trainable().items())
    assert torch.equal(logits(new), logits(policy))
    assert len(new.trainable()) == 7 * 2 * 2  # still what learns: 7 layers in 2 blocks, A and B


def test_a_run_folder_and_an_adapter_folder_are_found(saved: Path) -> None:
    assert find_adapter(saved) == find_adapter(saved.parent) == saved


def test_a_folder_without_an_adapter_is_refused_with_the_reason(saved: Path) -> None:
    with pytest.raises(UsageError, match="no adapter to start from at none: expected"):
        find_adapter(Path("none"))
    (saved / "adapter_model.safetensors").rename(saved / "adapter_model.bin")
    with pytest.raises(UsageError, match="pickled adapters are not read"):
        find_adapter(saved)
    shutil.rmtree(saved)
    (saved.parent / "checkpoints").mkdir()
    with pytest.raises(UsageError, match=r"training is not done.*--resume"):
        find_adapter(saved.parent)


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"r": 8}, "r is 4 there and 8 here; train with --set lora.r=4"),
        (
            {"r": 8, "lora_alpha": 16},
            "r is 4 there and 8 here; lora_alpha is 32 there and 16 here; "
            "train with --set lora.r=4 --set lora.lora_alpha=32",
        ),
        (
            {"target_modules": ("q_proj", "v_proj")},
            "target_modules are down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj "
            "there and q_proj, v_proj here; train with --set lora.target_modules='[down_proj",
        ),
    ],
)
def test_an_adapter_of_other_settings_is_refused_by_their_names(
    saved: Path, tiny_model: Path, lora: dict[str, Any], said: str
) -> None:
    policy = fresh(tiny_model, **lora)
    before = logits(policy)
    with pytest.raises(ConfigError) as caught:
        start_from(policy, saved, unheard)
    assert said in str(caught.value)
    assert torch.equal(logits(policy), before)


def test_another_dropout_fits(saved: Path, tiny_model: Path) -> None:
    start_from(fresh(tiny_model, lora_dropout=0.1), saved, unheard)


def test_an_adapter_that_computes_otherwise_is_refused(saved: Path, tiny_model: Path) -> None:
    config = json.loads((saved / "adapter_config.json").read_text(encoding="utf-8"))
    text = json.dumps({**config, "use_rslora": True})
    (saved / "adapter_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="use_rslora is True there and False here"):
        start_from(fresh(tiny_model), saved, unheard)


def test_an_adapter_that_changed_its_base_is_refused_before_a_model_is_loaded(saved: Path) -> None:
    config = json.loads((saved / "adapter_config.json").read_text(encoding="utf-8"))
    text = json.dumps({**config, "init_lora_weights": "pissa"})
    (saved / "adapter_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="init_lora_weights = 'pissa'"):
        find_adapter(saved.parent)


def test_a_missing_lora_alpha_is_pefts_default(saved: Path, tiny_model: Path) -> None:
    config = json.loads((saved / "adapter_config.json").read_text(encoding="utf-8"))
    del config["lora_alpha"]
    (saved / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ConfigError, match="lora_alpha is 8 there and 32 here"):
        start_from(fresh(tiny_model), saved, unheard)


def test_an_adapter_of_another_base_is_refused(saved: Path, tiny_model: Path) -> None:
    from safetensors.torch import save_file

    matrices = load_file(saved / "adapter_model.safetensors")
    name = next(name for name in sorted(matrices) if "lora_A" in name)
    matrices[name] = torch.zeros(4, 7)
    save_file(matrices, saved / "adapter_model.safetensors")
    with pytest.raises(ConfigError, match=r"is \[4, 7\] there and \[4, \d+\] here; it was trained"):
        start_from(fresh(tiny_model), saved, unheard)


def test_a_base_of_another_name_is_only_said(saved: Path, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "elsewhere")
    notes: list[str] = []
    start_from(fresh(tmp_path / "elsewhere"), saved, notes.append)
    assert len(notes) == 1 and str(tiny_model) in notes[0]


def test_a_damaged_adapter_is_named(saved: Path, tiny_model: Path) -> None:
    (saved / "adapter_model.safetensors").write_bytes(b"\x00" * 16)
    with pytest.raises(ModelError, match="cannot read this adapter"):
        start_from(fresh(tiny_model), saved, unheard)


def test_the_reference_policy_is_what_training_began_with(
    saved: Path, policy: Policy, tiny_model: Path
) -> None:
    expected, new = logits(policy), fresh(tiny_model)
    start_from(new, saved, unheard)
    with torch.no_grad():
        for matrix in new.trainable().values():
            matrix.add_(0.01)
    moved = logits(new)
    with new.reference():
        assert torch.equal(logits(new), expected)
    assert torch.equal(logits(new), moved)
    assert not torch.equal(moved, expected)


@pytest.fixture(autouse=True)
def by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model never makes a call; its texts still differ, so let their hash be the score."""
    real = grpo_step.score

    def scored(text: str, *rest: Any, **options: Any) -> Any:
        found = real(text, *rest, **options)
        return dataclasses.replace(found, reward=sum(text.encode()) % 97 / 97)

    monkeypatch.setattr(grpo_step, "score", scored)


def test_grpo_goes_on_from_a_supervised_run_with_no_divergence_at_first(
    tiny_model: Path, examples: list[Example], tmp_path: Path
) -> None:
    warm = SFTSettings(max_steps=3, learning_rate=1e-2, gradient_checkpointing=False)
    fine_tune(fresh(tiny_model), examples, warm, tmp_path / "warm")
    policy = fresh(tiny_model)
    start_from(policy, find_adapter(tmp_path / "warm"), unheard)
    settings = GRPOSettings(
        num_generations=4, prompts_per_step=2, max_steps=2, max_completion_length=8, beta=0.1,
        learning_rate=1e-2, gradient_checkpointing=False,
    )  # fmt: skip
    divergence: list[float] = []
    result = train(
        policy,
        examples,
        [NOTHING],
        settings,
        tmp_path / "grpo",
        on_step=lambda report: divergence.append(report.metrics["kl"]),
    )
    assert divergence[0] == pytest.approx(0.0, abs=1e-9)  # to the warm start, not to the base
    assert divergence[1] > 1e-6
    assert result.adapter
    before = load_file(tmp_path / "warm" / "adapter" / "adapter_model.safetensors")
    after = load_file(result.adapter / "adapter_model.safetensors")
    assert any(not torch.equal(before[name], after[name]) for name in before)
