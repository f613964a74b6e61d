"""What an export leaves behind: whole files, true metadata, a receipt, or nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgetool import files
from edgetool.errors import EdgetoolError, ModelError, UsageError
from edgetool.export import safetensors_io
from edgetool.export.export import export_gguf
from edgetool.export.parity import Fidelity
from edgetool.export.plan import check_exportable
from edgetool.export.receipt import record_fidelity
from tests.export.conftest import Folder


def read_fields(file: Path) -> dict[str, object]:
    from gguf import GGUFReader

    return {name: field.contents() for name, field in GGUFReader(file).fields.items()}


def test_the_file_describes_itself_by_ggufs_convention(model_copy: Path, tmp_path: Path) -> None:
    (model_copy / "README.md").write_text("---\ntags: [x]\nlicense: apache-2.0\n---\n# Hi\n")
    (file,) = export_gguf(
        model_copy, None, tmp_path / "out", ["q4_k_m"], finetune="music", stem=None
    )
    fields = read_fields(file.path)
    # 370 or so tokens x 256, two layers of 2 x 256 x 256 + 2 x 128 x 256 + 3 x 512 x 256: 1.3 M
    assert file.path.name == "model-1.3M-music-Q4_K_M.gguf"
    assert fields["general.architecture"] == "qwen2"
    assert fields["general.name"] == "model music"
    assert fields["general.basename"] == "model"
    assert fields["general.size_label"] == "1.3M"
    assert fields["general.finetune"] == "music"
    assert fields["general.license"] == "apache-2.0"
    assert fields["general.file_type"] == 15
    assert fields["general.quantization_version"] == 2
    assert fields["qwen2.context_length"] == 2048
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.add_bos_token"] is False
    template = json.loads((model_copy / "tokenizer_config.json").read_text())["chat_template"]
    assert fields["tokenizer.chat_template"] == template


@pytest.mark.parametrize("trained_in", [None, "json"])
def test_the_file_names_a_call_syntax_that_is_not_its_templates(
    tiny_model: Path, tmp_path: Path, trained_in: str | None
) -> None:
    (file,) = export_gguf(tiny_model, None, tmp_path, ["F16"], call_syntax=trained_in)
    assert read_fields(file.path).get("edgetool.call_syntax") == trained_in


def test_the_receipt_accounts_for_every_file(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    exported = export_gguf(tiny_model, adapter, tmp_path, ["Q8_0", "Q4_K_M", "Q8_0"])
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert [file["path"] for file in receipt["files"]] == ["model.Q8_0.gguf", "model.Q4_K_M.gguf"]
    for listed, file in zip(receipt["files"], exported, strict=True):
        content = file.path.read_bytes()
        assert listed["size"] == len(content)
        assert listed["sha256"] == hashlib.sha256(content).hexdigest()
    # 26 tensors: 5 norms and 6 biases, 14 matrices in layers and the embedding
    assert receipt["files"][0]["tensor_types"] == {"F32": 11, "Q8_0": 15}
    # layer 1's attn_v and ffn_down, and the embedding, which is the output too
    assert receipt["files"][1]["tensor_types"] == {"F32": 11, "Q4_K": 12, "Q6_K": 3}
    source = receipt["source"]
    assert source["merge_into"] == "nf4"
    assert "model.safetensors" in source["base"]["files"]
    assert "adapter_model.safetensors" in source["adapter"]["files"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Llama", "Qwen2"])  # the first moves rows of Q and K
def test_blocks_of_a_tensor_give_the_same_file_as_the_whole(
    make_model: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    model, quants = make_model(family, hidden_size=288), ["F32", "F16", "Q8_0", "Q4_K_M"]
    whole = export_gguf(model, None, tmp_path / "whole", quants)
    # seven rows of 288, or four of 512, at a time: no multiple of GGUF's alignment
    monkeypatch.setattr(safetensors_io, "BLOCK_VALUES", 2048)
    pieces = export_gguf(model, None, tmp_path / "pieces", quants)
    assert [file.sha256 for file in pieces] == [file.sha256 for file in whole]


def test_fidelity_is_added_to_the_receipt(tiny_model: Path, tmp_path: Path) -> None:
    export_gguf(tiny_model, None, tmp_path, ["F16"])
    record_fidelity(tmp_path / "receipt.json", "F16", Fidelity(0.5, 10.0, 1.0, 7).as_json())
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["fidelity"]["F16"] == {
        "max_abs_delta": 0.5, "logit_range": 10.0, "argmax_agreement": 1.0, "positions": 7,
        "relative": 0.05,
    }  # fmt: skip
    assert len(receipt["files"]) == 1


def test_fidelity_needs_a_receipt(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a receipt"):
        record_fidelity(tmp_path / "receipt.json", "F16", {})


def test_a_failed_export_leaves_nothing(model_copy: Path, tmp_path: Path) -> None:
    """The last tensor of the file is spoiled, after most of the work is done."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(model_copy / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 3] = torch.nan
    save_file(weights, model_copy / "model.safetensors")
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.down_proj.*NaN"):
        export_gguf(model_copy, None, tmp_path / "out", ["Q8_0"])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_export_leaves_the_earlier_file(model_copy: Path, tmp_path: Path) -> None:
    export_gguf(model_copy, None, tmp_path / "out", ["Q8_0"])
    before = (tmp_path / "out" / "model.Q8_0.gguf").read_bytes()
    (model_copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        export_gguf(model_copy, None, tmp_path / "out", ["Q8_0"])
    assert (tmp_path / "out" / "model.Q8_0.gguf").read_bytes() == before


def test_a_leftover_of_a_killed_export_is_overwritten(tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.Q8_0.gguf"
    files.part_path(target).write_bytes(b"half a model" * 1_000_000)
    export_gguf(tiny_model, None, tmp_path, ["Q8_0"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.Q8_0.gguf", "receipt.json"]
    assert target.read_bytes()[:4] == b"GGUF"


def test_too_small_a_disk_is_said_in_numbers_before_writing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    # 1.28 M parameters at 8.5 bits = 1.36 MB, times 1.2
    with pytest.raises(EdgetoolError, match=r"1\.6 MB needed, 1\.0 MB free"):
        export_gguf(tiny_model, None, tmp_path / "out", ["Q8_0"])
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("quants", [[], ["Q8_0", "Q3"]])
def test_a_quantization_must_be_known(tiny_model: Path, tmp_path: Path, quants: list[str]) -> None:
    with pytest.raises(UsageError, match="quantization"):
        export_gguf(tiny_model, None, tmp_path / "out", quants)
    assert not (tmp_path / "out").exists()


def test_checking_a_model_reads_no_weights_and_imports_no_torch(tiny_model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgetool.export.plan import check_exportable;"
        "check_exportable(Path(sys.argv[1]));"
        "heavy = {'torch', 'transformers', 'llama_cpp', 'gguf', 'bitsandbytes'};"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tiny_model)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert check_exportable(str(tiny_model)) == tiny_model
