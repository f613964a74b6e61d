"""`edgetool eval`, `compare` and `report` from end to end, on a tiny random GGUF file."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from edgetool.calls.runtime import Sampling
from edgetool.data.rows import write_rows
from edgetool.errors import UsageError
from edgetool.verbs.evaluating import load, run_compare, run_eval, run_report

SHORT = Sampling(max_completion_length=6)


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("llama_cpp")
    from edgetool.export.run import export_gguf

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
