"""What transformers loads of a folder is what is exported, trained and merged; or it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgetool.errors import ModelError
from edgetool.export.export import export_gguf
from edgetool.export.merge import merge
from edgetool.export.model_folder import ModelFolder
from edgetool.export.parity import compare_logits
from edgetool.export.plan import check_exportable
from edgetool.export.stored import EMBEDDING, HEAD, computed_tensors, left_out
from edgetool.export.weights import TrainedWeights
from edgetool.fidelity.stages import fill, load_plain
from edgetool.fidelity.survey import Subject
from edgetool.train.load import LoadSettings, load_policy
from tests.export.conftest import Folder, edit_json

IDS = list(range(30, 90))
FLOAT32 = LoadSettings(load_in_4bit=False, bf16=False)
Weights = dict[str, torch.Tensor]


@pytest.fixture()
def change(model_copy: Path) -> Callable[[Callable[[Weights], Any]], Path]:
    """Changes what the tied model with two layers has stored."""

    def changed(how: Callable[[Weights], Any]) -> Path:
        file = model_copy / "model.safetensors"
        weights = load_file(file)
        how(weights)
        save_file(weights, file, metadata={"format": "pt"})
        return model_copy

    return changed


def require_same_logits(folder: Path, file: Path) -> None:
    """In llama.cpp as in transformers, but for F16."""
    fidelity = compare_logits(folder, file, [IDS])
    assert fidelity.relative < 1e-3 and fidelity.argmax_agreement > 0.95


def other_head(weights: Weights) -> None:
    torch.manual_seed(7)
    weights[HEAD] = weights[EMBEDDING] + 0.1 * torch.randn(weights[EMBEDDING].shape)


def test_a_head_that_differs_from_its_embedding_is_exported(
    change: Any, adapter: Path, tmp_path: Path
) -> None:
    """Whatever config.json says; transformers is asked, and so is llama.cpp."""
    folder = change(other_head)
    stored = computed_tensors(ModelFolder.open(folder))
    assert {HEAD, EMBEDDING} <= set(stored)
    (file,) = export_gguf(folder, None, tmp_path / "gguf", ["F16"])
    require_same_logits(folder, file.path)
    merged = merge(folder, adapter, tmp_path / "merged", "base")
    assert json.loads((merged / "config.json").read_text())["tie_word_embeddings"] is False
    head = load_file(merged / "model.safetensors")[HEAD]
    assert np.abs(head.float().numpy() - stored[HEAD].read()).max() < 1e-3


def test_the_trainer_has_the_head_that_is_exported(change: Any) -> None:
    folder = change(other_head)
    policy = load_policy(folder, None, FLOAT32)
    weights = TrainedWeights.open(folder, None)
    assert np.array_equal(policy.causal.lm_head.weight.detach().numpy(), weights.read(HEAD))
    assert not torch.equal(policy.causal.lm_head.weight, policy.causal.model.embed_tokens.weight)
    plain = load_plain(Subject.at(str(folder)))
    with torch.no_grad():
        plain.causal.lm_head.weight.zero_()
    fill(plain, weights)
    assert torch.equal(plain.causal.lm_head.weight, policy.causal.lm_head.weight)


@pytest.mark.parametrize(
    "how",
    [
        lambda weights: weights.update({HEAD: weights[EMBEDDING].clone()}),
        lambda weights: weights.update({HEAD: weights.pop(EMBEDDING)}),
    ],
    ids=["twice the same", "only the head"],
)
def test_a_tied_head_is_stored_once(change: Any, tmp_path: Path, how: Any) -> None:
    folder = change(how)
    assert HEAD not in computed_tensors(ModelFolder.open(folder))
    (file,) = export_gguf(folder, None, tmp_path / "gguf", ["F16"])
    require_same_logits(folder, file.path)


EXTRA = "model.layers.2.mlp.up_proj.weight"  # the layers are 0 and 1


def test_layers_beyond_the_last_are_left_out_and_said(change: Any, tmp_path: Path) -> None:
    folder = change(lambda weights: weights.update({EXTRA: torch.zeros(512, 256)}))
    assert EXTRA in str(left_out(folder)) and "2 layers" in str(left_out(folder))
    assert EXTRA not in TrainedWeights.open(folder, None).tensors
    (file,) = export_gguf(folder, None, tmp_path / "gguf", ["F16"])
    require_same_logits(folder, file.path)
    assert load_policy(folder, None, FLOAT32).causal.config.num_hidden_layers == 2


def test_nothing_is_said_where_all_is_used(tiny_model: Path) -> None:
    assert left_out(tiny_model) is None


@pytest.mark.parametrize(
    "name",
    ["model.layers.1.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.bias", EMBEDDING],
)
def test_a_missing_tensor_is_named_by_export_and_trainer(change: Any, name: str) -> None:
    """transformers would put random values there."""
    folder = change(lambda weights: weights.pop(name))
    with pytest.raises(ModelError, match="the weights lack the tensor"):
        check_exportable(folder)
    with pytest.raises(ModelError, match=r"the weights lack '(model\.|lm_head)"):
        load_policy(folder, None, FLOAT32)


def test_a_bias_that_the_config_switches_off_is_left_out(
    make_model: Folder, tmp_path: Path
) -> None:
    folder = make_model("Llama", attention_bias=True)
    edit_json(folder / "config.json", attention_bias=False)
    assert "self_attn.k_proj.bias" in str(left_out(folder))
    (file,) = export_gguf(folder, None, tmp_path / "gguf", ["F16"])
    require_same_logits(folder, file.path)


def test_a_bias_that_the_config_switches_on_must_be_there(make_model: Folder) -> None:
    folder = make_model("Llama")
    edit_json(folder / "config.json", mlp_bias=True)
    with pytest.raises(
        ModelError, match=r"lack the tensor that GGUF calls 'blk\.0\.ffn_gate\.bias"
    ):
        check_exportable(folder)


def sharded(folder: Path, parts: dict[str, Weights]) -> None:
    index: dict[str, str] = {}
    for name, weights in parts.items():
        save_file(weights, folder / name, metadata={"format": "pt"})
        index |= dict.fromkeys(weights, name)
    content = {"metadata": {}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def test_one_file_beside_an_index_of_others_is_refused(model_copy: Path) -> None:
    """transformers would load the one, and who sharded the model meant the others."""
    weights = load_file(model_copy / "model.safetensors")
    sharded(model_copy, {"model-00001-of-00001.safetensors": weights})
    with pytest.raises(ModelError, match=r"has model\.safetensors, and .*index\.json of others"):
        check_exportable(model_copy)
    (model_copy / "model.safetensors").unlink()
    assert check_exportable(model_copy) == model_copy


def test_an_index_of_the_one_file_itself_is_no_second_set(model_copy: Path) -> None:
    sharded(model_copy, {"model.safetensors": load_file(model_copy / "model.safetensors")})
    assert check_exportable(model_copy) == model_copy


def test_a_tensor_in_two_shards_is_named(model_copy: Path) -> None:
    weights = load_file(model_copy / "model.safetensors")
    (model_copy / "model.safetensors").unlink()
    again = {EMBEDDING: weights[EMBEDDING] * 2}
    sharded(model_copy, {"model-1.safetensors": weights, "model-2.safetensors": again})
    with pytest.raises(ModelError, match=r"embed_tokens.weight' is in model-1.* and in model-2"):
        check_exportable(model_copy)
