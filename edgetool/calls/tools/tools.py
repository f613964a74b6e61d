"""Tools from JSON in any of the `dialects`, and the limits every tool keeps.

Python functions and Pydantic models become tools in `python_tools`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from edgetool.calls.json_text import dumps
from edgetool.calls.tools.dialects import bare, parameters_schema
from edgetool.calls.tools.tool_lists import entries_of, no_list, no_tool
from edgetool.calls.tools.type_names import JSON_TYPES
from edgetool.calls.types import JsonObject, Tool
from edgetool.errors import UsageError
from edgetool.terminal import clipped

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_PROPERTIES = 256
MAX_ENUM = 1_000


class ToolError(UsageError):
    """A tool that cannot be offered: what is wrong with it, and where."""


def tool_from_json(value: Any, where: str = "tool") -> Tool:
    """One tool in any of the dialects.

    where   what to call it in a message, such as tools.json[3]

    Raises ToolError, naming the property, for what is no tool or is beyond the limits.
    """
    if not isinstance(value, dict) or not isinstance(value.get("function", {}), dict):
        raise ToolError(f"{where}: {_shown(value)} is no tool; give an object with a name")
    if problem := no_tool(value):
        raise ToolError(f"{where}: {problem}")
    raw = bare(value)
    if not isinstance(raw.name, str) or not raw.name.strip():
        raise ToolError(f"{where}: name {_shown(raw.name)} must be text")
    where = f"{where} '{raw.name}'"
    if not isinstance(raw.description, str):
        raise ToolError(f"{where}: description {_shown(raw.description)} must be text")
    if not isinstance(raw.parameters, dict):
        raise ToolError(f"{where}: parameters {_shown(raw.parameters)} must be an object")
    check_limits(raw.name, raw.parameters)  # before anything walks down it
    tool = Tool(raw.name, raw.description, _object_schema(raw.name, parameters_schema(raw)))
    require_sound(tool)
    return tool


def tools_from_json(value: Any, where: str = "tools") -> tuple[Tool, ...]:
    """The tools of a list, however it is wrapped. Raises ToolError."""
    if problem := no_list(value):
        raise ToolError(f"{where}: {problem}")
    entries = entries_of(value)
    if not isinstance(entries, list):
        raise ToolError(f"{where}: {_shown(value)} is no list of tools")
    return tuple(tool_from_json(entry, f"{where}[{i}]") for i, entry in enumerate(entries))


def _object_schema(name: str, schema: JsonObject) -> JsonObject:
    if schema.get("type", "object") != "object":
        raise ToolError(f"tool '{name}': parameters.type {_shown(schema['type'])} must be 'object'")
    properties = schema.get("properties") or {}
    if not isinstance(properties, dict):
        raise ToolError(f"tool '{name}': parameters.properties must be an object")
    return {**schema, "type": "object", "properties": properties}


def require_sound(tool: Tool) -> None:
    """Raises ToolError, naming the place, for a schema that is beyond the limits or is none."""
    check_limits(tool.name, tool.parameters)
    try:
        jsonschema_rs.meta.validate(tool.parameters)
    except jsonschema_rs.ValidationError as error:
        where = ".".join(["parameters", *map(str, error.instance_path)])
        raise ToolError(f"tool '{tool.name}': {where}: {_why_no_schema(error)}") from None
    except (ValueError, RecursionError) as error:
        raise ToolError(f"tool '{tool.name}': its schema cannot be read: {error}") from None


def _why_no_schema(error: jsonschema_rs.ValidationError) -> str:
    if error.instance_path[-1:] == ["type"] and isinstance(error.instance, str):
        known = ", ".join(sorted(JSON_TYPES))
        return f"{_shown(error.instance)} is no type of JSON Schema ({known})"
    return error.message


def check_limits(name: str, parameters: JsonObject) -> None:
    """Raises ToolError, naming the property, when a schema is larger than any engine likes."""
    for path, schema, depth in walk(parameters):
        if depth > MAX_DEPTH:
            raise ToolError(
                f"tool '{name}': {_short(path)} is nested deeper than {MAX_DEPTH}; flatten it"
            )
        properties, enum = schema.get("properties"), schema.get("enum")
        if isinstance(properties, dict) and len(properties) > MAX_PROPERTIES:
            raise ToolError(
                f"tool '{name}': {path} has {len(properties)} properties, more than "
                f"{MAX_PROPERTIES}; make several tools of it"
            )
        if isinstance(enum, list) and len(enum) > MAX_ENUM:
            raise ToolError(
                f"tool '{name}': {path} has an enum of {len(enum)} values, more than {MAX_ENUM}; "
                "let it be text and check it in the tool"
            )
    size = _size(name, parameters)
    if size > MAX_BYTES:
        largest = max(
            (parameters.get("properties") or {"parameters": parameters}).items(),
            key=lambda item: len(dumps(item[1])),
        )[0]
        raise ToolError(
            f"tool '{name}': its schema takes {size:,} bytes, more than {MAX_BYTES:,}; "
            f"parameters.{largest} takes the most"
        )


def _size(name: str, parameters: JsonObject) -> int:
    try:
        return len(json.dumps(parameters, allow_nan=False).encode())
    except ValueError as error:
        raise ToolError(f"tool '{name}': its schema holds a number JSON has no word for") from error


def walk(schema: Any, path: str = "parameters") -> Iterator[tuple[str, JsonObject, int]]:
    """(path, object, depth) of each JSON object of a schema, outer ones first, never recursive."""
    waiting: list[tuple[str, Any, int]] = [(path, schema, 1)]
    while waiting:
        where, value, depth = waiting.pop()
        if isinstance(value, dict):
            yield where, value, depth
            inner = [(f"{where}.{key}", one) for key, one in value.items()]
        elif isinstance(value, list):
            inner = [(f"{where}[{i}]", one) for i, one in enumerate(value)]
        else:
            continue
        if depth <= MAX_DEPTH:
            waiting += [(name, one, depth + 1) for name, one in reversed(inner)]


def _short(path: str) -> str:
    return path if len(path) <= 80 else f"{path[:77]}..."


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str) if not _deep(value) else "a value"
    return clipped(text, 60)


def _deep(value: Any) -> bool:
    return isinstance(value, dict | list) and any(d > MAX_DEPTH for _, _, d in walk(value))
