"""A model folder is opened without trusting it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgetool.errors import ModelError, NoSuchModel
from edgetool.export.model_folder import INDEX, WEIGHTS, ModelFolder, resolve
from edgetool.export.plan import check_exportable
from tests.export.conftest import edit_json


def write_index(folder: Path, shard: str) -> None:
    (folder / WEIGHTS).rename(folder / "shard.safetensors")
    index = {"weight_map": {"model.norm.weight": shard}}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


@pytest.mark.parametrize(
    "shard",
    [
        "../outside.safetensors",
        "sub/../../outside.safetensors",
        "..",
        "/etc/outside.safetensors",
        "//server/share/outside.safetensors",
        "\\\\server\\share\\outside.safetensors",
        "..\\outside.safetensors",
        "C:\\outside.safetensors",
        "C:outside.safetensors",
        "./../model/../../outside.safetensors",
        "sub/../../../outside.safetensors",
        "~/../outside.safetensors/..",
        "",
        "missing.safetensors",
        "shard.safetensors/../../outside.safetensors",
        "pytorch_model.bin",
        "../model/../outside.safetensors",
        "../../outside.safetensors",
        "./../outside.safetensors",
        "sub//../..//outside.safetensors",
        "sub\\..\\..\\outside.safetensors",
        "sub/..\\../outside.safetensors",
        "...//../outside.safetensors",
        "/outside.safetensors",
        "///outside.safetensors",
        "/proc/self/cwd/outside.safetensors",
        "\\outside.safetensors",
        "c:/outside.safetensors",
        "\\\\?\\C:\\outside.safetensors",
        "file:///outside.safetensors",
        "../shard.safetensors",
        "https://example.org/outside.safetensors",
    ],
)
def test_an_index_cannot_lead_outside_the_folder(model_copy: Path, shard: str) -> None:
    shutil.copy(model_copy / WEIGHTS, model_copy.parent / "outside.safetensors")
    write_index(model_copy, shard)
    with pytest.raises(ModelError):
        ModelFolder.open(model_copy).tensors()


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json"])
def test_a_link_out_of_the_folder_is_refused(model_copy: Path, name: str) -> None:
    outside = model_copy.parent / "outside"
    (model_copy / name).rename(outside)
    (model_copy / name).symlink_to(outside)
    with pytest.raises(ModelError, match="outside the model folder"):
        check_exportable(model_copy)


def test_a_folder_that_is_a_link_out_is_refused(model_copy: Path) -> None:
    write_index(model_copy, "sub/outside.safetensors")
    (model_copy.parent / "elsewhere").mkdir()
    (model_copy / "shard.safetensors").rename(model_copy.parent / "elsewhere/outside.safetensors")
    (model_copy / "sub").symlink_to(model_copy.parent / "elsewhere")
    with pytest.raises(ModelError, match="outside the model folder"):
        ModelFolder.open(model_copy).tensors()


def test_the_hub_caches_links_are_followed(tiny_model: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--someone--tiny" / "snapshots" / "0123abc"
    blobs = tmp_path / "models--someone--tiny" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in tiny_model.iterdir():
        shutil.copy(file, blobs / f"blob-{file.name}")
        (snapshot / file.name).symlink_to(f"../../blobs/blob-{file.name}")
    assert check_exportable(snapshot) == snapshot


def test_a_sharded_model_is_read_through_its_index(model_copy: Path) -> None:
    (model_copy / WEIGHTS).rename(model_copy / "shard.safetensors")
    names = ["model.norm.weight", "model.embed_tokens.weight"]
    index = {"weight_map": dict.fromkeys(names, "shard.safetensors")}
    (model_copy / INDEX).write_text(json.dumps(index), encoding="utf-8")
    assert set(names) <= set(ModelFolder.open(model_copy).tensors())


def test_a_tensor_that_no_shard_holds_is_named(model_copy: Path) -> None:
    write_index(model_copy, "shard.safetensors")
    edit_json(model_copy / INDEX, weight_map={"model.ghost.weight": "shard.safetensors"})
    with pytest.raises(ModelError, match=r"model\.ghost\.weight"):
        ModelFolder.open(model_copy).tensors()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickled_weights_are_refused(model_copy: Path, name: str) -> None:
    (model_copy / WEIGHTS).rename(model_copy / name)
    with pytest.raises(ModelError, match=f"pickled \\({name}\\)"):
        check_exportable(model_copy)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", WEIGHTS])
def test_a_missing_part_is_named(model_copy: Path, name: str) -> None:
    (model_copy / name).unlink()
    with pytest.raises(ModelError, match=name):
        check_exportable(model_copy)


def test_a_missing_chat_template_is_named(model_copy: Path) -> None:
    edit_json(model_copy / "tokenizer_config.json", chat_template=None)
    with pytest.raises(ModelError, match="no chat template"):
        check_exportable(model_copy)


def test_of_several_templates_the_one_for_tools_is_taken(model_copy: Path) -> None:
    templates = [{"name": n, "template": f"{n} here"} for n in ("default", "tool_use")]
    edit_json(model_copy / "tokenizer_config.json", chat_template=templates)
    assert ModelFolder.open(model_copy).own_template == "tool_use here"


def test_a_sentencepiece_tokenizer_is_refused_by_name(model_copy: Path) -> None:
    (model_copy / "tokenizer.json").rename(model_copy / "tokenizer.model")
    with pytest.raises(ModelError, match=r"SentencePiece model \(tokenizer.model\)"):
        check_exportable(model_copy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"architectures": ["BloomForCausalLM"]},
            "'BloomForCausalLM' cannot become GGUF.*Qwen2For",
        ),
        ({"architectures": None}, "none named"),
        ({"quantization_config": {"quant_method": "gptq"}}, "already quantized \\(gptq\\)"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"use_sliding_window": True, "sliding_window": 64}, "sliding_window 64"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "use_sliding_window"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "'longrope'"),
        ({"num_hidden_layers": 3}, "blk.2"),
        ({"vocab_size": 9999}, "9999"),
        ({"vocab_size": 10}, "only 10 rows"),
    ],
)
def test_what_cannot_become_gguf_is_said(
    model_copy: Path, changes: dict[str, Any], said: str
) -> None:
    edit_json(model_copy / "config.json", **changes)
    with pytest.raises(ModelError, match=said):
        check_exportable(model_copy)


def test_a_config_without_a_needed_key_names_it(model_copy: Path) -> None:
    config = json.loads((model_copy / "config.json").read_text(encoding="utf-8"))
    del config["rms_norm_eps"]
    (model_copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match="rms_norm_eps"):
        check_exportable(model_copy)


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_broken_config_is_named(model_copy: Path, text: str) -> None:
    (model_copy / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError, match=r"config\.json"):
        check_exportable(model_copy)


@pytest.mark.parametrize("model", ["no/such/folder", "./nowhere", "/nowhere", "a\\b"])
def test_a_model_that_is_no_folder_is_named(model: str) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        resolve(model)


def test_an_id_that_the_hub_does_not_give_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="someone/no-such-model"):
        resolve("someone/no-such-model")


def test_a_folder_without_a_config_is_told_as_neither_run_nor_model(tmp_path: Path) -> None:
    with pytest.raises(NoSuchModel, match=r"no config\.json, so neither a run nor a model folder"):
        ModelFolder.open(tmp_path)
