"""Berkeley Function Calling Leaderboard v4, single-turn categories -> Example. Evaluation only.

BFCL's dialect writes `dict`, `float`, `tuple`, `any` for JSON types, and its answers list several
accepted values per argument, "" among them when the argument may be left out
(Patil et al., ICML 2025; data under Apache-2.0). Its rows are judged by its own rules, which read
the answers as they are spelled; what the strict rule reads is made from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgetool.calls.tools.dialects import json_schema
from edgetool.calls.tools.nulls import without_null_keywords
from edgetool.calls.types import BFCL, Example, ExpectedCall, Tool
from edgetool.data.check import Problem, mapping
from edgetool.data.json_text import decode
from edgetool.data.lines import numbered_lines, text_of
from edgetool.data.rows import EVALUATION_ONLY
from edgetool.errors import DataError, UsageError

PREFIX = "BFCL_v4_"
_NO_CALL = ("irrelevance", "live_irrelevance")


def load(folder: Path, category: str) -> list[Example]:
    """Rows of one category from a folder with BFCL_v4_*.json and possible_answer/.

    Raises UsageError for a category that is not there, DataError for rows that cannot be read.
    """
    known = categories(folder)
    if category not in known:
        listed = ", ".join(known) or "none"
        raise UsageError(f"no BFCL category '{category}' in {folder}; found: {listed}")
    answers = _answers(folder, category)
    rows, problems = [], []
    for row in _lines(folder / f"{PREFIX}{category}.json"):
        try:
            rows.append(example(row, answers.get(row["id"], [])))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            problems.append(f"{category}: row {row.get('id')}: {error!r} while reading it")
    if problems:
        raise DataError(problems)
    return rows


def categories(folder: Path) -> tuple[str, ...]:
    """Categories in the folder that can be scored: those with answers, and those without calls."""
    found = []
    for path in sorted(folder.glob(f"{PREFIX}*.json")):
        category = path.stem.removeprefix(PREFIX)
        if category in _NO_CALL or (folder / "possible_answer" / path.name).is_file():
            found.append(category)
    return tuple(found)


def _answers(folder: Path, category: str) -> dict[str, Any]:
    if category in _NO_CALL:
        return {}
    path = folder / "possible_answer" / f"{PREFIX}{category}.json"
    return {row["id"]: row["ground_truth"] for row in _lines(path)}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in numbered_lines(path):
        try:
            yield mapping("row", decode(text_of(line)))
        except Problem as problem:
            raise DataError([f"{path}:{number}: {problem}"]) from None
        except ValueError as error:
            raise DataError([f"{path}:{number}: is not JSON ({error})"]) from None


def example(row: dict[str, Any], answer: list[dict[str, Any]]) -> Example:
    """A row and its answer as BFCL spells them. Raises ValueError when it has several turns, and
    KeyError, TypeError or AttributeError when it is none of BFCL's."""
    turns = row["question"]
    if len(turns) != 1:
        raise ValueError(f"{len(turns)} turns; only single-turn rows are supported")
    tools = tuple(_tool(function) for function in row["function"])
    by_name = {tool.name: tool for tool in tools}
    calls = tuple(
        expected_call(by_name[name], accepted) for call in answer for name, accepted in call.items()
    )
    messages, metadata = tuple(turns[0]), {EVALUATION_ONLY: True}
    return Example(row["id"], messages, tools, calls, rules=BFCL, metadata=metadata)


def _tool(function: dict[str, Any]) -> Tool:
    schema = json_schema(function["parameters"])
    return Tool(function["name"], function["description"], without_null_keywords(schema))


def expected_call(tool: Tool, accepted: dict[str, list[Any]]) -> ExpectedCall:
    """One call of an answer: the accepted values of each argument, "" where it may be left out.

    Some answers offer values for an argument that the tool does not have, or none but "".
    """
    arguments: dict[str, Any] = {}
    alternatives: dict[str, tuple[Any, ...]] = {}
    for argument, values in accepted.items():
        spelled = [_flat(value) for value in values if value != ""]
        unknown = argument not in tool.parameters["properties"]
        if argument not in tool.required and "" in values and (unknown or not spelled):
            continue  # it can only be left out
        spelled = spelled or [""]
        arguments[argument] = spelled[0]
        if len(spelled) > 1:
            alternatives[argument] = tuple(spelled[1:])
    optional = frozenset(argument for argument in arguments if "" in accepted[argument])
    return ExpectedCall(tool.name, arguments, alternatives, optional, accepted)


def _flat(value: Any) -> Any:
    """Inside an object BFCL lists accepted values per key; the first stands for all of them, and a
    key that may be left out ("" comes first) is left out."""
    if isinstance(value, list):
        return [_flat(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    first = {key: v[0] if isinstance(v, list) and v else v for key, v in value.items()}
    return {key: _flat(inner) for key, inner in first.items() if inner != ""}
