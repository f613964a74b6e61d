"""BFCL rows: the dialect becomes JSON Schema, the answers accepted values."""

from __future__ import annotations

import json

import pytest

from edgetool.calls.judge.match import judge
from edgetool.calls.syntaxes.base import Parsed
from edgetool.calls.types import ToolCall
from edgetool.data import bfcl
from edgetool.errors import UsageError

ROW = {
    "id": "simple_python_0",
    "question": [[{"role": "user", "content": "area of a triangle, base 10, height 5"}]],
    "function": [
        {
            "name": "area",
            "description": "Area.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "base": {"type": "float"},
                    "unit": {"type": "string"},
                    "sides": {"type": "tuple", "items": {"type": "any"}},
                },
                "required": ["base"],
            },
        }
    ],
}
ANSWER = {
    "id": "simple_python_0",
    "ground_truth": [{"area": {"base": [10], "unit": ["units", "", "u"]}}],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "possible_answer").mkdir()
    (tmp_path / "BFCL_v4_simple_python.json").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "possible_answer" / "BFCL_v4_simple_python.json").write_text(json.dumps(ANSWER))
    (tmp_path / "BFCL_v4_irrelevance.json").write_text(json.dumps(dict(ROW, id="irrelevance_0")))
    return tmp_path


def test_types_become_json_schema(folder):
    [row] = bfcl.load(folder, "simple_python")
    schema = row.tools[0].parameters
    assert schema["type"] == "object"
    assert schema["properties"]["base"] == {"type": "number"}
    assert schema["properties"]["sides"] == {"type": "array", "items": {}}


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"base": 10}, True),
        ({"base": 10, "unit": "u"}, True),
        ({"base": 10, "unit": "cm"}, False),
        ({}, False),
    ],
)
def test_answers_accept_every_listed_value_and_leave_out_optional_ones(folder, arguments, right):
    [row] = bfcl.load(folder, "simple_python")
    assert judge(Parsed((ToolCall("area", arguments),)), row.calls).exact is right


def test_irrelevance_rows_expect_no_call(folder):
    assert bfcl.load(folder, "irrelevance")[0].calls == ()


def test_an_unknown_category_lists_those_that_are_there(folder):
    with pytest.raises(UsageError, match="found: irrelevance, simple_python"):
        bfcl.load(folder, "multiple")


def test_every_shared_single_turn_row_loads(shared):
    folder = shared / "data" / "bfcl_v4"
    counts = {category: len(bfcl.load(folder, category)) for category in bfcl.categories(folder)}
    assert counts["simple_python"] == 400 and counts["irrelevance"] == 240
    assert counts["multiple"] == counts["parallel"] == counts["parallel_multiple"] == 200


def test_accepted_values_inside_objects_and_lists_of_objects_are_resolved(folder):
    nested = [{"field": ["age"], "unit": ["", "y"]}]
    answer = {"id": ROW["id"], "ground_truth": [{"area": {"base": [nested]}}]}
    path = folder / "possible_answer" / "BFCL_v4_simple_python.json"
    path.write_text(json.dumps(answer))
    [row] = bfcl.load(folder, "simple_python")
    assert row.calls[0].arguments == {"base": [{"field": "age"}]}
