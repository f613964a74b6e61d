"""`edgetool eval`, `compare` and `report` from end to end, on a tiny random GGUF file."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from edgetool.commands.compare import run_compare
from edgetool.commands.eval import load, load_for, run_eval
from edgetool.commands.report import run_report
from edgetool.config import build_config
from edgetool.data.rows import write_rows
from edgetool.errors import UsageError
from edgetool.runtime import Sampling

SHORT = Sampling(max_completion_length=6)


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("llama_cpp")
    from edgetool.export.export import export_gguf

    return export_gguf(tiny_model, None, tmp_path_factory.mktemp("gguf"), ["Q8_0"])[0].path


@pytest.fixture
def data(tmp_path, examples):
    write_rows(tmp_path / "rows.jsonl", examples)
    return str(tmp_path / "rows.jsonl")


def console():
    return Console(width=200, record=True, file=io.StringIO())


def evaluated(model: Path, data: str, shown: Console, **options) -> Path:
    settings = {"base": False, "sampling": SHORT, **options}
    return run_eval(str(model), load(data, [], None), ["free", "constrained"], shown, **settings)


def test_something_has_to_be_evaluated():
    with pytest.raises(UsageError, match="--suite with one of: bfcl, seal-tools"):
        load(None, [], None)


@pytest.fixture
def run(tmp_path, data):
    """A run folder as far as its rows go: trained on rows of one's own, with others held out."""
    folder = tmp_path / "my"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    named = {"train": "mine.jsonl", "validation": data, "validation_rows": 2}
    config = build_config({"model": "nano", "output_dir": str(folder), "data": named}, "test")
    (folder / "config.yaml").write_text(config.dump())
    return folder


@pytest.mark.parametrize("inside", ["", "model.Q8_0.gguf", "merged"])
def test_a_run_is_measured_on_its_own_validation_rows(run, data, inside):
    shown = console()
    rows, source = load_for(str(run / inside), None, [], None, None, shown)
    assert ([row.id for row in rows.all], source) == (["one", "two"], data)
    assert shown.export_text() == f"no --data: 2 validation rows of {run} ({data})\n"
    rows, _ = load_for(str(run), None, [], None, 1, console())  # --rows 1
    assert [row.id for row in rows.all] == ["one"]


def test_data_that_is_named_goes_before_the_runs_own(run, data):
    shown = console()
    rows, source = load_for(str(run), "demo", [], None, 3, shown)
    assert (len(rows.all), source, shown.export_text()) == (3, "demo", "")


def test_demo_rows_say_nothing_of_a_run_on_other_rows(run):
    config = (run / "config.yaml").read_text().replace(str(run.parent / "rows.jsonl"), "demo")
    (run / "config.yaml").write_text(config)
    with pytest.raises(UsageError, match=r"trained on mine\.jsonl and names no validation rows"):
        load_for(str(run), None, [], None, None, console())


def test_a_file_of_no_run_still_needs_rows(tmp_path):
    with pytest.raises(UsageError, match="say what to evaluate"):
        load_for(str(tmp_path / "x.gguf"), None, [], None, None, console())


@pytest.mark.slow
def test_a_gguf_file_is_evaluated_compared_and_reported(tmp_path, gguf, data):
    first, second = tmp_path / "a.gguf", tmp_path / "b.gguf"
    for copy in (first, second):
        shutil.copyfile(gguf, copy)
        path = evaluated(copy, data, console())
        assert path == copy.with_suffix(".eval") / "report.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    assert [row["arm"] for row in facts["rows"]] == ["free", "constrained"]
    assert facts["rows"][1]["valid"] == 1.0
    assert facts["hashes"].keys() == {"b.gguf", "rows"}
    assert facts["measures"][0]["peak_mb"] > 10

    shown = console()
    run_compare([str(first), str(second)], shown, tmp_path / "both")
    compared = json.loads((tmp_path / "both" / "compare.json").read_text(encoding="utf-8"))
    assert [pair["points"] for pair in compared["pairs"]] == [0.0, 0.0]  # the same file twice
    assert compared["squares"][0]["points"] == 0.0
    assert "Training x decoding" in shown.export_text()

    page = (second.with_suffix(".eval") / "report.html").read_text(encoding="utf-8")
    run_report(str(second), console(), tmp_path / "again")
    assert (tmp_path / "again" / "report.html").read_text(encoding="utf-8") == page


@pytest.mark.slow
def test_out_that_is_a_file_is_a_wrong_option_before_any_work(tmp_path, gguf, data):
    (tmp_path / "file").touch()
    for use in (
        lambda: evaluated(gguf, data, console(), out=tmp_path / "file" / "below"),
        lambda: run_compare(["none", "nowhere"], console(), tmp_path / "file"),
    ):
        with pytest.raises(UsageError, match=r"file: could not be written: .*with --out"):
            use()


def test_an_evaluation_is_not_done_twice(tmp_path, gguf, data):
    model = tmp_path / "a.gguf"
    shutil.copyfile(gguf, model)
    evaluated(model, data, console())
    kept = model.with_suffix(".eval") / "completions.jsonl"
    before = kept.read_bytes()
    assert before.count(b"\n") == 6
    evaluated(model, data, console())
    assert kept.read_bytes() == before
    evaluated(model, data, console(), fresh=True)
    assert kept.read_bytes().count(b"\n") == 6 and kept.read_bytes() != before  # other seconds
