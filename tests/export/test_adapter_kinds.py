"""Adapters of many kinds, made and merged by peft itself: the same weights, or a refusal."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetool.errors import ModelError, UsageError
from edgetool.export.adapter_gguf import export_adapter
from edgetool.export.merge import merge
from edgetool.export.weights import TrainedWeights
from edgetool.train.adapter import find_adapter
from edgetool.train.load import LoadSettings, load_policy
from tests.conftest import ROOT
from tests.export.conftest import edit_json

NANO = ROOT / "models" / "nano"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def base() -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(NANO, dtype=torch.float32)


def trained(folder: Path, **config: Any) -> Path:
    """An adapter of peft on nano, after three large steps."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    settings = {"r": 8, "lora_alpha": 16, "target_modules": ALL, "task_type": "CAUSAL_LM"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(base(), LoraConfig(**{**settings, **config}))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.5)
    ids = torch.randint(3, 600, (2, 24))
    for _ in range(3):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def merged_by_peft(adapter: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(base(), adapter).merge_and_unload().eval()


SUPPORTED: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "mica": {"init_lora_weights": "mica"},
    "dropout": {"lora_dropout": 0.1},
    "some layers": {"layers_to_transform": [0, 1]},
    "some modules": {"target_modules": r".*\.(q|v)_proj"},
    "all linear": {"target_modules": "all-linear"},
    "fractions": {"lora_alpha": 3, "r": 5},
}


@pytest.mark.parametrize("config", SUPPORTED.values(), ids=SUPPORTED.keys())
def test_a_plain_lora_is_merged_as_peft_merges_it(tmp_path: Path, config: dict[str, Any]) -> None:
    import torch

    adapter = trained(tmp_path / "adapter", **config)
    theirs = merged_by_peft(adapter)
    ours = TrainedWeights.open(NANO, adapter, "base")
    weights = theirs.state_dict()
    moved = 0.0
    for name in ours.tensors:
        value = ours.read(name)
        assert np.abs(value - weights[name].numpy()).max() < 1e-5, name
        moved = max(moved, float(np.abs(value - ours.tensors[name].read()).max()))
    assert moved > 1e-3  # else nothing was merged
    plain = base().eval()
    plain.load_state_dict({n: torch.from_numpy(ours.read(n)) for n in ours.tensors}, strict=False)
    ids = torch.arange(30, 90)[None]
    with torch.no_grad():
        apart, spread = plain(ids).logits - theirs(ids).logits, float(theirs(ids).logits.max())
    assert float(apart.abs().max()) < 1e-5 * spread


@pytest.mark.parametrize(
    "edit",
    [{"init_lora_weights": "eva", "eva_config": {"rho": 2.0}}, {"lora_alpha": 16.0},
     {"base_model_name_or_path": None}, {"inference_mode": False}, {"lora_alpha": ...}, {"r": ...}],
    ids=str,
)  # fmt: skip
def test_settings_that_change_nothing_and_defaults_are_as_peft_has_them(
    tmp_path: Path, edit: dict[str, Any]
) -> None:
    """`...` stands for a key that is taken out."""
    import json

    adapter = trained(tmp_path / "adapter")
    file = adapter / "adapter_config.json"
    edit_json(file, **{key: value for key, value in edit.items() if value is not ...})
    config = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in config.items() if edit.get(k) is not ...}))
    theirs = merged_by_peft(adapter).state_dict()
    ours = TrainedWeights.open(NANO, adapter, "base")
    assert all(np.abs(ours.read(n) - theirs[n].numpy()).max() < 1e-5 for n in ours.tensors)


REFUSED: dict[str, dict[str, Any]] = {
    "init_lora_weights = 'pissa'": {"init_lora_weights": "pissa"},
    "init_lora_weights = 'pissa_niter_4'": {"init_lora_weights": "pissa_niter_4"},
    "init_lora_weights = 'olora'": {"init_lora_weights": "olora"},
    "use_dora = True": {"use_dora": True},
    "alora_invocation_tokens": {"alora_invocation_tokens": [1, 2, 3]},
    "bias = 'all'": {"bias": "all"},
    "modules_to_save": {"modules_to_save": ["norm"]},
    "trainable_token_indices": {"trainable_token_indices": [5, 6]},
    "lora_bias": {"lora_bias": True, "target_modules": ["q_proj"]},
    "rank_pattern": {"rank_pattern": {"q_proj": 4}},
}


@pytest.mark.parametrize(("said", "config"), REFUSED.items(), ids=REFUSED.keys())
def test_more_than_a_plain_lora_is_refused_wherever_an_adapter_is_read(
    tmp_path: Path, said: str, config: dict[str, Any]
) -> None:
    adapter = trained(tmp_path / "adapter", **config)
    readers = {
        "weights": lambda: TrainedWeights.open(NANO, adapter, "base"),
        "merge": lambda: merge(NANO, adapter, tmp_path / "merged"),
        "--adapter-only": lambda: export_adapter(NANO, adapter, tmp_path / "out"),
        "--init-adapter": lambda: find_adapter(adapter),
        "eval": lambda: load_policy(NANO, None, LoadSettings(), adapter=adapter),
    }
    for read in readers.values():
        with pytest.raises((ModelError, UsageError)) as caught:
            read()
        assert said in str(caught.value)
    assert not list(tmp_path.glob("merged*")) and not (tmp_path / "out").exists()


def test_a_rank_that_is_not_the_matrices_is_refused(tmp_path: Path) -> None:
    adapter = trained(tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", r=16)
    with pytest.raises(ModelError, match=r"has rank 8, but r = 16 by adapter_config.json"):
        TrainedWeights.open(NANO, adapter, "base")


RENAMED: dict[str, Any] = {
    "not wrapped": lambda name: name.removeprefix("base_model.model."),
    "another adapter's": lambda name: name.replace(".weight", ".default.weight"),
    "of a deeper model": lambda name: name.replace("layers.1.", "layers.9."),
}


@pytest.mark.parametrize("rename", RENAMED.values(), ids=RENAMED.keys())
def test_matrices_that_peft_would_not_find_are_refused(tmp_path: Path, rename: Any) -> None:
    """It would say so in a warning and go on without the adapter."""
    from safetensors.torch import load_file, save_file

    adapter = trained(tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    save_file({rename(name): matrix for name, matrix in load_file(file).items()}, file)
    with pytest.raises(ModelError, match=r"not part of a plain LoRA|which the base model lacks"):
        TrainedWeights.open(NANO, adapter, "base")
    settings = LoadSettings(load_in_4bit=False)
    with pytest.raises(ModelError, match=r"the adapter lacks|the base has no place for"):
        load_policy(NANO, None, settings, adapter=adapter)


def test_an_adapter_is_loaded_as_it_is_merged(tmp_path: Path) -> None:
    adapter = trained(tmp_path / "adapter")
    policy = load_policy(NANO, None, LoadSettings(load_in_4bit=False), adapter=adapter)
    assert len([n for n, _ in policy.causal.named_parameters() if ".lora_" in n]) == 2 * 7 * 4
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        load_policy(NANO, None, LoadSettings(load_in_4bit=False), adapter=adapter)
