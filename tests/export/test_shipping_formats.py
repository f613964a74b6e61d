"""Model card, Modelfile and LM Studio's folders, read back as their readers do."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgetool.errors import ModelError, UsageError
from edgetool.export.card import Origin, write_card
from edgetool.export.gguf.writer import Plan
from edgetool.export.lm_studio import lay_out
from edgetool.export.model_folder import ModelFolder
from edgetool.export.ollama.modelfile import modelfile
from edgetool.export.plan import make_plan
from edgetool.export.receipt import ExportedFile
from edgetool.export.weights import TrainedWeights
from tests.conftest import ROOT

NANO = ROOT / "models" / "nano"
STEP = {
    "step": "Q4_K_M", "rows": 200, "exact_match": 0.505, "exact_match_ci95": [0.436, 0.574],
    "call_agreement": 0.9, "prompt_parity": 1.0, "kl_mean": 0.00123,
}  # fmt: skip
FILES = [
    {"path": "model.Q4_K_M.gguf", "quant": "Q4_K_M", "size": 1_600_000, "sha256": "ab" * 32},
    {"path": "model.Q2.gguf.rejected", "quant": "Q2", "size": 1, "sha256": "cd" * 32,
     "rejected": True},
]  # fmt: skip
ORIGIN = Origin("Qwen music", "Qwen/Qwen2.5-0.5B", "apache-2.0", "me/rows", "grpo", "hermes")


def card_of(tmp_path: Path, origin: Origin, receipt: dict[str, Any]) -> tuple[dict[str, Any], str]:
    text = write_card(tmp_path, origin, receipt).read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_has_the_hubs_metadata(tmp_path: Path) -> None:
    receipt = {"files": FILES, "held_out": {"source": "/home/me/held_out.jsonl", "rows": 200},
               "measured": [STEP, {**STEP, "step": "Q2"}]}  # fmt: skip
    front, body = card_of(tmp_path, ORIGIN, receipt)
    assert front["base_model"] == "Qwen/Qwen2.5-0.5B"
    assert front["base_model_relation"] == "quantized"
    assert front["datasets"] == ["me/rows"]
    assert front["license"] == "apache-2.0"
    assert {"gguf", "tool-calling", "grpo"} <= set(front["tags"])
    [result] = front["model-index"][0]["results"]  # the rejected file has none
    assert result["metrics"][0]["value"] == 50.5
    assert result["dataset"]["name"] == "held_out.jsonl rows"
    assert "| `model.Q4_K_M.gguf` | Q4_K_M | 1.6 | `" + "ab" * 32 in body
    assert "50.5 % [43.6, 57.4]" in body and "rejected" not in body and "/home" not in body


def test_files_measured_on_other_rows_have_a_table_of_their_own(tmp_path: Path) -> None:
    earlier = {**STEP, "step": "Q8_0", "rows": 50, "held_out": {"source": "old.jsonl", "rows": 50}}
    files = [FILES[0], {**FILES[0], "path": "model.Q8_0.gguf", "quant": "Q8_0"}]
    receipt = {"files": files, "held_out": {"source": "new.jsonl", "rows": 200},
               "measured": [STEP, earlier]}  # fmt: skip
    front, body = card_of(tmp_path, ORIGIN, receipt)
    results = front["model-index"][0]["results"]
    assert [result["dataset"]["name"] for result in results] == ["new.jsonl rows", "old.jsonl rows"]
    assert "`model.Q4_K_M.gguf`" in body and "`model.Q8_0.gguf`" in body
    new, old = body.split("200 held-out rows of new.jsonl, greedy:")[1].split(
        "50 held-out rows of old.jsonl, greedy:"
    )
    assert "| Q4_K_M | 50.5 %" in new and "Q8_0" not in new
    assert "| Q8_0 | 50.5 %" in old


def test_folders_and_files_are_no_ids_of_the_hub(tmp_path: Path) -> None:
    origin = Origin("nano", "nano", None, "data/rows.jsonl", "sft", "hermes")
    front, body = card_of(tmp_path, origin, {"files": FILES, "held_out": {"why": "none named"}})
    assert not {"base_model", "datasets", "license", "model-index"} & set(front)
    assert "nano, trained with SFT on data/rows.jsonl" in body
    assert "Not measured: none named." in body


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(TrainedWeights.open(NANO, None), name=None, finetune="music")


REST = [
    'PARAMETER stop "<|im_end|>"',
    "PARAMETER num_ctx 4096",
    "PARAMETER temperature 0",
    'LICENSE """apache-2.0"""',
]


def test_a_modelfile_leaves_the_template_to_the_file(plan: Plan) -> None:
    """Ollama then runs the file's own, which is the one of training."""
    text, notes = modelfile("model.Q4_K_M.gguf", plan, ModelFolder.open(NANO))
    assert (text.splitlines(), notes) == (["FROM ./model.Q4_K_M.gguf", *REST], [])


def test_the_template_is_written_on_request(plan: Plan) -> None:
    text, notes = modelfile("model.Q4_K_M.gguf", plan, ModelFolder.open(NANO), template=True)
    assert notes == [] and text.startswith('FROM ./model.Q4_K_M.gguf\nTEMPLATE """{{ if .Tools }}')
    assert text.rpartition('end }}"""\n')[2].splitlines() == REST
    assert text.count('"""') == 4


@pytest.mark.parametrize("template", [False, True])
def test_a_syntax_that_ollamas_template_cannot_hold_needs_none(plan: Plan, template: bool) -> None:
    plan = dataclasses.replace(plan, call_syntax="pythonic")
    if template:
        with pytest.raises(ModelError, match="--ollama without --ollama-template"):
            modelfile("x.gguf", plan, ModelFolder.open(NANO), template=True)
    else:
        assert "TEMPLATE" not in modelfile("x.gguf", plan, ModelFolder.open(NANO))[0]


@pytest.mark.parametrize("name", ["LICENSE", "LICENSE.txt", "LICENSE.md"])
def test_the_licence_is_the_models_own_text(tiny_model: Path, tmp_path: Path, name: str) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (model / name).write_text("Do as you please.\n")
    plan = make_plan(TrainedWeights.open(model, None), name=None, finetune=None)
    text, _ = modelfile("x.gguf", plan, ModelFolder.open(model))
    assert text.endswith('LICENSE """Do as you please."""\n')
    assert "PARAMETER num_ctx 2048" in text  # not beyond what it was trained on


def test_a_licence_that_a_modelfile_cannot_hold_is_named(tmp_path: Path, plan: Plan) -> None:
    nano = Path(shutil.copytree(NANO, tmp_path / "nano"))
    (nano / "LICENSE").write_text('a """ b')
    text, notes = modelfile("x.gguf", plan, ModelFolder.open(nano))
    assert text.endswith('LICENSE """apache-2.0"""\n')
    assert "which a Modelfile cannot" in notes[0]


def test_lm_studio_finds_publisher_model_and_file(plan: Plan, tmp_path: Path) -> None:
    source = tmp_path / "model.Q8_0.gguf"
    source.write_bytes(b"GGUF...")
    file = ExportedFile(source, "Q8_0", 7, "", {})
    for _ in range(2):  # again, over what stands there
        [placed] = lay_out([file], plan, tmp_path / "models", "me")
    folder = tmp_path / "models" / "me" / "nano-2.5M-music-GGUF"
    assert placed == folder / "nano-2.5M-music-Q8_0.gguf"
    assert placed.read_bytes() == b"GGUF..." and list(folder.iterdir()) == [placed]
    assert placed.samefile(source)  # one file on the disk


def test_without_links_the_file_is_copied(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def refuse(*_: Any) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    source = tmp_path / "model.Q8_0.gguf"
    source.write_bytes(b"GGUF...")
    [placed] = lay_out([ExportedFile(source, "Q8_0", 7, "", {})], plan, tmp_path / "models")
    assert placed.read_bytes() == b"GGUF..." and not placed.samefile(source)


@pytest.mark.parametrize("publisher", ["../me", "a/b", "", ".hidden"])
def test_a_publisher_is_the_name_of_a_folder(plan: Plan, tmp_path: Path, publisher: str) -> None:
    with pytest.raises(UsageError, match="--publisher"):
        lay_out([], plan, tmp_path, publisher)
