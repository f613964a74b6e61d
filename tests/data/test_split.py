"""Parts share nothing that they were split by."""

from __future__ import annotations

import pytest

from edgetool.calls.types import Example, ExpectedCall, Tool
from edgetool.data.rows import load_rows, write_rows
from edgetool.data.split import normalised, service_groups, split
from edgetool.errors import DataError, UsageError
from tests.conftest import user

SHARES = {"train": 0.8, "validation": 0.2}


def tool(name):
    return Tool(name, "", {"type": "object", "properties": {}})


def example(id_, text="hi", calls=(), offered=(), **fields):
    names = [*dict.fromkeys([*calls, *offered])]
    expected = tuple(ExpectedCall(name) for name in calls)
    return Example(id_, user(text), tuple(map(tool, names)), expected, **fields)


def parts(tmp_path, rows, shares=SHARES, **options):
    write_rows(tmp_path / "rows.jsonl", rows)
    summary = split(tmp_path / "rows.jsonl", tmp_path / "out", shares, **options)
    return {part: load_rows(tmp_path / "out" / f"{part}.jsonl") for part in shares}, summary


def test_the_same_words_land_in_one_part_whatever_their_case_and_punctuation(tmp_path):
    said = [f"weather in town {i % 400}{'?' * (i % 3)}" for i in range(2000)]
    rows = [example(f"r{i}", text.upper() if i % 2 else text) for i, text in enumerate(said)]
    found, summary = parts(tmp_path, rows)
    keys = {part: {normalised(row.utterance) for row in rows} for part, rows in found.items()}
    assert not keys["train"] & keys["validation"]
    assert len(keys["train"] | keys["validation"]) == 400
    assert summary.rows.total() == 2000
    # 400 keys at 0.2: standard deviation 8, four of them 32
    assert abs(len(keys["validation"]) - 80) < 32


def test_rows_of_one_conversation_stay_together(tmp_path):
    rows = []
    for i in range(60):
        first = example(f"a{i}", f"start {i}")
        later = Example(f"b{i}", (*first.messages, *user(f"go on {i}")), (tool("f"),), ())
        rows += [first, later]
    found, _ = parts(tmp_path, rows)
    ids = {part: {row.id[1:] for row in rows} for part, rows in found.items()}
    assert not ids["train"] & ids["validation"]


def test_adding_rows_moves_no_other_row(tmp_path):
    rows = [example(f"r{i}", f"text {i}") for i in range(200)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    few, _ = parts(tmp_path / "a", rows[:100])
    many, _ = parts(tmp_path / "b", rows)
    assert {r.id for r in few["validation"]} <= {r.id for r in many["validation"]}


def test_no_tool_called_in_one_part_is_called_or_offered_in_another(tmp_path):
    names = [f"tool_{i}" for i in range(10)]
    rows = [
        example(f"r{i}", f"t{i}", [names[i % 10]], [names[(i * 7) % 10], "never_called"])
        for i in range(300)
    ]
    rows += [example(f"n{i}", f"none {i}", [], names[:3]) for i in range(20)]
    found, summary = parts(tmp_path, rows, by="tool")
    called = {part: {c.name for row in rows for c in row.calls} for part, rows in found.items()}
    offered = {part: {t.name for row in rows for t in row.tools} for part, rows in found.items()}
    assert called["train"] and called["validation"]
    assert not called["train"] & offered["validation"]
    assert not called["validation"] & offered["train"]
    assert summary.rows.total() + summary.left_out == 320 and summary.tools_removed > 0
    # ten equal tools at 0.2: two of them
    assert len(called["validation"]) == 2


def test_tools_called_together_stay_together(tmp_path):
    rows = [
        example("ab", "x", ["a", "b"]),
        example("bc", "y", ["b", "c"]),
        example("d", "z", ["d"]),
    ]
    found, _ = parts(tmp_path, rows, {"one": 1, "two": 1}, by="tool")
    assert sorted(sorted(row.id for row in rows) for rows in found.values()) == [
        ["ab", "bc"],
        ["d"],
    ]


def test_by_service_the_tools_of_one_service_stay_together(tmp_path):
    rows = [example(f"{s}{f}", f"{s} {f}", [f"{s}.{f}"]) for s in "abcd" for f in "xyz"]
    found, _ = parts(tmp_path, rows, {"one": 1, "two": 1}, by="service")
    services = {part: {row.calls[0].name[0] for row in rows} for part, rows in found.items()}
    assert not services["one"] & services["two"] and len(services["one"]) == 2


def test_the_metadata_says_which_service_a_tool_is_of():
    metadata = {"services": {"FindX": "X_1"}}
    row = example("a", "x", ["FindX", "b.c", "plain"], metadata=metadata)
    assert service_groups(row) == ["X_1", "b", "plain"]


def test_the_same_seed_gives_the_same_parts_and_another_gives_others(tmp_path):
    rows = [example(f"r{i}", f"text {i}", [f"t{i % 12}"]) for i in range(200)]
    for by in ("utterance", "tool"):
        once = parts(tmp_path, rows, by=by, seed=1)[0]
        assert parts(tmp_path, rows, by=by, seed=1)[0] == once
        assert parts(tmp_path, rows, by=by, seed=2)[0] != once


def test_what_cannot_be_split_is_said(tmp_path):
    rows = [example("a", "x", ["f"]), example("b", "y", ["f"])]
    with pytest.raises(UsageError, match="make 1 separate groups, too few for 2 parts"):
        parts(tmp_path, rows, by="tool")
    with pytest.raises(UsageError, match="--by utterance, tool or service"):
        parts(tmp_path, rows, by="colour")
    with pytest.raises(UsageError, match="share above 0"):
        parts(tmp_path, rows, {"train": 0.0})
    (tmp_path / "bad.jsonl").write_text("{\n")
    with pytest.raises(DataError, match="edgetool data validate"):
        split(tmp_path / "bad.jsonl", tmp_path / "out", SHARES)
