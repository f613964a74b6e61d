"""Rows whose tool, parameter and default names say nothing (Hammer, arXiv:2410.04587).

What is left to go by is what a tool says of itself. Names are replaced in the schemas, in the calls
wanted and in the calls of earlier turns alike; descriptions stay as they are.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from edgetool.calls.schema.parts import resolve
from edgetool.calls.types import Example, ExpectedCall, JsonObject, Message, Tool
from edgetool.data.words import pseudo_name

_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_TABLES = ("properties", "$defs", "definitions")


@dataclass(frozen=True)
class Renaming:
    """Old -> new names of one row's tools, its parameters at any depth, and its text defaults."""

    tools: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)


def mask_rows(examples: Iterable[Example], rate: float, seed: int) -> Iterator[Example]:
    """The rows, each masked with probability `rate`; the same ones for the same seed and id."""
    for example in examples:
        rng = random.Random(f"{seed}/{example.id}")
        yield mask_row(example, rng) if rng.random() < rate else example


def mask_row(example: Example, rng: random.Random) -> Example:
    """The row under meaningless names."""
    said = "\n".join(str(message.get("content") or "") for message in example.messages)
    return rename_row(example, draw_names(example.tools, rng, spoken=said))


def rename_row(example: Example, names: Renaming) -> Example:
    """The row under other names; what has no new one keeps its own."""
    by_name = {tool.name: tool for tool in example.tools}
    messages = tuple(_message(message, by_name, names) for message in example.messages)
    calls = tuple(_expected(call, by_name[call.name], names) for call in example.calls)
    tools = tuple(masked_tool(tool, names) for tool in example.tools)
    metadata = dict(example.metadata)
    if isinstance(metadata.get("services"), dict):
        services = metadata["services"].items()
        metadata["services"] = {names.tools.get(name, name): service for name, service in services}
    return replace(example, messages=messages, tools=tools, calls=calls, metadata=metadata)


def draw_names(tools: Iterable[Tool], rng: random.Random, spoken: str = "") -> Renaming:
    """A new name for everything that has one; a default that the user spoke of keeps its own."""
    tools = list(tools)
    taken: set[str] = set()
    names = Renaming(tools={tool.name: _fresh(rng, taken) for tool in tools})
    for tool in tools:
        for schema in _objects(tool.parameters):
            for name, inner in schema["properties"].items():
                names.parameters[name] = _fresh(rng, taken)
                default = _maskable_default(inner)
                # A default is replaced alike wherever it is used, and kept where the user named it.
                if default and default not in names.defaults and default not in spoken:
                    names.defaults[default] = _fresh(rng, taken)
    return names


def _maskable_default(schema: Any) -> str:
    default = schema.get("default") if isinstance(schema, dict) else None
    return default if isinstance(default, str) and "enum" not in schema else ""


def _fresh(rng: random.Random, taken: set[str]) -> str:
    while (name := pseudo_name(rng)) in taken:
        pass
    taken.add(name)
    return name


def masked_tool(tool: Tool, names: Renaming) -> Tool:
    """The tool under its new names."""
    return Tool(
        names.tools.get(tool.name, tool.name), tool.description, _schema(tool.parameters, names)
    )


def _objects(schema: Any) -> Iterator[JsonObject]:
    """Every schema inside a schema that has properties, the outermost first."""
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("properties"), dict):
        yield schema
    for inner in _inside(schema):
        yield from _objects(inner)


def _inside(schema: JsonObject) -> Iterator[Any]:
    for table in _TABLES:
        yield from (schema.get(table) or {}).values()
    for key in _LISTS:
        yield from schema.get(key) or []
    yield from (schema[key] for key in ("items", "additionalProperties") if key in schema)


def _schema(schema: Any, names: Renaming) -> Any:
    if not isinstance(schema, dict):
        return schema
    masked = dict(schema)
    for table in _TABLES:
        if isinstance(schema.get(table), dict):
            masked[table] = {k: _schema(inner, names) for k, inner in schema[table].items()}
    for key in _LISTS:
        if isinstance(schema.get(key), list):
            masked[key] = [_schema(inner, names) for inner in schema[key]]
    for key in ("items", "additionalProperties"):
        if key in schema:
            masked[key] = _schema(schema[key], names)
    if isinstance(schema.get("properties"), dict):
        new = names.parameters
        masked["properties"] = {new.get(k, k): v for k, v in masked["properties"].items()}
        if isinstance(schema.get("required"), list):
            masked["required"] = [new.get(key, key) for key in schema["required"]]
    if isinstance(schema.get("default"), str) and "enum" not in schema:
        masked["default"] = names.defaults.get(schema["default"], schema["default"])
    return masked


def _message(message: Message, tools: dict[str, Tool], names: Renaming) -> Message:
    """An earlier turn, with its calls under the new names."""
    if not message.get("tool_calls"):
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call.get("function", call)
        tool = tools.get(function.get("name"))
        if tool is not None and isinstance(function.get("arguments"), dict):
            arguments = masked_arguments(function["arguments"], tool, names)
            function = {
                **function,
                "name": names.tools.get(tool.name, tool.name),
                "arguments": arguments,
            }
        calls.append({**call, "function": function} if "function" in call else function)
    return {**message, "tool_calls": calls}


def _expected(call: ExpectedCall, tool: Tool, names: Renaming) -> ExpectedCall:
    new = names.parameters
    properties = tool.parameters["properties"]
    alternatives = {
        new.get(name, name): tuple(_value(v, properties.get(name), tool, names) for v in values)
        for name, values in call.alternatives.items()
    }
    return ExpectedCall(
        names.tools.get(call.name, call.name),
        masked_arguments(call.arguments, tool, names),
        alternatives,
        frozenset(new.get(name, name) for name in call.optional),
    )


def masked_arguments(arguments: JsonObject, tool: Tool, names: Renaming) -> JsonObject:
    """The arguments under the names that the masked tool takes."""
    masked: JsonObject = _value(arguments, tool.parameters, tool, names)
    return masked


def _value(value: Any, schema: Any, tool: Tool, names: Renaming) -> Any:
    """A value under the new names; keys that no schema names are the user's own and stay."""
    schema = _resolved(schema, tool.parameters)
    if isinstance(value, dict):
        properties = _properties(schema, tool.parameters)
        return {
            names.parameters.get(key, key) if key in properties else key: _value(
                inner, properties.get(key), tool, names
            )
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_value(inner, schema.get("items"), tool, names) for inner in value]
    if isinstance(value, str) and value == schema.get("default") and "enum" not in schema:
        return names.defaults.get(value, value)
    return value


def _properties(schema: JsonObject, root: JsonObject) -> JsonObject:
    """The properties a schema names, also inside anyOf and its like."""
    found = dict(schema.get("properties") or {})
    for key in _LISTS[:3]:
        for inner in schema.get(key) or []:
            found = {**_properties(_resolved(inner, root), root), **found}
    return found


def _resolved(schema: Any, root: JsonObject) -> JsonObject:
    """The schema, or the one in the same tool that its $ref names."""
    seen = 0
    while isinstance(schema, dict) and isinstance(schema.get("$ref"), str) and seen < 16:
        schema, seen = resolve(root, schema["$ref"]), seen + 1
    return schema if isinstance(schema, dict) else {}
