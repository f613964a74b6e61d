"""BFCL's rules, by hand and against recorded verdicts of BFCL's own checker."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from edgetool.calls.judge.bfcl import compare
from edgetool.calls.judge.match import judge, judge_example
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import BFCL, ExpectedCall, Tool, ToolCall
from edgetool.data import bfcl
from edgetool.data.rows import parse_row, row_of

GOLDEN = Path(__file__).parent / "golden" / "bfcl.jsonl"  # by scripts/bfcl_agreement.py
ENTRIES = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
OWN = [entry for entry in ENTRIES if "functions" in entry]
SHARED = [entry for entry in ENTRIES if "functions" not in entry]


def tool(**properties):
    return Tool("f", "", {"type": "object", "properties": properties, "required": []})


def right(schema, accepted, value) -> bool:
    want = ExpectedCall("f", bfcl={"a": accepted})
    return not compare(ToolCall("f", {"a": value}), want, tool(a=schema)).mistakes


TEXT, WHOLE, REAL = {"type": "string"}, {"type": "integer"}, {"type": "number"}


@pytest.mark.parametrize(
    ("schema", "accepted", "value", "is_right"),
    [
        (TEXT, ["New York, NY"], "new york ny", True),  # case, space and comma do not count
        (TEXT, ["3/4-inch_x*^."], "34inchx", True),  # nor do / - _ * ^ .
        (TEXT, ["it's"], 'it"s', True),  # nor which quotes
        (TEXT, ["a;b"], "ab", False),  # but ; does
        (TEXT, ["5"], 5, False),
        (WHOLE, [3], 3, True),
        (WHOLE, [3], 3.0, False),  # a float is no integer
        (WHOLE, [1], True, False),  # nor is a truth value
        (REAL, [3.0], 3, True),  # an int passes for a float
        (REAL, [3], 3.0, True),
        (REAL, [3.0], "3.0", False),
        ({"type": "array", "items": REAL}, [[1.0, 2.5]], [1, 2.5], False),  # not inside a list
        ({"type": "array", "items": TEXT}, [["Ann B.", "Bob"]], ["ann b", "BOB"], True),
        ({"type": "array", "items": TEXT}, [["Ann", "Bob"]], ["Bob", "Ann"], False),  # in order
        ({"type": "array", "items": TEXT}, [["Ann"], ["Bob"]], ["Bob"], True),
        ({"type": "array", "items": TEXT}, ["values"], "values", True),  # as the answer has it
        ({"type": "array", "items": TEXT}, ["values"], "Values", False),  # and as it stands
        ({"type": "object"}, [{"x": [1, 2], "y": ["A b", ""]}], {"x": 2}, True),
        ({"type": "object"}, [{"x": [1, 2], "y": ["A b", ""]}], {"x": 2, "y": "ab"}, True),
        ({"type": "object"}, [{"x": [1, 2], "y": ["A b", ""]}], {"y": "ab"}, False),
        ({"type": "object"}, [{"x": [1]}], {"x": 1, "z": 0}, False),
        ({"type": "object"}, ["", {"x": [1]}, {"z": [2]}], {"z": 2}, True),
        ({"type": "array", "items": {"type": "object"}}, [[{"k": ["a"]}]], [{"k": "A"}], True),
        ({"type": "array", "items": {"type": "object"}}, [[{"k": ["a"]}]], [], False),
    ],
)
def test_whether_a_value_is_right(schema, accepted, value, is_right):
    assert right(schema, accepted, value) is is_right


def test_a_required_argument_may_not_be_left_out_whatever_the_answer_offers():
    want = ExpectedCall("f", bfcl={"a": ["x", ""]})
    required = Tool("f", "", {"type": "object", "properties": {"a": TEXT}, "required": ["a"]})
    assert not compare(ToolCall("f", {}), want, tool(a=TEXT)).mistakes
    [mistake] = compare(ToolCall("f", {}), want, required).mistakes
    assert mistake.kind == "missing_argument" and mistake.path == "a"


def test_credit_is_given_per_argument():
    # a right, b of the wrong type, c extra: 1 of 3
    want = ExpectedCall("f", bfcl={"a": ["x"], "b": [1]})
    found = compare(ToolCall("f", {"a": "X", "b": "1", "c": 0}), want, tool(a=TEXT, b=WHOLE))
    assert found.share == pytest.approx(1 / 3)
    assert [m.kind for m in found.mistakes] == ["wrong_type", "extra_argument"]


def test_mistakes_inside_an_object_are_told_by_their_path():
    schema = {"type": "array", "items": {"type": "object"}}
    want = ExpectedCall("f", bfcl={"a": [[{"k": ["x"]}, {"k": ["y", "z"]}]]})
    call = ToolCall("f", {"a": [{"k": "X"}, {"k": "w"}]})
    [mistake] = compare(call, want, tool(a=schema)).mistakes
    assert (mistake.kind, mistake.path, mistake.got) == ("wrong_value", "a[1].k", "w")
    assert str(mistake) == 'a[1].k = "w", expected one of "y", "z"'


def test_a_row_that_is_not_bfcls_can_be_judged_by_its_rules():
    want = ExpectedCall(
        "f",
        {"a": {"x": "Oslo"}, "n": 2},
        alternatives={"n": (3,)},
        optional=frozenset({"n"}),
    )
    for arguments in ({"a": {"x": "oslo"}}, {"a": {"x": "oslo"}, "n": 3}):
        verdict = judge(Parsed((ToolCall("f", arguments),)), [want], rules=BFCL)
        assert verdict.exact
    assert not judge(Parsed((ToolCall("f", {"a": {"x": "oslo"}}),)), [want]).exact  # strictly


def verdicts(example, cases):
    for calls, valid in cases:
        made = tuple(ToolCall(name, args) for call in calls for name, args in call.items())
        yield calls, judge_example(Parsed(made), example).exact, valid


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry["id"])
def test_verdicts_are_those_of_bfcls_checker(entry):
    row = {
        **entry,
        "question": [[{"role": "user", "content": "?"}]],
        "function": entry["functions"],
    }
    example = bfcl.example(row, entry["answers"])
    wrong = [
        (calls, theirs)
        for calls, ours, theirs in verdicts(example, entry["cases"])
        if ours != theirs
    ]
    assert wrong == []


def test_verdicts_on_shared_rows_are_those_of_bfcls_checker(shared):
    @functools.cache
    def rows(category):
        return {row.id: row for row in bfcl.load(shared / "data" / "bfcl_v4", category)}

    wrong = [
        (entry["id"], calls, theirs)
        for entry in SHARED
        for calls, ours, theirs in verdicts(rows(entry["category"])[entry["id"]], entry["cases"])
        if ours != theirs
    ]
    assert wrong == []
    assert len(SHARED) > 500


def test_shared_rows_keep_their_rules_through_canonical_rows(shared):
    folder = shared / "data" / "bfcl_v4"
    for category in bfcl.categories(folder):
        for row in bfcl.load(folder, category):
            assert parse_row(json.dumps(row_of(row)), "") == row
