"""Tools in anybody's spelling -> the bare function with JSON Schema parameters.

Data sets describe a tool in OpenAI's form, as a bare function, in BFCL's dialect (`dict`, `float`,
`tuple`, `any`), or with a flat table of parameters whose types are written as Python would
(`List[int], optional`: xLAM, Seal-Tools, API-Bank). Names keep to what every call syntax can spell.
"""

from __future__ import annotations

import re
from typing import Any

from edgetool.data.check import Problem, mapping

JSON_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))
_TYPES = {
    **dict.fromkeys(("dict", "dictionary", "map", "hashmap", "mapping"), "object"),
    **dict.fromkeys(("list", "tuple", "set", "arraylist", "sequence", "iterable"), "array"),
    **dict.fromkeys(("str", "char", "text", "date", "time", "datetime", "url", "email"), "string"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    **dict.fromkeys(("int", "long"), "integer"),
    "bool": "boolean",
    "none": "null",
}
_GENERIC = re.compile(r"(\w+)\s*\[(.*)\]", re.DOTALL)
_UNSPELLABLE = re.compile(r"[^\w.\-]+")
_NAMES = ("name", "api_name", "apiCode")
_DESCRIPTIONS = ("description", "api_description")
_PARAMETERS = ("parameters", "input_parameters", "inputSchema", "input_schema", "arguments")


def bare_function(field: str, value: Any) -> dict[str, Any]:
    """{"name", "description", "parameters"} with JSON Schema parameters; the name as it came.

    Raises Problem for what is no tool.
    """
    entry = mapping(field, value)
    if isinstance(entry.get("function"), dict):
        entry = entry["function"]
    parameters = _first(entry, _PARAMETERS)
    if isinstance(parameters, dict) and not _is_schema(parameters):
        parameters = _from_table(parameters, entry.get("required"))
    return {
        "name": _first(entry, _NAMES),
        "description": _first(entry, _DESCRIPTIONS) or "",
        "parameters": json_schema(parameters) or {"type": "object", "properties": {}},
    }


def spellable(name: str) -> str:
    """A tool's name without what no call syntax can write: 'Market Trends API' loses its spaces."""
    return _UNSPELLABLE.sub("_", name.strip()).strip("_")


def json_schema(value: Any) -> Any:
    """A schema in any of the dialects -> JSON Schema, all the way down."""
    if not isinstance(value, dict):
        return value
    schema: dict[str, Any] = {}
    for key, inner in value.items():  # in their order: a schema that is one already stays as it is
        if key == "type":
            schema.update(type_schema(inner) if isinstance(inner, str) else _kept_type(inner))
        elif key != "optional":
            schema[key] = inner
    properties = schema.get("properties")
    if isinstance(properties, dict):
        schema["properties"] = {key: json_schema(inner) for key, inner in properties.items()}
        required = _required(schema.get("required"), properties)
        if required or "required" in schema:
            schema["required"] = required
    for key in ("items", "additionalProperties"):
        if key in schema:
            schema[key] = json_schema(schema[key])
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(key), list):
            schema[key] = [json_schema(inner) for inner in schema[key]]
    return _tidy(schema)


def type_schema(text: str) -> dict[str, Any]:
    """'List[int], optional' -> {"type": "array", "items": {"type": "integer"}}; unknown -> {}."""
    name = re.sub(r",?\s*\boptional\b(?!\[)", "", text, flags=re.IGNORECASE).strip() or text.strip()
    generic = _GENERIC.fullmatch(name)
    if generic:
        return _generic(generic[1].lower(), _arguments(generic[2]))
    if "|" in name:
        return _any_of(name.split("|"))
    lower = name.lower().removeprefix("typing.")
    kind = lower if lower in JSON_TYPES else _TYPES.get(lower)
    return {"type": kind} if kind else {}


def _generic(head: str, arguments: list[str]) -> dict[str, Any]:
    if head in ("optional", "union"):
        return _any_of([a for a in arguments if a.lower() != "none"])
    if head == "literal":
        return {"enum": [argument.strip("'\"") for argument in arguments]}
    schema = type_schema(head)
    inner = type_schema(arguments[0]) if len(set(arguments) - {"..."}) == 1 else {}
    return {**schema, "items": inner} if schema.get("type") == "array" and inner else schema


def _any_of(names: list[str]) -> dict[str, Any]:
    schemas = [type_schema(name) for name in names]
    if len(schemas) == 1:
        return schemas[0]
    return {"anyOf": schemas} if all(schemas) else {}


def _arguments(text: str) -> list[str]:
    """'str, Dict[str, int]' -> ['str', 'Dict[str, int]']: commas inside brackets do not count."""
    parts, depth = [""], 0
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def _is_schema(parameters: dict[str, Any]) -> bool:
    kind = parameters.get("type")
    return isinstance(parameters.get("properties"), dict) or (
        isinstance(kind, str) and type_schema(kind).get("type") == "object"
    )


def _from_table(table: dict[str, Any], required: Any) -> dict[str, Any]:
    """{"city": {"type": "str", ...}} -> an object's schema.

    Without a list of what is required, a parameter is unless it has a default or says "optional".
    """
    properties = {name: _cell(cell) for name, cell in table.items()}
    if not isinstance(required, list):
        required = [name for name, cell in properties.items() if _needed(cell)]
    return {"type": "object", "properties": properties, "required": required}


def _cell(cell: Any) -> dict[str, Any]:
    return dict(cell) if isinstance(cell, dict) else {"description": str(cell)}


def _needed(cell: dict[str, Any]) -> bool:
    said = cell.get("required")
    if isinstance(said, bool):
        return said
    return "default" not in cell and "optional" not in str(cell.get("type", "")).lower()


def _required(listed: Any, properties: dict[str, Any]) -> list[str]:
    """Names in the list, and those whose own schema says `required: true` (an older habit)."""
    names = listed if isinstance(listed, list) else []
    own = [n for n, s in properties.items() if isinstance(s, dict) and s.get("required") is True]
    return [name for name in dict.fromkeys([*names, *own]) if name in properties]


def _kept_type(kind: Any) -> dict[str, Any]:
    return {"type": kind} if isinstance(kind, list) and set(map(str, kind)) <= JSON_TYPES else {}


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Without what is no JSON Schema: a boolean `required`, an empty or unlisted `enum`, and the
    empty text that stands for "no default" beside a type that is not text."""
    kind = schema.get("type")
    if "required" in schema and (not isinstance(schema["required"], list) or kind != "object"):
        del schema["required"]
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        del schema["enum"]
    if schema.get("default", 0) in ("", None) and kind != "string":
        del schema["default"]
    if schema.get("items", {}) is None or isinstance(schema.get("items"), str):
        schema["items"] = type_schema(schema["items"] or "")
    return schema


def _first(entry: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)


def require_text(field: str, value: Any) -> str:
    """The value, when it is text. Raises Problem otherwise."""
    if not isinstance(value, str):
        raise Problem(field, value, "must be text")
    return value
