"""Adapters are added exactly, and only adapters that are plain LoRA."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgetool.errors import EdgetoolError, ModelError, UsageError
from edgetool.export.lora import Adapter
from edgetool.export.merge import merge
from edgetool.export.nf4 import round_trip
from edgetool.export.weights import TrainedWeights
from tests.export.conftest import load_in_nf4

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture()
def adapter_copy(adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "adapter"))


def write_adapter(folder: Path, rank: int, **config: Any) -> Path:
    """A = all 1, B = all 2, on layer 0's q_proj [256, 256]."""
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{prefix}.lora_A.weight": torch.ones(rank, 256),
        f"{prefix}.lora_B.weight": torch.full((256, rank), 2.0),
    }
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": rank} | config)
    )
    return folder


@pytest.mark.parametrize(
    ("use_rslora", "expected"),
    [
        (False, 12.0),  # alpha 6 / r 4 * sum over r of 2 * 1 = 1.5 * 8
        (True, 24.0),  # alpha 6 / sqrt(4) * 8
    ],
)
def test_a_delta_is_scaled_b_times_a(tmp_path: Path, use_rslora: bool, expected: float) -> None:
    folder = write_adapter(tmp_path / "a", 4, lora_alpha=6, use_rslora=use_rslora)
    delta = Adapter.open(folder).pairs[Q_PROJ].delta()
    assert delta.shape == (256, 256)
    assert delta.dtype == np.float32
    assert np.all(delta == expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nf4_weights_are_those_of_a_bitsandbytes_layer(dtype: str) -> None:
    from bitsandbytes.nn import Linear4bit

    torch_dtype = getattr(torch, dtype)
    torch.manual_seed(0)
    weight = torch.randn(96, 128)
    layer = Linear4bit(
        128, 96, bias=False, quant_type="nf4", compress_statistics=True, compute_dtype=torch_dtype
    )
    layer.load_state_dict({"weight": weight.to(torch_dtype)})
    layer = layer.to("cpu")
    computed = layer(torch.eye(128, dtype=torch_dtype)).T.float()  # [96, 128]
    assert not torch.equal(computed, weight)
    assert torch.equal(torch.from_numpy(round_trip(weight.numpy(), dtype)), computed)


@pytest.mark.parametrize("merge_into", ["nf4", "base"])
def test_a_merged_folder_computes_what_the_policy_computes(
    tiny_model: Path, adapter: Path, tmp_path: Path, merge_into: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merge(tiny_model, adapter, tmp_path / "out", merge_into, dtype="float32")
    plain = partial(AutoModelForCausalLM.from_pretrained, dtype="float32")
    base = {"nf4": load_in_nf4, "base": plain}[merge_into](tiny_model)
    policy = PeftModel.from_pretrained(base, adapter).eval()
    merged = plain(tmp_path / "out")
    ids = torch.arange(30, 130)[None]
    with torch.no_grad():
        expected, actual = policy(ids).logits, merged(ids).logits
    spread = float(expected.max() - expected.min())
    assert float((expected - actual).abs().max()) < 1e-5 * spread


def test_a_merged_folder_is_complete(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    out = merge(tiny_model, adapter, tmp_path / "out")
    copied = {*(file.name for file in tiny_model.iterdir()), "chat_template.jinja"}
    assert {file.name for file in out.iterdir()} == copied
    chat = [{"role": "user", "content": "hi"}]
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (out, tiny_model))
    assert ours.apply_chat_template(chat, tokenize=False) == theirs.apply_chat_template(
        chat, tokenize=False
    )
    assert json.loads((out / "config.json").read_text())["dtype"] == "float16"
    assert {t.dtype for t in load_file(out / "model.safetensors").values()} == {torch.float16}


def test_merging_again_replaces_the_folder(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    out = merge(tiny_model, adapter, tmp_path / "out")
    (out / "stale").touch()
    merge(tiny_model, adapter, out)
    assert not (out / "stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failed_merge_leaves_nothing(
    tiny_model: Path, adapter_copy: Path, tmp_path: Path
) -> None:
    tensors = load_file(adapter_copy / "adapter_model.safetensors")
    last = sorted(tensors)[-1]
    tensors[last] = torch.full_like(tensors[last], math.nan)
    save_file(tensors, adapter_copy / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="NaN"):
        merge(tiny_model, adapter_copy, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_folder_that_is_no_model_is_not_replaced(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UsageError, match="not a model folder"):
        merge(tiny_model, adapter, tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_value_beyond_float16_names_its_tensor(tiny_model: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a", 4, lora_alpha=1e6)
    with pytest.raises(ModelError, match=r"q_proj.*bfloat16 or float32"):
        merge(tiny_model, folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_adapter_file_is_named(adapter_copy: Path, name: str) -> None:
    (adapter_copy / name).unlink()
    with pytest.raises(ModelError, match=name):
        Adapter.open(adapter_copy)


def test_an_adapter_of_another_base_is_refused(model_copy: Path, adapter_copy: Path) -> None:
    tensors = load_file(adapter_copy / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    tensors[name] = torch.zeros(4, 128)
    save_file(tensors, adapter_copy / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="merge into the base it was trained on"):
        TrainedWeights.open(model_copy, adapter_copy)


def test_an_adapter_of_a_deeper_base_is_refused(model_copy: Path, adapter_copy: Path) -> None:
    file = adapter_copy / "adapter_model.safetensors"
    save_file({k.replace("layers.1.", "layers.7."): v for k, v in load_file(file).items()}, file)
    with pytest.raises(ModelError, match="which the base model lacks"):
        TrainedWeights.open(model_copy, adapter_copy)


def test_an_unknown_merge_target_is_answered_with_the_known_ones(tiny_model: Path) -> None:
    with pytest.raises(EdgetoolError, match="'int8' is not one of nf4, base"):
        TrainedWeights.open(tiny_model, None, "int8")
