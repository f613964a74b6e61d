"""Berkeley Function Calling Leaderboard v4, single-turn Python categories. Evaluation only.

An answer lists the values it accepts; the first that fits the tool's schema becomes the row's
argument and the other fitting ones its alternatives. An argument that may be left out and has no
value that fits is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgetool.calls.tools.dialects import json_schema
from edgetool.calls.tools.validation import misfit
from edgetool.calls.types import ExpectedCall, JsonObject, Tool
from edgetool.data import bfcl
from edgetool.data.check import Problem, mapping
from edgetool.data.draft import Draft, json_list
from edgetool.errors import UsageError

NAME = "bfcl"
ABOUT = "BFCL v4, single-turn Python categories (evaluation only)"
EVALUATION_ONLY = True
_ANSWERS = "possible_answer"
_NO_CALL = ("irrelevance", "live_irrelevance")
# Category (a part of its name) -> why its rows cannot become rows here.
_UNSUPPORTED = {
    "multi_turn": "multi-turn categories are scored by running their tools",
    "memory": "agentic categories are scored by running their tools",
    "web_search": "agentic categories are scored by running their tools",
    "relevance": "it has no answers: any call counts as right",
    "java": "its answers are Java or JavaScript source",
    "format_sensitivity": "it repeats other categories under other prompts",
}


def recognises(record: dict[str, Any]) -> bool:
    return {"id", "question", "function"} <= set(record) or (
        {"id", "question"} <= set(record) and str(record["id"]).startswith("multi_turn")
    )


def is_companion(path: Path) -> bool:
    return path.parent.name == _ANSWERS


def companions(path: Path) -> dict[str, Any] | None:
    """Answers by row; None for a category where no call is right.

    Raises UsageError naming the category when its rows are not supported or have no answers.
    """
    category = path.stem.removeprefix(bfcl.PREFIX)
    if category in _NO_CALL:
        return None
    for part, reason in _UNSUPPORTED.items():
        if part in category:
            raise UsageError(f"{path}: BFCL's {category} is not supported: {reason}")
    answers = path.parent / _ANSWERS / path.name
    if not answers.is_file():
        raise UsageError(f"{path}: BFCL's {category} needs its answers in {answers}")
    rows = map(json.loads, answers.read_text(encoding="utf-8").splitlines())
    return {row["id"]: row["ground_truth"] for row in rows}


def drafts(record: dict[str, Any], companions: dict[str, Any] | None) -> Iterator[Draft]:
    turns = json_list("question", record["question"])
    if len(turns) != 1:
        raise Problem("question", turns, f"has {len(turns)} turns; only single turns are supported")
    functions = json_list("function", record["function"])
    schemas = {
        function.get("name"): json_schema(function.get("parameters") or {}, lenient=True)
        for function in (mapping(f"function[{i}]", value) for i, value in enumerate(functions))
    }
    calls = []
    if companions is not None:
        if record["id"] not in companions:
            raise Problem("id", record["id"], "has no answer")
        for answer in companions[record["id"]]:
            calls += [_call(name, values, schemas.get(name, {})) for name, values in answer.items()]
    yield Draft(turns[0], functions, calls, metadata={"id": record["id"]})


def _call(name: str, accepted: dict[str, list[Any]], schema: JsonObject) -> JsonObject:
    properties = schema.get("properties", {})
    tool = Tool(name, "", {**schema, "properties": properties})
    expected = bfcl.expected_call(tool, accepted)
    arguments, alternatives = {}, {}
    for argument in expected.arguments:
        values = _fitting(expected, argument, properties.get(argument))
        if values:
            arguments[argument] = values[0]
            if values[1:]:
                alternatives[argument] = values[1:]
        elif argument not in expected.optional:
            arguments[argument] = expected.arguments[argument]  # the check will say what is wrong
    optional = sorted(expected.optional & set(arguments))
    return {
        "name": name,
        "arguments": arguments,
        "alternatives": alternatives,
        "optional": optional,
    }


def _fitting(expected: ExpectedCall, argument: str, schema: JsonObject | None) -> list[Any]:
    if schema is None:
        return list(expected.accepted(argument))
    alone = Tool(expected.name, "", {"type": "object", "properties": {argument: schema}})
    return [v for v in expected.accepted(argument) if misfit({argument: v}, alone) is None]
