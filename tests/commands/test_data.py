"""The commands as typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from edgetool.cli import app
from edgetool.data.rows import write_rows
from edgetool.errors import DataError, EdgetoolError, UsageError
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


def test_validate_reads_parameters_behind_a_reference_and_notes_what_grammars_leave_open(tmp_path):
    tags = {"type": "array", "contains": {"const": "x"}}
    properties = {"artist": {"type": "string"}, "tags": tags}
    inner = {"type": "object", "required": ["artist"], "properties": properties}
    whole = {"type": "object", "$ref": "#/$defs/P", "$defs": {"P": inner}}
    lines = []
    for i, parameters in enumerate((whole, {"type": "object", "allOf": [inner]})):
        tools = [{"name": "play", "description": "d", "parameters": parameters}]
        calls = [{"name": "play", "arguments": {"artist": "Chet Baker"}}]
        messages = [{"role": "user", "content": f"play {i}"}]
        row = {"id": str(i), "messages": messages, "tools": tools, "calls": calls}
        lines.append(json.dumps(row) + "\n")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(lines))
    said = typed("validate", path)
    assert "2 rows, all good" in said
    assert "note: play: parameters.$defs.P.properties.tags: 'contains' is not held" in said


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


def test_convert_says_which_ids_it_changed(tmp_path, rows):
    rows.write_text(rows.read_text() * 2)
    said = typed("convert", rows, "--out", tmp_path / "r.jsonl")
    assert "3 rows had an earlier row's id and got another, such as 1-2" in said
    assert "6 rows, all good" in typed("validate", tmp_path / "r.jsonl")


WRITERS = [
    ["convert", "ROWS", "--out"],
    ["mix", "ROWS", "--out"],
    ["mask", "ROWS", "--out"],
    ["synth", "TOOLS", "--out"],
    ["split", "ROWS", "--out"],
]


def filled(words, tmp_path, rows):
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([weather_tool().as_openai()]))
    return [{"ROWS": rows, "TOOLS": tools}.get(word, word) for word in words]


@pytest.mark.parametrize("words", WRITERS, ids=lambda words: words[0])
def test_a_place_that_cannot_be_written_is_a_usage_error_and_nothing_is_left(tmp_path, rows, words):
    words = filled(words, tmp_path, rows)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    taken = "file" if words[0] == "split" else "folder"
    for out in (taken, "file/deeper"):
        with pytest.raises(UsageError, match=r"is a folder; name a file in it|a file stands where"):
            typed(*words, tmp_path / out)
    names = ["file", "folder", "rows.jsonl", "tools.json"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == names
    assert (tmp_path / "file").read_text() == "mine"


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
from edgetool.cli import main
main()
"""


@pytest.mark.parametrize("words", WRITERS, ids=lambda words: words[0])
def test_a_file_that_does_not_fit_is_an_error_in_one_line_and_nothing_is_left(
    tmp_path, rows, words
):
    words = [str(word) for word in filled(words, tmp_path, rows)]
    out = str(tmp_path / "out")
    ran = subprocess.run(
        [sys.executable, "-c", FULL, "data", *words, out], capture_output=True, text=True
    )
    assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 1, ran.stderr
    assert "could not be written: the file is larger than allowed here" in ran.stderr
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"rows.jsonl", "tools.json"}


def test_a_file_that_may_not_be_read_is_not_told_as_one_that_cannot_be_written(tmp_path):
    (tmp_path / "rows.jsonl").symlink_to("/proc/self/mem")  # opens, and fails to be read
    with pytest.raises(EdgetoolError, match=r"rows\.jsonl: cannot be read"):
        typed("stats", tmp_path / "rows.jsonl")


@pytest.mark.parametrize("text", ["", "\n\n"])
@pytest.mark.parametrize(
    "words",
    [
        ["validate", "ROWS"],
        ["stats", "ROWS"],
        ["split", "ROWS", "--out", "OUT"],
        ["mask", "ROWS", "--out", "OUT"],
        ["convert", "ROWS", "--out", "OUT"],
    ],
    ids=lambda words: words[0],
)
def test_an_empty_file_is_said_to_be_empty(tmp_path, words, text):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(text)
    with pytest.raises(DataError, match=r"rows\.jsonl: (no rows in this file|is empty)"):
        typed(*({"ROWS": rows, "OUT": tmp_path / "out"}.get(word, word) for word in words))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["rows.jsonl"]


def test_synth_makes_rows_for_the_functions_of_a_python_file(tmp_path):
    (tmp_path / "mine.py").write_text('def ring(minutes: int) -> None:\n    """Set a timer."""\n')
    out = tmp_path / "made.jsonl"
    assert "5 rows" in typed("synth", tmp_path / "mine.py", "--out", out, "--rows", 5)
    assert json.loads(out.read_text().splitlines()[0])["tools"][0]["function"]["name"] == "ring"


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
