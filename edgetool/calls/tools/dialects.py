"""Tools in anybody's spelling -> name, description and parameters as JSON Schema.

    OpenAI   {"type": "function", "function": {"name", "description", "parameters": JSON Schema}}
    BFCL     the bare function; its schema says `dict`, `float`, `tuple`, `any` for JSON's types
    tables   "parameters": {"city": {"type": "List[str], optional", "description", "default"}},
             types written as Python would: xLAM, Seal-Tools, API-Bank; smolagents' `inputs` and
             Cohere's `parameter_definitions`
    others   MCP's `inputSchema`, Anthropic's `input_schema`, Bedrock's `toolSpec`; Gemini's types
             in capitals and its `nullable`; a schema with a title, as Pydantic writes it

The same reading serves a user's tools.json, the importers of data sets and the suites. What data
sets get wrong (a type nobody knows, `required: true`) is mended when `lenient`; in a user's own
file it is left, so that the check of the schema names it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from edgetool.calls.tools.coerce import reading
from edgetool.calls.tools.nulls import without_null_keywords
from edgetool.calls.tools.type_names import JSON_TYPES, is_any, says_optional, type_schema
from edgetool.calls.types import JsonObject

# Keywords whose value is a map of schemas, a list of them, or one.
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SCHEMAS = ("items", "additionalItems", "additionalProperties", "not")
_KEYWORDS = frozenset((*_MAPS, "$ref", "anyOf", "oneOf", "allOf", "additionalProperties"))
_UNSPELLABLE = re.compile(r"[^\w.\-]+")
_NAMES = ("name", "api_name", "apiCode", "title")
_DESCRIPTIONS = ("description", "api_description")
PARAMETERS = (
    "parameters",
    "parametersJsonSchema",
    "input_parameters",
    "inputSchema",
    "input_schema",
    "inputs",
    "parameter_definitions",
    "arguments",
)
WRAPPERS = ("function", "toolSpec")
_INSIDE = ("json", "jsonSchema")  # Bedrock's and the AI SDK's wrapper of a schema
_OBJECT = ("type", "properties", "required", "additionalProperties", "$defs", "definitions")
# Counts, which Gemini's JSON writes as text: 64-bit numbers do not fit JavaScript's.
_COUNTS = (
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
)
_BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


@dataclass(frozen=True)
class Raw:
    """A tool as it was spelled, its parts found. `required` may stand beside the parameters."""

    name: Any
    description: Any
    parameters: Any
    required: Any


def bare(entry: JsonObject) -> Raw:
    """The parts of a tool, with or without OpenAI's or Bedrock's wrapper."""
    entry = next((entry[key] for key in WRAPPERS if isinstance(entry.get(key), dict)), entry)
    parameters = _first(entry, PARAMETERS) or {}
    parameters = _unwrapped(parameters)
    if not parameters and isinstance(entry.get("properties"), dict):  # the entry is the schema
        parameters = {key: entry[key] for key in _OBJECT if key in entry}
    return Raw(
        _first(entry, _NAMES),
        _first(entry, _DESCRIPTIONS) or "",
        parameters,
        entry.get("required"),
    )


def _unwrapped(parameters: Any) -> Any:
    """A schema without its wrapper; a table of one parameter with that name stays one."""
    if not isinstance(parameters, dict) or len(parameters) != 1:
        return parameters
    inner = _first(parameters, _INSIDE)
    if not isinstance(inner, dict):
        return parameters
    schema = not inner or inner.get("type") == "object" or not _KEYWORDS.isdisjoint(inner)
    return inner if schema else parameters


def parameters_schema(tool: Raw, *, lenient: bool = False) -> Any:
    """Its parameters as JSON Schema; what is no object is given back as it came."""
    parameters = without_null_keywords(tool.parameters)
    if isinstance(parameters, dict) and is_table(parameters):
        parameters = _from_table(parameters, tool.required)
    return json_schema(parameters, lenient=lenient) or {"type": "object", "properties": {}}


def spellable(name: str) -> str:
    """A tool's name without what no call syntax can write: 'Market Trends API' loses its spaces."""
    return _UNSPELLABLE.sub("_", name.strip()).strip("_")


def json_schema(value: Any, *, lenient: bool = False) -> Any:
    """A schema in any of the dialects -> JSON Schema, all the way down."""
    if not isinstance(value, dict):
        return value
    schema: JsonObject = {}
    for key, inner in value.items():  # in their order: a schema that is one already stays as it is
        if key == "type":
            schema.update(_type(inner, lenient))
        elif key in _MAPS and isinstance(inner, dict):
            schema[key] = {name: json_schema(one, lenient=lenient) for name, one in inner.items()}
        elif key in _LISTS and isinstance(inner, list):
            schema[key] = [json_schema(one, lenient=lenient) for one in inner]
        elif key in _SCHEMAS:
            schema[key] = json_schema(inner, lenient=lenient)
        elif key in _COUNTS and isinstance(inner, str) and inner.isdecimal():
            schema[key] = int(inner)
        elif not (lenient and key == "optional"):
            schema[key] = inner
    schema = _with_null(schema) if isinstance(schema.get("nullable"), bool) else schema
    if isinstance(schema.get("items"), list):
        schema = _with_prefix(schema)
    for key, bound in _BOUNDS.items():
        if isinstance(schema.get(key), bool):
            schema = _with_exclusive(schema, key, bound)
    return _mended(schema, value.get("properties")) if lenient else schema


def _with_null(schema: JsonObject) -> JsonObject:
    """OpenAPI's, Gemini's and smolagents' `nullable` in JSON Schema's words."""
    schema = dict(schema)
    if schema.pop("nullable"):
        if isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    return schema


def _with_prefix(schema: JsonObject) -> JsonObject:
    """A tuple as drafts up to 2019 write it, {"items": [...]}, in today's words."""
    rest = {key: one for key, one in schema.items() if key not in ("items", "additionalItems")}
    more = {"items": schema["additionalItems"]} if "additionalItems" in schema else {}
    return {**rest, "prefixItems": schema["items"], **more} if schema["items"] else {**rest, **more}


def _with_exclusive(schema: JsonObject, key: str, bound: str) -> JsonObject:
    """Draft 4's and OpenAPI 3.0's {"minimum": 0, "exclusiveMinimum": true} in today's words."""
    schema = dict(schema)
    if schema.pop(key) and bound in schema:
        schema[key] = schema.pop(bound)
    return schema


def _type(written: Any, lenient: bool) -> JsonObject:
    if not isinstance(written, str):
        return _kept_type(written) if lenient else {"type": written}
    schema = type_schema(written)
    unknown = not schema and not is_any(written)
    return {"type": written} if unknown and not lenient else schema


def is_table(parameters: JsonObject) -> bool:
    """The names of the parameters stand where a JSON Schema has its keywords."""
    return (
        not isinstance(parameters.get("type"), str)
        and _KEYWORDS.isdisjoint(parameters)
        and any(isinstance(cell, dict) for cell in parameters.values())
    )


def _from_table(table: JsonObject, required: Any) -> JsonObject:
    """{"city": {"type": "str", ...}} -> an object's schema.

    Without a list of what is required, a parameter is unless it has a default or says "optional".
    """
    properties = {name: _cell(cell) for name, cell in table.items()}
    if not isinstance(required, list):
        required = [name for name, cell in properties.items() if _needed(cell)]
    for cell in properties.values():
        cell.pop("required", None)  # said once, in the list
    return {"type": "object", "properties": properties, "required": required}


def _cell(cell: Any) -> JsonObject:
    return dict(cell) if isinstance(cell, dict) else {"description": str(cell)}


def _needed(cell: JsonObject) -> bool:
    required = cell.get("required")
    if isinstance(required, bool):
        return required
    optional = cell.get("optional") is True or cell.get("nullable") is True
    return "default" not in cell and not optional and not says_optional(str(cell.get("type", "")))


def _kept_type(kind: Any) -> JsonObject:
    return {"type": kind} if isinstance(kind, list) and set(map(str, kind)) <= JSON_TYPES else {}


def _mended(schema: JsonObject, properties: Any) -> JsonObject:
    """Without what is no JSON Schema: a boolean `required`, `enum` and `examples` that are no
    list, and the empty text that stands for "no default" beside a type that is not text.

    properties   as they were spelled, with what they themselves say of being required
    """
    kind = schema.get("type")
    if isinstance(properties, dict):
        required = _required(schema.get("required"), properties)
        if required or "required" in schema:
            schema["required"] = required
    if "required" in schema and (not isinstance(schema["required"], list) or kind != "object"):
        del schema["required"]
    for key in ("enum", "examples"):
        if key in schema and not (isinstance(schema[key], list) and schema[key]):
            del schema[key]
    _read_choices(schema)
    if schema.get("default", 0) in ("", None) and kind != "string":
        del schema["default"]
    if schema.get("items", {}) is None or isinstance(schema.get("items"), str):
        schema["items"] = type_schema(schema["items"] or "")
    return schema


def _read_choices(schema: JsonObject) -> None:
    """Choices written as text beside a type that is not text, which no value could satisfy.

    {"type": "boolean", "enum": ["True", "False", "dontcare"]} keeps what can be read as its type; a
    list's choices are those of its items (SGD and all that was made of it).
    """
    kind, choices = schema.get("type"), schema.get("enum", [])
    words = all(isinstance(choice, str) for choice in choices)
    if not (choices and words and isinstance(kind, str)) or kind == "string":
        return
    del schema["enum"]
    if kind == "array" and isinstance(schema.get("items"), dict):
        schema["items"] = {**schema["items"], "enum": list(choices)}
        return
    read = [reading(choice, schema) for choice in choices]
    if fitting := [value for value in read if not isinstance(value, str)]:
        schema["enum"] = fitting
    if schema.get("default") in choices:
        default = reading(schema.pop("default"), schema)
        schema.update({} if isinstance(default, str) else {"default": default})


def _required(listed: Any, properties: JsonObject) -> list[str]:
    """Names in the list, and those whose own schema says `required: true` (an older habit)."""
    names = listed if isinstance(listed, list) else []
    own = [n for n, s in properties.items() if isinstance(s, dict) and s.get("required") is True]
    return [name for name in dict.fromkeys([*names, *own]) if name in properties]


def _first(entry: JsonObject, keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)
