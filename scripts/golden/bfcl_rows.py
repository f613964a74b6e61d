"""Hand-written rows in BFCL's dialect: every declared type beside every kind of answer."""

from __future__ import annotations

from typing import Any


def _row(name: str, properties: dict[str, Any], required: list[str], *answers: Any) -> Any:
    function = {
        "name": name,
        "description": name,
        "parameters": {"type": "dict", "properties": properties, "required": required},
    }
    category = "parallel" if len(answers) > 1 else "simple_python"
    found = [{name: answer} for answer in answers]
    return {"category": category, "id": name, "functions": [function], "answers": found}


def _of(kind: str, items: str | None = None) -> dict[str, Any]:
    return {"type": kind} if items is None else {"type": kind, "items": {"type": items}}


ROWS: list[dict[str, Any]] = [
    _row("text", {"a": _of("string")}, ["a"], {"a": ["New York, NY", "NYC"]}),
    _row("optional_text", {"a": _of("string")}, [], {"a": ["it's", ""]}),
    _row("required_but_offered", {"a": _of("string")}, ["a"], {"a": ["x-y", ""]}),
    _row("empty_text", {"a": _of("string"), "b": _of("integer")}, [], {"a": [""], "b": [1]}),
    _row("whole", {"a": _of("integer")}, ["a"], {"a": [3, 4]}),
    _row("real", {"a": _of("float")}, ["a"], {"a": [3.0, 2.5]}),
    _row("real_by_int", {"a": _of("float")}, ["a"], {"a": [3]}),
    _row("whole_by_text", {"a": _of("integer")}, ["a"], {"a": ["count"]}),
    _row("truth", {"a": _of("boolean")}, ["a"], {"a": [True]}),
    _row("truth_by_int", {"a": _of("boolean")}, ["a"], {"a": [1]}),
    _row("nothing", {"a": _of("string")}, [], {"a": [None, "none"]}),
    _row("anything", {"a": _of("any")}, ["a"], {"a": [5, "five"]}),
    _row("any_text", {"a": _of("any")}, ["a"], {"a": ["five"]}),
    _row("texts", {"a": _of("array", "string")}, ["a"], {"a": [["Ann B.", "Bob"], ["Ann"]]}),
    _row("texts_or_not", {"a": _of("array", "string")}, [], {"a": [["x"], ""]}),
    _row("wholes", {"a": _of("array", "integer")}, ["a"], {"a": [[1, 2, 3]]}),
    _row("reals", {"a": _of("array", "float")}, ["a"], {"a": [[1.0, 2.5]]}),
    _row("reals_by_ints", {"a": _of("array", "float")}, ["a"], {"a": [[1, 2]]}),
    _row("a_pair", {"a": _of("tuple", "float")}, ["a"], {"a": [[0.5, 1.5]]}),
    _row("lists", {"a": _of("array", "array")}, ["a"], {"a": [[[1, 2], [3]]]}),
    _row("list_by_text", {"a": _of("array", "string")}, ["a"], {"a": ["values"]}),
    _row("record", {"a": _of("dict")}, ["a"], {"a": [{"x": [1, 2], "y": ["A b", ""]}]}),
    _row("records_or", {"a": _of("dict")}, [], {"a": ["", {"x": [1]}, {"z": ["q"]}]}),
    _row("deep_record", {"a": _of("dict")}, ["a"], {"a": [{"x": [{"y": 1}], "z": [[1, 2]]}]}),
    _row(
        "objects",
        {"a": _of("array", "dict")},
        ["a"],
        {"a": [[{"k": ["a", "b"]}, {"k": ["c"], "n": [1, ""]}]]},
    ),
    _row("objects_or_not", {"a": _of("array", "dict")}, [], {"a": [[{"k": [1]}], ""]}),
    _row(
        "several",
        {"a": _of("string"), "b": _of("integer"), "c": _of("float")},
        ["a", "b"],
        {"a": ["x"], "b": [1], "c": [0.5, ""]},
    ),
    _row("unknown_parameter", {"a": _of("string")}, ["a"], {"a": ["x"], "b": ["y", ""]}),
    _row("twice", {"a": _of("integer")}, ["a"], {"a": [1]}, {"a": [2]}),
    _row("same_twice", {"a": _of("integer")}, ["a"], {"a": [1]}, {"a": [1]}),
    _row("narrow_first", {"a": _of("integer")}, ["a"], {"a": [1]}, {"a": [1, 2]}),
]
