"""`edgetool export` from a run to files, receipt and what stands beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from edgetool.calls.types import Example
from edgetool.commands import export
from edgetool.commands.export import ExportOptions, run_export
from edgetool.commands.merge import run_merge
from edgetool.data import demo
from edgetool.data.rows import write_rows
from edgetool.errors import EdgetoolError, ModelError, UsageError
from edgetool.export.export import Judgement, export_gguf
from edgetool.fidelity import survey
from edgetool.fidelity.survey import Subject, held_out
from edgetool.files import sha256_of
from edgetool.llama.prompt_cache import prefill
from edgetool.llama.session import LlamaSession
from tests.commands.conftest import NANO, Said


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def receipt_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "receipt.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_run_becomes_measured_files_with_all_that_goes_with_them(
    run: Path, tmp_path: Path, console: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "IMATRIX_ROWS", 6)
    options = ExportOptions(
        merge_into="auto", rows=6, imatrix="demo", ollama=True, lm_studio=tmp_path / "lm",
        publisher="me", max_drop=100.0,
    )  # fmt: skip
    (file,) = run_export(str(run), options, console)
    assert file.path == run / "model.Q4_K_M.gguf"  # the default, and no F16 is left over
    assert sorted(path.name for path in run.glob("*.gguf")) == ["imatrix.gguf", file.path.name]
    receipt = receipt_of(run)
    assert [step["step"] for step in receipt["measured"]] == ["adapter", "merged", "F16", "Q4_K_M"]
    adapter, merged, f16, _ = receipt["measured"]
    assert all(step["prompt_parity"] == 1.0 for step in receipt["measured"])
    assert adapter["rows"] == 6 and adapter["size"] > 0
    assert f16["kl_mean"] < 1e-4
    choice = receipt["merge_choice"]
    assert set(choice["measured"]) == {"nf4", "base"}
    # what was measured as merged is what was written
    assert receipt["source"]["merge_into"] == choice["chosen"]
    assert merged == choice["measured"][choice["chosen"]]
    imatrix = receipt["imatrix"]
    assert imatrix["rows"] == 6 and imatrix["rows_also_held_out"] == 0
    assert imatrix["sha256"] == sha256_of(run / "imatrix.gguf")
    assert receipt["held_out"] == {"source": "demo", "rows": 6}
    assert receipt["max_drop"] == 100.0
    placed = tmp_path / "lm" / "me" / "nano-2.5M-my-GGUF" / "nano-2.5M-my-Q4_K_M.gguf"
    assert placed.read_bytes() == file.path.read_bytes()
    assert (run / "Modelfile").read_text().startswith("FROM ./model.Q4_K_M.gguf\nPARAMETER ")
    card = (run / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license"] == "apache-2.0" and "grpo" in metadata["tags"]
    assert file.sha256 in card and "6 held-out rows" in card


def test_without_held_out_rows_the_receipt_says_so(
    run: Path, examples: list[Example], tmp_path: Path, console: Said
) -> None:
    """Its own rows to train on and none to test on: the demo rows would say nothing."""
    write_rows(tmp_path / "rows.jsonl", examples)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["train"] = str(tmp_path / "rows.jsonl")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    run_export(str(run), ExportOptions(quants=["Q8_0"]), console)
    receipt = receipt_of(run)
    assert receipt["held_out"]["rows"] == 0 and "--data rows.jsonl" in receipt["held_out"]["why"]
    assert receipt["measured"] == []
    assert receipt["files"][0]["sha256"] == sha256_of(run / "model.Q8_0.gguf")
    assert "not measured: no held-out rows were named" in console.text
    assert "Not measured" in (run / "README.md").read_text()


def test_warmed_tools_are_in_the_cache_when_the_file_is_opened(
    run: Path, tmp_path: Path, console: Said
) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([tool.as_openai() for tool in demo.tools()]), encoding="utf-8")
    (file,) = run_export(str(run), ExportOptions(quants=["Q8_0"], rows=0, warm=tools), console)
    with LlamaSession(file.path) as session:
        assert prefill(session, demo.tools()).loaded
    assert "tokens of tools" in console.text


@pytest.mark.parametrize("option", [{"merge_into": "auto"}, {"max_drop": 1.0}])
def test_what_is_measured_needs_rows(run: Path, console: Said, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="needs held-out rows to measure on: not asked for"):
        run_export(str(run), ExportOptions(rows=0, **option), console)
    assert not list(run.glob("*.gguf"))


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"merge_into": "best"}, "auto, nf4, base"),
        ({"max_drop": -1.0}, "-1"),
        ({"adapter_only": True, "imatrix": "demo"}, "--imatrix is about whole models"),
        ({"adapter_only": True, "max_drop": 0.0}, "--max-drop is about whole models"),
        ({"beside": Path("x.gguf")}, "goes with --adapter-only"),
        ({"converter": Path("x"), "imatrix": "demo"}, "--imatrix does not go with --converter"),
        ({"converter": Path("x"), "max_drop": 0.0}, "--max-drop does not go with --converter"),
        ({"converter": Path("x"), "adapter_only": True}, "--adapter-only does not go with"),
        ({"converter": Path("x"), "merge_into": "auto"}, "with --converter one of nf4 and base"),
        ({"converter": Path("nowhere")}, "no convert_hf_to_gguf.py there"),
    ],
)
def test_impossible_options_are_refused_before_any_work(
    run: Path, console: Said, option: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        run_export(str(run), ExportOptions(**option), console)


@pytest.mark.parametrize("place", ["file", "file/below"])
@pytest.mark.parametrize("options", [{}, {"adapter_only": True}])
def test_out_that_is_a_file_is_refused_before_any_work(
    run: Path, tmp_path: Path, console: Said, place: str, options: dict[str, Any]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: could not be written: .* folder is needed; name"):
        run_export(str(run), ExportOptions(out=tmp_path / place, **options), console)
    with pytest.raises(UsageError, match=r"file: could not be written"):
        run_merge(run, tmp_path / "file" / "below", None, console)
    assert (tmp_path / "file").read_bytes() == b""


def test_a_models_folder_that_cannot_be_written_is_refused_before_any_work(
    run: Path, tmp_path: Path, console: Said
) -> None:
    (tmp_path / "file").touch()
    options = ExportOptions(rows=0, lm_studio=tmp_path / "file")
    with pytest.raises(UsageError, match="name another place with --lmstudio"):
        run_export(str(run), options, console)
    assert not list(run.glob("*.gguf"))


def test_a_receipt_that_cannot_be_replaced_is_one_line(run: Path, console: Said) -> None:
    (run / "receipt.json").mkdir()
    (run / "receipt.json" / "x").touch()
    with pytest.raises(UsageError, match=r"receipt.json: could not be written: a folder stands"):
        run_export(str(run), ExportOptions(quants=["Q8_0"], rows=0), console)
    assert not list(run.glob("*.gguf")) and not list(run.glob(".*"))


def test_what_killed_exports_left_is_swept_and_said(run: Path, console: Said) -> None:
    for name in (".model.F16.gguf.part", ".receipt.json.part", ".theirs.iso.part"):
        (run / name).write_text("half")
    (run / ".converted.part").mkdir()
    (run / ".converted.part" / "x").touch()
    run_export(str(run), ExportOptions(quants=["Q8_0"], rows=0), console)
    assert [path.name for path in run.glob(".*")] == [".theirs.iso.part"]
    assert "killed process left of converted, model.F16.gguf, receipt.json" in console.text


def test_files_of_earlier_exports_stay_in_receipt_and_card(run: Path, console: Said) -> None:
    for quant in ("F16", "Q8_0"):
        run_export(str(run), ExportOptions(quants=[quant], rows=0), console)
    (run / "model.F16.gguf").unlink()
    run_export(str(run), ExportOptions(quants=["Q4_0"], rows=0), console)
    assert [file["quant"] for file in receipt_of(run)["files"]] == ["Q4_0", "Q8_0"]
    card = (run / "README.md").read_text()
    assert "`model.Q4_0.gguf`" in card and "`model.Q8_0.gguf`" in card and "F16" not in card
    assert "receipt.json lists model.F16.gguf no more: it is gone" in console.text


def test_a_runs_own_validation_rows_are_the_held_out_ones(run: Path, tmp_path: Path) -> None:
    subject = Subject.at(str(run))
    found = held_out(subject, None, None)
    assert (found.source, len(found.examples)) == ("demo", survey.HELD_OUT_ROWS)
    assert len(held_out(subject, None, 3).examples) == 3
    assert held_out(subject, None, 0).examples == ()
    assert held_out(Subject.at("nano"), None, None).source is None


def test_a_rejected_file_keeps_a_name_that_says_so(tiny_model: Path, tmp_path: Path) -> None:
    seen: dict[str, bytes] = {}

    def judge(files: Any) -> Judgement:
        seen.update({quant: path.read_bytes()[:4] for quant, path in files.items()})
        assert not list(tmp_path.glob("model.*"))  # nothing has its name yet
        return Judgement(["Q4_K_M"], {"measured": [1, 2]})

    files = export_gguf(tiny_model, None, tmp_path, ["Q8_0", "Q4_K_M"], judge=judge)
    assert seen == {"Q8_0": b"GGUF", "Q4_K_M": b"GGUF", "F16": b"GGUF"}
    assert [file.path.name for file in files] == ["model.Q8_0.gguf", "model.Q4_K_M.gguf.rejected"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.Q4_K_M.gguf.rejected", "model.Q8_0.gguf", "receipt.json",
    ]  # fmt: skip
    receipt = receipt_of(tmp_path)
    assert [file["rejected"] for file in receipt["files"]] == [False, True]
    assert receipt["measured"] == [1, 2]


def test_a_rejection_fails_the_command(tiny_model: Path, tmp_path: Path) -> None:
    reject = lambda files: Judgement(["Q8_0"])  # noqa: E731
    files = export_gguf(tiny_model, None, tmp_path, ["Q8_0"], judge=reject)
    with pytest.raises(EdgetoolError, match=r"Q8_0: lost more than --max-drop 1\.5") as raised:
        export._require_none_rejected(files, ExportOptions(max_drop=1.5))
    assert raised.value.exit_code == 1


def test_a_measurement_that_fails_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    def judge(files: Any) -> Judgement:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_gguf(tiny_model, None, tmp_path / "out", ["Q8_0"], judge=judge)
    assert list((tmp_path / "out").iterdir()) == []


def test_only_the_adapter_beside_a_base_file(run: Path, tmp_path: Path, console: Said) -> None:
    export_gguf(NANO, None, tmp_path / "base", ["F16"])
    options = ExportOptions(
        adapter_only=True, beside=tmp_path / "base" / "model.F16.gguf", rows=4
    )  # fmt: skip
    (file,) = run_export(str(run), options, console)
    assert file.path == run / "adapter.gguf" and not list(run.glob("model.*"))
    receipt = json.loads((run / "adapter.receipt.json").read_text())
    assert receipt["files"][0]["sha256"] == sha256_of(file.path)
    beside = receipt["fidelity"]["beside"]
    assert beside["prompts"] == 4 and beside["base"] == "model.F16.gguf"
    assert beside["relative"] < 0.01 and beside["argmax_agreement"] > 0.99
    assert "trained on NF4-rounded weights" in console.text


def test_only_the_adapter_without_rows_or_base_file(run: Path, console: Said) -> None:
    run_export(str(run), ExportOptions(adapter_only=True, rows=0), console)
    assert "name a base GGUF with --beside" in console.text
    assert (run / "adapter.gguf").is_file()


def test_a_plain_model_has_no_adapter(tmp_path: Path, console: Said) -> None:
    with pytest.raises(UsageError, match="has no adapter"):
        run_export("nano", ExportOptions(adapter_only=True, out=tmp_path), console)


def test_a_template_ollama_cannot_have_is_refused_before_any_work(
    tiny_model: Path, tmp_path: Path, console: Said
) -> None:
    import shutil

    from tests.export.conftest import edit_json

    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    edit_json(
        model / "tokenizer_config.json",
        chat_template="{{ tools | tojson }}{{ messages[0].content }}",
    )
    options = ExportOptions(out=tmp_path / "out", ollama=True, ollama_template=True)
    with pytest.raises(ModelError, match="cannot be turned into one for Ollama"):
        run_export(str(model), options, console)
    assert not (tmp_path / "out").exists()


def test_somebody_elses_readme_stays(tiny_model: Path, tmp_path: Path, console: Said) -> None:
    (tmp_path / "README.md").write_text("my notes")
    run_export(str(tiny_model), ExportOptions(quants=["F16"], out=tmp_path), console)
    assert (tmp_path / "README.md").read_text() == "my notes"
    assert "is not ours and stays" in console.text


def test_held_out_rows_an_importance_matrix_was_made_from_are_counted(
    rows: Sequence[Example],
) -> None:
    assert survey._overlap(rows[:5], rows[3:]) == 2
    assert survey._overlap(rows[:3], rows[3:]) == 0


def test_a_plain_model_is_exported_without_torch(tmp_path: Path) -> None:
    """`pip install edgetool[export]` brings none."""
    code = (
        "import sys\n"
        "from rich.console import Console\n"
        "from pathlib import Path\n"
        "from edgetool.commands.export import ExportOptions, run_export\n"
        "options = ExportOptions(quants=['Q8_0'], out=Path(sys.argv[1]), ollama=True)\n"
        "run_export('nano', options, Console())\n"
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "Modelfile").is_file()
