"""Canonical rows: JSONL <-> Example.

    {"id": "a1", "messages": [...], "tools": [...], "calls": [{"name": ..., "arguments": {...}}]}

`calls: []` means that no tool should be called; such a row may say in `completion` what the
assistant answers instead. `"rules": "bfcl"` has a row judged by BFCL's rules and not the strict
ones. `metadata`, an object, may say where a row is from. The Hugging Face / TRL conversational form
is read too: no `calls`, and the last message is the assistant's, with `tool_calls` or plain text.
Every bad row is reported, as file:line, field, value and remedy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.calls.prompt.history import with_objects
from edgetool.calls.tools.tool_lists import entries_of
from edgetool.calls.types import RULES, STRICT, Example, ExpectedCall, Tool
from edgetool.data.check import (
    Problem,
    expected_call,
    mapping,
    text_of_parts,
    tool_of,
    without_padded_history,
)
from edgetool.data.json_text import decode
from edgetool.data.lines import row_lines, text_of
from edgetool.data.records import is_hub_id
from edgetool.errors import DataError, UsageError
from edgetool.files import building_files, open_text

EVALUATION_ONLY = "evaluation_only"  # in a row's metadata: never train on it
ROLES = ("system", "user", "assistant", "tool")
# Others are kept as columns.
FIELDS = ("id", "messages", "tools", "calls", "completion", "rules", "metadata")


def load_rows(path: Path) -> list[Example]:
    """All rows of a JSONL file, in order. Raises DataError with a line for every bad row."""
    require_rows(path, ", or `demo`")
    problems: list[str] = []
    rows = list(checked_rows(path, problems.append))
    if problems:
        raise DataError(problems)
    if not rows:
        raise no_rows(path)
    return rows


def checked_rows(path: Path, report: Callable[[str], None]) -> Iterator[Example]:
    """The good rows of a file, one at a time; each bad one is reported as file:line: what, how."""
    seen: dict[int, int] = {}  # a million ids as text would take a hundred megabytes
    for number, line in row_lines(path):
        try:
            row = parse_row(line, f"row-{number}")
            first = seen.setdefault(hash(row.id), number)
            if first != number:
                remedy = f"already used on line {first}; `edgetool data convert` gives it another"
                raise Problem("id", row.id, remedy)
        except Problem as problem:
            report(f"{path}:{number}: {problem}")
        else:
            yield row


def stream_rows(path: Path) -> Iterator[Example]:
    """The rows of a file, one at a time. Raises DataError at the first bad one, or without any."""
    require_rows(path)
    number = 0
    for number, line in row_lines(path):
        try:
            yield parse_row(line, f"row-{number}")
        except Problem as problem:
            remedy = f"type `edgetool data validate {path}` to see every bad row"
            raise DataError([f"{path}:{number}: {problem}", remedy]) from None
    if not number:
        raise no_rows(path)


def no_rows(path: Path) -> DataError:
    """The error for a file of rows that holds none."""
    return DataError([f"{path}: no rows in this file; write one JSON object a line"])


def require_rows(path: Path, instead: str = "") -> None:
    """Raises UsageError when there is no file of rows at `path`.

    instead   what else may be given, in words
    """
    if path.is_file():
        return
    command = f"edgetool data convert {path} --out rows.jsonl"
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a file of rows; type `{command}`")
    if is_hub_id(str(path)):
        raise UsageError(f"no rows at {path}; if it is a hub's data set, type `{command}`")
    raise UsageError(f"no rows at {path}; give a .jsonl file, one row a line{instead}")


def parse_row(line: str | bytes, default_id: str) -> Example:
    """One line -> Example. Raises Problem naming the field, its value and what to do."""
    text = text_of(line) if isinstance(line, bytes) else line
    try:
        row = decode(text)
    except ValueError as error:
        raise Problem(
            "line", text.strip(), f"is not JSON ({error}); write one object a line"
        ) from None
    return example_of(row, default_id)


def example_of(value: Any, default_id: str) -> Example:
    """A row's object -> Example. Raises Problem naming the field, its value and what to do."""
    row = _without_null_fields(mapping("row", value))
    listed = entries_of(_list(row, "tools"))
    tools = tuple(tool_of(f"tools[{i}]", tool) for i, tool in enumerate(listed))
    messages = [checked_message(f"messages[{i}]", m) for i, m in enumerate(_list(row, "messages"))]
    if not messages:
        raise Problem("messages", messages, "needs at least one message, the user's")
    calls, completion = row.get("calls"), row.get("completion")
    if "calls" not in row:
        calls, completion = _pop_answer(messages)
    if not isinstance(calls, list):
        raise Problem("calls", calls, "must be a list; [] means that no tool should be called")
    if calls:
        completion = None  # what the calls are written as is the call syntax's business
    elif completion is not None and not isinstance(completion, str):
        raise Problem("completion", completion, "must be text")
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Problem("tools", twice, "is the name of two tools; rename one")
    expected = tuple(expected_call(f"calls[{i}]", call, tools) for i, call in enumerate(calls))
    id_ = row.get("id", default_id)
    if not isinstance(id_, str | int):
        raise Problem("id", id_, "must be a string")
    rules = row.get("rules", STRICT)
    if rules not in RULES:
        raise Problem("rules", rules, f"must be one of {', '.join(RULES)}")
    metadata = mapping("metadata", row.get("metadata", {}))
    by_name = {tool.name: tool for tool in tools}
    columns = {name: value for name, value in row.items() if name not in FIELDS}
    history = tuple(without_padded_history(one, by_name) for one in with_objects(messages))
    return Example(str(id_), history, tools, expected, completion, rules, metadata, columns)


def _without_null_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Null stands for a field that other rows of the same table have, and this one has not."""
    return {key: value for key, value in row.items() if value is not None or key not in FIELDS}


def _list(row: dict[str, Any], field: str) -> list[Any]:
    value = row.get(field)
    if isinstance(value, str) and field == "tools":  # data sets keep nested columns as JSON text
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Problem(field, value, "is not JSON; give a list") from None
    if value is None:
        raise Problem(field, None, f'is missing; add "{field}": [...]')
    if not isinstance(value, list):
        raise Problem(field, value, "must be a list")
    return value


def checked_message(field: str, value: Any) -> dict[str, Any]:
    """One message of a row, with a known role and text or calls. Raises Problem."""
    if not isinstance(value, dict):
        remedy = 'must be a message such as {"role": "user", "content": "..."}'
        raise Problem(field, value, remedy)
    message = value
    if message.get("role") == "developer":  # OpenAI's newer name; chat templates know the older
        message = {**message, "role": "system"}
    if message.get("role") not in ROLES:
        raise Problem(f"{field}.role", message.get("role"), f"must be one of {', '.join(ROLES)}")
    content = text_of_parts(f"{field}.content", message.get("content"))
    if content is not None and not isinstance(content, str):
        raise Problem(f"{field}.content", content, "must be text")
    if content is None and not message.get("tool_calls"):
        raise Problem(f"{field}.content", None, "is missing; a message needs text or tool_calls")
    if message["role"] == "user" and not (content or "").strip():
        raise Problem(f"{field}.content", content, "is empty; write what the user said")
    fields = {key: inner for key, inner in message.items() if inner is not None or key == "content"}
    return {**fields, "content": content} if isinstance(message.get("content"), list) else fields


def _pop_answer(messages: list[dict[str, Any]]) -> tuple[Any, str | None]:
    """What the last, assistant's, message of a conversational row does: its calls, or its words."""
    if messages[-1]["role"] != "assistant":
        remedy = 'is missing; add "calls": [...] or end the messages with the assistant\'s turn'
        raise Problem("calls", None, remedy)
    if len(messages) == 1:
        raise Problem("messages", messages[-1], "needs a user's message before the assistant's")
    last = messages.pop()
    calls = last.get("tool_calls") or []
    if not isinstance(calls, list):
        raise Problem("messages[-1].tool_calls", calls, "must be a list")
    if not calls:
        return [], last.get("content") or None
    return [call.get("function", call) if isinstance(call, dict) else call for call in calls], None


def line_of(example: Example) -> str:
    """Example -> one line of canonical JSONL. `parse_row(line_of(e), e.id) == e`.

    The tools come last, where their text, which is kept, needs only to be appended.
    """
    row: dict[str, Any] = {
        "id": example.id,
        "messages": example.messages,
        "calls": [_call_row(call) for call in example.calls],
        **example.columns,
    }
    if example.rules != STRICT:
        row["rules"] = example.rules
    if example.completion is not None:
        row["completion"] = example.completion
    if example.metadata:
        row["metadata"] = example.metadata
    tools = ", ".join([_tool_text(tool) for tool in example.tools])
    return f'{dumps(row)[:-1]}, "tools": [{tools}]}}\n'


@lru_cache(maxsize=8192)
def _tool_text(tool: Tool) -> str:
    """Kept: most of a row is its tools, and rows offer the same ones again and again."""
    return dumps(tool.as_openai())


def row_of(example: Example) -> dict[str, Any]:
    """Example -> canonical row, the object that `line_of` writes."""
    row: dict[str, Any] = json.loads(line_of(example))
    return row


def _call_row(call: ExpectedCall) -> dict[str, Any]:
    row: dict[str, Any] = call.as_json()
    if call.alternatives:
        row["alternatives"] = {name: list(values) for name, values in call.alternatives.items()}
    if call.optional:
        row["optional"] = sorted(call.optional)
    if call.bfcl is not None:
        row["bfcl"] = dict(call.bfcl)
    return row


def write_rows(path: Path, examples: Iterable[Example]) -> None:
    """Write canonical JSONL: complete under its name, or not there at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with building_files([path]) as (part,), open_text(part) as file:
        for example in examples:
            file.write(line_of(example))
