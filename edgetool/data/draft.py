"""A row as an importer read it, and the one place where it becomes an Example.

Importers only take a data set's own spelling apart; names, schemas and calls are checked here, so
that every data set is held to the same rules as a row that somebody wrote by hand.
"""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgetool.calls.tools.coerce import reading
from edgetool.calls.tools.dialects import bare, parameters_schema, spellable
from edgetool.calls.tools.tool_lists import entries_of, no_tool
from edgetool.calls.types import Example, JsonObject, Message, Tool
from edgetool.data.check import (
    Problem,
    expected_call,
    mapping,
    require_text,
    tool_of,
    without_padded_history,
)
from edgetool.data.json_text import decode
from edgetool.data.rows import checked_message

_KEPT = 8192  # tools


@dataclass(frozen=True)
class Draft:
    """Messages before the turn, tools in any dialect, and the calls wanted: {"name", "arguments"}.

    A call may also carry `alternatives` and `optional` as canonical rows do.
    left_out   what the record has and the row has not, in words: "thoughts"
    """

    messages: Sequence[Message]
    tools: Sequence[Any]
    calls: Sequence[Any]
    completion: str | None = None
    metadata: JsonObject = field(default_factory=dict)
    left_out: Sequence[str] = ()

    def as_json(self) -> JsonObject:
        """What a rejected row shows."""
        return {"messages": list(self.messages), "tools": self.tools, "calls": self.calls}


def finish(draft: Draft, *, coerce: bool = False, fit: bool = True) -> Example:
    """The checked row, whose id is still empty.

    coerce   read values of the wrong JSON type as the right one where there is one way to
    fit      values must fit their schemas; a test set's published answers count as they stand

    Raises Problem naming the field, its value and what to do.
    """
    tools, spelled = _tools(draft.tools)
    by_name = {tool.name: tool for tool in tools}
    renamed = (_renamed(message, spelled) for message in draft.messages)
    messages = tuple(without_padded_history(message, by_name) for message in renamed)
    for i, message in enumerate(messages):
        checked_message(f"messages[{i}]", message)
    if not any(message["role"] == "user" for message in messages):
        raise Problem(
            "messages", list(messages), "has no user's message before the assistant's turn"
        )
    wanted = [{**call, "name": spelled.get(call["name"], call["name"])} for call in _named(draft)]
    if coerce:
        wanted = [_coerced(call, by_name.get(call["name"])) for call in wanted]
    calls = tuple(
        expected_call(f"calls[{i}]", call, tools, fit=fit) for i, call in enumerate(wanted)
    )
    completion = None if calls else draft.completion
    if completion is not None:
        require_text("completion", completion)
    return Example("", messages, tools, calls, completion, metadata=draft.metadata)


def _tools(raw: Sequence[Any]) -> tuple[tuple[Tool, ...], dict[str, str]]:
    """The tools, each once, and original name -> spelled name."""
    tools: dict[str, Tool] = {}
    spelled = {}
    for i, value in enumerate(entries_of(list(raw))):
        key = marshal.dumps(value, 2)  # to look the tool up by; never read back
        name, tool = _known.get(key) or _learn(key, f"tools[{i}]", value)
        spelled[name] = tool.name
        if tools.setdefault(tool.name, tool) != tool:
            raise Problem("tools", tool.name, "is the name of two different tools; rename one")
    if not tools:
        raise Problem("tools", list(raw), "offers no tool; a row needs at least one")
    return tuple(tools.values()), spelled


# Data sets offer the same tools again and again, and reading one costs more than reading a row.
_known: dict[bytes, tuple[str, Tool]] = {}


def _learn(key: bytes, field: str, value: Any) -> tuple[str, Tool]:
    learned = _tool(field, value)
    if len(_known) >= _KEPT:
        _known.clear()
    _known[key] = learned
    return learned


def _tool(field: str, value: Any) -> tuple[str, Tool]:
    entry = mapping(field, json_value(field, value) if isinstance(value, str) else value)
    if problem := no_tool(entry):
        raise Problem(field, entry, problem)
    raw = bare(entry)
    name = spellable(raw.name) if isinstance(raw.name, str) else raw.name
    parameters = parameters_schema(raw, lenient=True)
    function = {"name": name, "description": raw.description, "parameters": parameters}
    return raw.name, tool_of(field, function)


def _named(draft: Draft) -> list[JsonObject]:
    for i, call in enumerate(draft.calls):
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise Problem(f"calls[{i}]", call, 'must be {"name": ..., "arguments": {...}}')
    return list(draft.calls)


def _coerced(call: JsonObject, tool: Tool | None) -> JsonObject:
    """ToolRL, Seal-Tools and API-Bank write many values as text: "1" where an integer is wanted."""
    if tool is None or not isinstance(call.get("arguments"), dict):
        return call
    properties = tool.parameters["properties"]
    read = {name: reading(one, properties.get(name, {})) for name, one in call["arguments"].items()}
    return {**call, "arguments": read}


def _renamed(message: Message, spelled: dict[str, str]) -> Message:
    """The message with its calls under the names that the row's tools carry."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    functions = [call["function"] for call in calls]
    renamed = [{**f, "name": spelled.get(f["name"], f["name"])} for f in functions]
    return {**message, "tool_calls": [{"type": "function", "function": f} for f in renamed]}


def call_of(field: str, value: Any) -> JsonObject:
    """A call in any spelling -> {"name", "arguments"}: OpenAI's wrapper, `parameters` for
    `arguments`, arguments as an object or as its JSON text. Raises Problem."""
    if isinstance(value, str):
        value = json_value(field, value)
    entry = value.get("function", value) if isinstance(value, dict) else value
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise Problem(field, value, 'is no call; give {"name": ..., "arguments": {...}}')
    arguments = entry.get("arguments", entry.get("parameters"))
    if isinstance(arguments, str):
        arguments = json_value(f"{field}.arguments", arguments or "{}")
    return {"name": entry["name"], "arguments": {} if arguments is None else arguments}


def json_value(field: str, text: str) -> Any:
    """The value of JSON text. Raises Problem when it is not JSON, or nested absurdly deep."""
    try:
        return decode(text)
    except ValueError:
        raise Problem(field, text, "is not JSON") from None


def json_list(field: str, value: Any) -> list[Any]:
    """A list, or JSON text of one; a single object counts as a list of one. Raises Problem."""
    if isinstance(value, str):
        value = json_value(field, value or "[]")
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list):
        raise Problem(field, value, "must be a list")
    return value
