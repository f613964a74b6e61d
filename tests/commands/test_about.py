from __future__ import annotations

import json

import pytest

from edgetool import catalogue
from edgetool.commands.about import about, sizes, task, together, typed
from edgetool.config import build_config
from tests.conftest import ROOT


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "my"
    folder.mkdir()
    config = build_config({"model": "nano", "output_dir": str(folder)}, "test")
    (folder / "config.yaml").write_text(config.dump())
    (folder / "run.json").write_text(json.dumps({"base": "nano", "verb": "sft"}))
    steps = [json.dumps({"step": step, "loss": 1.0}) for step in (1, 2, 7)]
    (folder / "metrics.jsonl").write_text("\n".join(steps) + "\n")
    return folder


def test_a_run_is_its_model_its_method_and_its_steps(run):
    found = about(str(run), "demo")
    assert found["model"] == "nano" and found["task"] == "the bundled demo rows"
    assert (found["method"], found["steps"]) == ("sft", 7)
    assert found["parameters"] == catalogue.get("nano").parameters


def test_a_run_without_a_step_says_nothing_of_steps(run):
    (run / "metrics.jsonl").unlink()
    assert "steps" not in about(str(run), "demo")


def test_a_model_folder_is_counted_from_its_sizes(tmp_path):
    config = (ROOT / "models" / "nano" / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config)
    assert about(str(tmp_path), None)["parameters"] == catalogue.get("nano").parameters


@pytest.mark.parametrize("text", ["{", "{}", '{"architectures": ["Unheard"]}'])
def test_a_folder_whose_sizes_are_not_known_is_named_only(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    found = about(str(tmp_path), "x/rows.jsonl", ["bfcl:simple"])
    assert found == {"model": tmp_path.name, "task": "rows.jsonl, bfcl:simple"}


def test_a_file_that_is_no_gguf_still_has_a_name_and_a_size(tmp_path):
    path = tmp_path / "my.Q8_0.gguf"
    path.write_bytes(b"nothing")
    found = about(str(path), None)
    assert found == {"model": "my.Q8_0.gguf", "size_bytes": {"gguf:Q8_0": 7}}


def test_an_endpoint_is_its_model(tmp_path):
    assert about("http://127.0.0.1:1/v1", None, model="mine") == {"model": "mine"}


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["/usr/bin/edgetool", "eval", "my model.gguf"], "edgetool eval 'my model.gguf'"),
        (["/x/edgetool/__main__.py", "demo"], "edgetool demo"),
        (["/x/pytest", "-q"], ""),
        (["/x/other/__main__.py", "demo"], ""),
    ],
)
def test_a_command_is_told_as_it_can_be_typed_again(monkeypatch, argv, text):
    monkeypatch.setattr("sys.argv", argv)
    assert typed() == text


def test_several_evaluations_keep_what_they_share():
    one = {"model": "a.gguf", "task": "rows", "command": "edgetool eval a.gguf"}
    two = {"model": "b.gguf", "task": "rows", "command": "edgetool eval b.gguf"}
    assert together({"a": one, "b": two}) == {"model": "a, b", "task": "rows", "command": ""}


def test_sizes_go_by_quantization(tmp_path):
    (tmp_path / "m.Q4_K_M.gguf").write_bytes(b"1234")
    assert sizes([tmp_path / "m.Q4_K_M.gguf"]) == {"size_bytes": {"gguf:Q4_K_M": 4}}


def test_rows_of_ones_own_are_called_after_their_file():
    assert task("a/b.jsonl", ()) == "b.jsonl" and task(None, ("x", "y")) == "x, y"
