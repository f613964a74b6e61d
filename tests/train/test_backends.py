"""Both backends under the same trainer; only where there is a GPU, and Unsloth where it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from edgetool.calls.types import Example
from edgetool.rewards.scoring import WeightedReward
from edgetool.train import load, unsloth
from edgetool.train.load import LoadSettings
from edgetool.train.loop import train
from edgetool.train.settings import GRPOSettings, LoraSettings
from edgetool.train.unsloth import require_exact

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
HAS_UNSLOTH = importlib.util.find_spec("unsloth") is not None
BACKENDS = [
    pytest.param(load.load_policy, id="plain"),
    pytest.param(
        unsloth.load_policy,
        id="unsloth",
        marks=pytest.mark.skipif(not HAS_UNSLOTH, reason="unsloth is not installed"),
    ),
]
LENGTH = [WeightedReward("length", 1.0, lambda parsed, example: float(len(str(parsed))))]


@pytest.mark.parametrize("load_policy", BACKENDS)
def test_a_backend_computes_what_the_trainer_takes_for_granted(load_policy, tiny_model: Path):
    require_exact(load_policy(tiny_model, LoraSettings(r=4), LoadSettings(device="cuda")))


@pytest.mark.parametrize("load_policy", BACKENDS)
def test_an_adapter_of_either_backend_loads_in_the_plain_one(
    load_policy, tiny_model: Path, examples: list[Example], tmp_path: Path
):
    settings = GRPOSettings(
        num_generations=2, prompts_per_step=2, max_steps=2, max_completion_length=4
    )
    policy = load_policy(tiny_model, LoraSettings(r=4), LoadSettings(device="cuda"))
    adapter = train(policy, examples, LENGTH, settings, tmp_path / "run").adapter
    again = load.load_policy(tiny_model, None, LoadSettings(device="cuda"), adapter=adapter)
    assert again.adapter is not None
