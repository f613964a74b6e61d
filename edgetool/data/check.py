"""Checks of the parts of a row. A Problem names the field, the value and the remedy."""

from __future__ import annotations

import json
import marshal
import re
from typing import Any

import jsonschema_rs

from edgetool.calls.json_text import INVALID, dumps, loads
from edgetool.calls.prompt.content_parts import joined_text
from edgetool.calls.prompt.history import as_object
from edgetool.calls.schema.tree import of_tool, unknown_arguments
from edgetool.calls.tools.dialects import Raw, bare, parameters_schema
from edgetool.calls.tools.nulls import without_padding
from edgetool.calls.tools.tool_lists import no_tool
from edgetool.calls.tools.validation import misfit
from edgetool.calls.types import ExpectedCall, Message, Tool
from edgetool.errors import UsageError
from edgetool.terminal import clipped

_NAME = re.compile(r"[^\s\"\\\x00-\x1f]{1,256}")
_SHOWN = 60
_KEPT = 8192  # tools


class Problem(Exception):
    """What is wrong with one field of one row; `load_rows` collects these."""

    def __init__(self, field: str, value: Any, remedy: str) -> None:
        shown = json.dumps(value, ensure_ascii=False, default=str)
        super().__init__(f"{field} {clipped(shown, _SHOWN)} {remedy}")


def mapping(field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Problem(field, value, "must be a JSON object")
    return value


def require_text(field: str, value: Any) -> str:
    """The value, when it is text. Raises Problem otherwise."""
    if not isinstance(value, str):
        raise Problem(field, value, "must be text")
    return value


def text_of_parts(field: str, content: Any) -> Any:
    """Content as text where it came in parts. Raises Problem for a part that is no text."""
    try:
        return joined_text(content)
    except ValueError as error:
        raise Problem(field, content, f"cannot be used: {error}") from None


def tool_of(field: str, value: Any) -> Tool:
    """A tool in any of the dialects of `calls.dialects`. Raises Problem."""
    key = marshal.dumps(value, 2)  # to look the tool up by; never read back
    tool = _known.get(key)
    if tool is None:
        tool = _checked_tool(field, value)
        if len(_known) >= _KEPT:
            _known.clear()
        _known[key] = tool
    return tool


# Rows offer the same tools again and again, and checking one costs more than reading a row.
_known: dict[bytes, Tool] = {}


def _checked_tool(field: str, value: Any) -> Tool:
    entry = mapping(field, value)
    if problem := no_tool(entry):
        raise Problem(field, entry, problem)
    raw = bare(entry)
    if not isinstance(raw.name, str) or not _NAME.fullmatch(raw.name):
        raise Problem(f"{field}.name", raw.name, "must be text without white space or quotes")
    if not isinstance(raw.description, str):
        raise Problem(f"{field}.description", raw.description, "must be text")
    return Tool(raw.name, raw.description, _parameters(f"{field}.parameters", raw))


def _parameters(field: str, raw: Raw) -> dict[str, Any]:
    mapping(field, raw.parameters)
    schema = parameters_schema(raw)
    if schema.get("type", "object") != "object":
        raise Problem(f"{field}.type", schema["type"], 'must be "object": arguments have names')
    properties = mapping(f"{field}.properties", schema.get("properties") or {})
    schema = {**schema, "type": "object", "properties": properties}
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        where = ".".join(str(part) for part in error.instance_path)
        raise Problem(field, where or schema, f"is no JSON Schema: {error.message}") from None
    except (ValueError, RecursionError) as error:
        raise Problem(field, schema, f"is no JSON Schema: {error}") from None
    return schema


def expected_call(
    field: str, value: Any, tools: tuple[Tool, ...], *, fit: bool = True
) -> ExpectedCall:
    """A call the row asks for; its tool must be on offer and its arguments be parameters of it.

    fit   they must also fit its schema
    """
    entry = mapping(field, value)
    tool = _tool_named(field, entry.get("name"), tools)
    arguments = as_object(entry.get("arguments"))
    if isinstance(arguments, str) and loads(arguments) is INVALID:
        raise Problem(f"{field}.arguments", arguments, "is not JSON; give an object")
    arguments = mapping(f"{field}.arguments", arguments)
    if (
        entry.get("bfcl") is None
    ):  # BFCL's answers need not fit the schema, and are no model's to learn
        arguments = without_padding(arguments, tool.parameters)
        _check_names(f"{field}.arguments", arguments, tool)
        if fit:
            _check_values(f"{field}.arguments", arguments, tool)
    if not any(entry.get(key) is not None for key in ("alternatives", "optional", "bfcl")):
        return ExpectedCall(tool.name, arguments)
    alternatives = mapping(f"{field}.alternatives", entry.get("alternatives") or {})
    optional = entry.get("optional") or []
    for name in [*alternatives, *optional]:
        if name not in arguments:
            raise Problem(
                f"{field}.arguments", name, "has alternatives or is optional, but no value"
            )
    listed = {name: tuple(values) for name, values in alternatives.items()}
    return ExpectedCall(tool.name, arguments, listed, frozenset(optional), _bfcl(field, entry))


def without_padded_history(message: Message, by_name: dict[str, Tool]) -> Message:
    """An earlier turn, its calls' arguments without nulls that their tools have no place for."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_unpadded_call(call, by_name) for call in calls]}


def _unpadded_call(call: Any, by_name: dict[str, Tool]) -> Any:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), dict):
        return call
    tool = by_name.get(function.get("name", ""))
    if tool is None:
        return call
    arguments = without_padding(function["arguments"], tool.parameters)
    bare = {**function, "arguments": arguments}
    return {**call, "function": bare} if "function" in call else bare


def _bfcl(field: str, entry: dict[str, Any]) -> dict[str, list[Any]] | None:
    """BFCL's own answer, which a row taken from it keeps for BFCL's rules."""
    if entry.get("bfcl") is None:
        return None
    answer = mapping(f"{field}.bfcl", entry["bfcl"])
    for name, values in answer.items():
        if not isinstance(values, list):
            raise Problem(f"{field}.bfcl.{name}", values, "must be a list of accepted values")
    return answer


def _tool_named(field: str, name: Any, tools: tuple[Tool, ...]) -> Tool:
    for tool in tools:
        if tool.name == name:
            return tool
    offered = ", ".join(tool.name for tool in tools) or "none"
    raise Problem(f"{field}.name", name, f"is not among the row's tools ({offered})")


def _check_names(field: str, arguments: dict[str, Any], tool: Tool) -> None:
    for name in unknown_arguments(tool, arguments):
        known = ", ".join(of_tool(tool).names) or "none"
        raise Problem(
            f"{field}.{name}", arguments[name], f"is no parameter of {tool.name} ({known})"
        )


def _check_values(field: str, arguments: dict[str, Any], tool: Tool) -> None:
    try:
        error = misfit(arguments, tool)
    except (ValueError, UsageError) as failure:
        raise Problem(f"{field}", dumps(tool.parameters), f"cannot be checked: {failure}") from None
    if error is not None:
        where = ".".join([field, *(str(part) for part in error.instance_path)])
        raise Problem(
            where, error.instance, f"does not fit the schema of {tool.name}: {error.message}"
        )
