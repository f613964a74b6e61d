"""A receipt speaks of every file beside it that is still the one that was exported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgetool.export.export import export_gguf
from edgetool.export.receipt import ExportedFile, Source, as_text, make_receipt, with_earlier_files
from edgetool.files import sha256_of


def export(
    folder: Path, quants: Sequence[str], source: str = "base", **notes: Any
) -> dict[str, Any]:
    """What an export leaves: a file for each quantization, and the receipt."""
    files = []
    for quant in quants:
        path = folder / f"model.{quant}.gguf"
        path.write_text(f"{quant} of {source}")
        files.append(ExportedFile(path, quant, path.stat().st_size, sha256_of(path), {}))
    base = folder / source
    base.mkdir(exist_ok=True)
    receipt = with_earlier_files(folder, make_receipt(Source(base, None, "base", ""), files, notes))
    (folder / "receipt.json").write_text(as_text(receipt))
    return receipt


def listed(receipt: dict[str, Any]) -> list[str]:
    return [file["quant"] for file in receipt["files"]]


def test_files_of_earlier_exports_stay(tmp_path: Path) -> None:
    export(tmp_path, ["F16"])
    export(tmp_path, ["Q8_0"])
    receipt = export(tmp_path, ["Q4_K_M"])
    assert listed(receipt) == ["Q4_K_M", "Q8_0", "F16"]
    for file in receipt["files"]:
        assert file["sha256"] == sha256_of(tmp_path / file["path"])
    assert "dropped" not in receipt


def test_a_file_that_is_exported_again_is_listed_once(tmp_path: Path) -> None:
    export(tmp_path, ["Q8_0"])
    receipt = export(tmp_path, ["Q8_0"], "other")
    assert listed(receipt) == ["Q8_0"]
    assert receipt["files"][0]["sha256"] == sha256_of(tmp_path / "model.Q8_0.gguf")
    assert "export" not in receipt["files"][0] and "dropped" not in receipt


def test_a_file_that_is_replaced_is_not_kept_whatever_its_entry_says(tmp_path: Path) -> None:
    export(tmp_path, ["Q8_0"])
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    del receipt["files"][0]["quant"]
    (tmp_path / "receipt.json").write_text(json.dumps(receipt))
    assert listed(export(tmp_path, ["Q8_0"])) == ["Q8_0"]


def test_a_file_that_is_gone_or_changed_is_dropped_and_said(tmp_path: Path) -> None:
    export(tmp_path, ["F16", "Q8_0", "Q6_K"])
    (tmp_path / "model.F16.gguf").unlink()
    (tmp_path / "model.Q8_0.gguf").write_text("Q8_0 of bas€")
    receipt = export(tmp_path, ["Q4_K_M"])
    assert listed(receipt) == ["Q4_K_M", "Q6_K"]
    assert receipt["dropped"] == [
        {"path": "model.F16.gguf", "why": "it is gone"},
        {"path": "model.Q8_0.gguf", "why": "it was changed"},
    ]


def test_an_accepted_file_goes_when_its_quantization_is_rejected_later(tmp_path: Path) -> None:
    """What was measured under this name is the rejected file's."""
    export(tmp_path, ["Q8_0"])
    rejected = ExportedFile(tmp_path / "x.rejected", "Q8_0", 1, "ab", {}, rejected=True)
    new = make_receipt(Source(tmp_path / "base", None, "base", ""), [rejected])
    receipt = with_earlier_files(tmp_path, new)
    assert [file["path"] for file in receipt["files"]] == ["x.rejected"]
    assert receipt["dropped"] == [{"path": "model.Q8_0.gguf", "why": "Q8_0 was exported again"}]


def test_a_file_keeps_what_its_own_export_had_otherwise(tmp_path: Path) -> None:
    first = export(tmp_path, ["Q8_0"], "old", imatrix={"path": "imatrix.gguf"})
    export(tmp_path, ["Q6_K"], "new")
    receipt = export(tmp_path, ["Q4_K_M"], "new", max_drop=1.0)
    own = {file["quant"]: file.get("export", {}) for file in receipt["files"]}
    assert own["Q4_K_M"] == {}
    assert "source" not in own["Q6_K"] and own["Q6_K"]["max_drop"] is None
    assert own["Q8_0"]["source"] == first["source"] != receipt["source"]
    assert own["Q8_0"]["imatrix"] == {"path": "imatrix.gguf"}


def test_what_was_measured_of_earlier_files_stays_with_its_rows(tmp_path: Path) -> None:
    step = {"step": "Q8_0", "rows": 20}
    rows = {"source": "a.jsonl", "rows": 20}
    export(tmp_path, ["Q8_0"], held_out=rows, measured=[{"step": "adapter", "rows": 20}, step])
    same = export(tmp_path, ["Q6_K"], held_out=rows, measured=[{"step": "Q6_K", "rows": 20}])
    assert [found["step"] for found in same["measured"]] == ["Q6_K", "Q8_0"]
    assert same["measured"][1] == step
    for quant in ("Q5_K_M", "Q4_K_M"):
        other = export(tmp_path, [quant], held_out={"source": None, "why": "none"}, measured=[])
        assert step | {"held_out": rows} in other["measured"]
    export(tmp_path, ["Q8_0"], held_out=rows, measured=[])
    assert "Q8_0" not in [found["step"] for found in export(tmp_path, ["F16"])["measured"]]


@pytest.mark.parametrize("content", ["{}", "no JSON", '{"files": []}', "[]"])
def test_what_is_no_receipt_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "receipt.json").write_text(content)
    receipt = export(tmp_path, ["Q8_0"])
    assert listed(receipt) == ["Q8_0"]
    assert receipt["dropped"][0]["path"] == "receipt.json"


def test_an_earlier_receipt_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "out"
    folder.mkdir()
    export(folder, ["F16"])
    receipt = json.loads((folder / "receipt.json").read_text())
    receipt["files"][0] |= {"path": "../secret", "sha256": sha256_of(tmp_path / "secret")}
    (folder / "receipt.json").write_text(json.dumps(receipt))
    assert listed(export(folder, ["Q8_0"])) == ["Q8_0"]


def test_exports_one_after_the_other_are_one_receipt(tiny_model: Path, tmp_path: Path) -> None:
    for quant in ("F16", "Q8_0"):
        export_gguf(tiny_model, None, tmp_path, [quant])
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert listed(receipt) == ["Q8_0", "F16"]
    assert not list(tmp_path.glob(".*"))
