"""The commands as typed."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from edgetool.cli import app
from edgetool.data.rows import write_rows
from edgetool.errors import EdgetoolError
from tests.conftest import weather_tool


def typed(*words):
    result = CliRunner().invoke(app, ["data", *map(str, words)])
    if isinstance(result.exception, EdgetoolError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def rows(tmp_path, examples):
    write_rows(tmp_path / "rows.jsonl", examples)
    return tmp_path / "rows.jsonl"


def test_convert_tells_what_became_of_every_row(tmp_path):
    tool = {"name": "f", "parameters": {"x": {"type": "int"}}}
    records = [
        {"query": "q", "tools": [tool], "answers": [{"name": "f", "arguments": {"x": x}}]}
        for x in (1, "one")
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    out = tmp_path / "rows.jsonl"
    said = typed("convert", tmp_path / "a.jsonl", "--out", out)
    assert said == (
        f"read 2 rows: 1 written to {out} (1 xlam), 1 rejected to {tmp_path / 'rejected.jsonl'}\n"
    )


def test_validate_prints_every_bad_row_and_fails(tmp_path, rows):
    assert "3 rows, all good" in typed("validate", rows)
    rows.write_text("{\n" + rows.read_text() + "[]\n")
    result = CliRunner().invoke(app, ["data", "validate", str(rows)])
    assert [line.split(": ")[0] for line in result.output.splitlines()] == [
        f"{rows}:1",
        f"{rows}:5",
    ]
    assert isinstance(result.exception, EdgetoolError) and "2 of 5" in str(result.exception)


def test_stats_are_for_people_and_for_programs(rows):
    assert "abstention share" in typed("stats", rows)
    told = json.loads(typed("stats", rows, "--against", rows, "--json"))
    assert told["rows"] == 3 and told["in_both"]["utterances"] == 3


def test_split_mix_mask_and_show(tmp_path, rows):
    typed("split", rows, "--out", tmp_path / "parts", "--part", "a=1", "--part", "b=1")
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["a.jsonl", "b.jsonl"]
    out = tmp_path / "mixed.jsonl"
    assert "6 rows" in typed("mix", rows, f"{rows}=1", "--out", out, "--distractors", 1)
    typed("mask", out, "--out", tmp_path / "masked.jsonl")
    shown = typed("show", tmp_path / "masked.jsonl", "--rows", 6)
    assert shown.count("user:") == 6 and "get_weather" not in shown
    assert "weather in Oslo please" in typed("show", rows, "--id", "one")


def test_synth_makes_rows_that_validate(tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps([weather_tool().as_openai()]))
    out = tmp_path / "made.jsonl"
    assert "9 rows" in typed("synth", tmp_path / "tools.json", "--out", out, "--rows", 9)
    assert "9 rows, all good" in typed("validate", out)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["split", "ROWS", "--out", "x", "--part", "train"], "write a name and a number"),
        (["split", "ROWS", "--out", "x", "--part", "../a=1"], "write a name and a number"),
        (["mix", "rows.jsonl=many", "--out", "x"], "write a file and its part"),
        (["show", "ROWS", "--id", "nine"], "has no row with the id 'nine'"),
        (["show", "ROWS", "--skip", "9"], "has no row after the first 9"),
        (["stats", "none.jsonl"], "no rows at none.jsonl"),
        (["convert", "none.jsonl"], "is neither a file nor a folder"),
        (["convert", "ROWS", "--from", "xlamm", "--out", "x"], "unknown data set 'xlamm'"),
    ],
)
def test_what_cannot_work_is_said_with_a_remedy(rows, words, remedy):
    with pytest.raises(EdgetoolError, match=remedy):
        typed(*(rows if word == "ROWS" else word for word in words))
