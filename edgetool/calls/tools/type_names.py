"""Types written as Python, Java or a person would -> JSON Schema.

str   List[int]   Optional[str]   Literal['a', 'b']   Dict[str, int]   int, optional   str[]
"""

from __future__ import annotations

import re
from typing import Any

from edgetool.calls.json_text import INVALID
from edgetool.calls.syntaxes.literals import PYTHON, read_value
from edgetool.calls.types import JsonObject

JSON_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))
_TYPES = {
    **dict.fromkeys(("dict", "dictionary", "map", "hashmap", "mapping"), "object"),
    **dict.fromkeys(
        ("list", "tuple", "set", "frozenset", "arraylist", "sequence", "iterable"), "array"
    ),
    **dict.fromkeys(("str", "char", "text", "date", "time", "datetime", "url", "email"), "string"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("none", "nonetype"), "null"),
    "bool": "boolean",
}
_ANY = re.compile(r"\bany\b", re.IGNORECASE)
_OPTIONAL = re.compile(r"[\s,;(\[]*\boptional\b[\s)\]]*$", re.IGNORECASE)
_GENERIC = re.compile(r"(\w+)\s*\[(.*)\]", re.DOTALL)
_LIST_OF = re.compile(r"(?:list|array|set)s? of (\w+?)s?", re.IGNORECASE)
_DEEPEST = 16


def type_schema(text: str, depth: int = 0) -> JsonObject:
    """'List[int], optional' -> {"type": "array", "items": {"type": "integer"}}; unknown -> {}."""
    name = _plain(text)
    if depth > _DEEPEST:
        return {}
    alternatives = split_outside(name, "|")
    if len(alternatives) > 1:
        return _any_of(alternatives, depth)
    if name.endswith("[]"):
        return _array({"type": "array"}, name.removesuffix("[]"), depth)
    if generic := _GENERIC.fullmatch(name):
        return _generic(generic[1].lower(), split_outside(generic[2], ","), depth)
    if words := _LIST_OF.fullmatch(name):
        return _array({"type": "array"}, words[1], depth)
    lower = name.lower()
    kind = lower if lower in JSON_TYPES else _TYPES.get(lower)
    return {"type": kind} if kind else {}


def is_any(text: str) -> bool:
    """Whether a type's name says that every value will do."""
    return _ANY.search(text) is not None


def says_optional(text: str) -> bool:
    """As 'int, optional', 'str (optional)' and 'Optional[int]' do of an argument."""
    return _OPTIONAL.search(text) is not None or text.strip().lower().startswith(
        ("optional[", "typing.optional[")
    )


def _plain(text: str) -> str:
    """The type alone: without "optional" behind it, `typing.` before it and with [] for <>."""
    name = _OPTIONAL.sub("", text).strip() or text.strip()
    if not name.lower().startswith("literal"):
        name = name.replace("<", "[").replace(">", "]")
    return name.replace("typing.", "")


def _generic(head: str, arguments: list[str], depth: int) -> JsonObject:
    if head in ("optional", "union"):
        return _any_of([a for a in arguments if a.lower() not in ("none", "nonetype")], depth)
    if head == "literal":
        return _literal(arguments)
    schema = type_schema(head, depth + 1)
    if schema.get("type") == "array" and len(set(arguments) - {"..."}) == 1:
        return _array(schema, arguments[0], depth)
    if schema.get("type") == "object" and len(arguments) == 2:
        values = type_schema(arguments[1], depth + 1)
        return {**schema, "additionalProperties": values} if values else schema
    return schema


def _array(schema: JsonObject, of: str, depth: int) -> JsonObject:
    items = type_schema(of, depth + 1)
    return {**schema, "items": items} if items else schema


def _literal(arguments: list[str]) -> JsonObject:
    values = [read_value(argument, PYTHON) for argument in arguments]
    # What is no Python value stands without its quotes.
    known = [a if value is INVALID else value for a, value in zip(arguments, values, strict=True)]
    kinds = {_KINDS.get(type(value)) for value in known}
    kind = kinds.pop() if len(kinds) == 1 else None
    return {"type": kind, "enum": known} if kind else {"enum": known}


_KINDS: dict[type[Any], str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _any_of(names: list[str], depth: int) -> JsonObject:
    schemas = [type_schema(name, depth + 1) for name in names]
    if len(schemas) == 1:
        return schemas[0]
    return {"anyOf": schemas} if schemas and all(schemas) else {}


def split_outside(text: str, sign: str) -> list[str]:
    """'str, Dict[str, int]' -> ['str', 'Dict[str, int]']: not inside brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote or char in "'\"":
            quote = "" if char == quote else quote or char
        else:
            depth += (char in "[(") - (char in "])")
        if char == sign and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]
