"""Nulls that stand for nothing.

Arrow gives every row all keys that any row has, with null where there was none; Go and Java write a
field that was never set as null. In a schema such a null means that the keyword is absent. In
arguments it does, where the schema has no null for a value.
"""

from __future__ import annotations

from typing import Any

from edgetool.calls.types import JsonObject

# Keywords whose value may itself be null.
_VALUES = ("default", "const")
_COMPOSED = ("anyOf", "oneOf", "allOf", "$ref", "if", "not")
# Keywords whose value is data or names, and so holds no keywords.
_DATA = ("enum", "examples", "required", *_VALUES)
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def without_null_keywords(schema: Any) -> Any:
    """The schema without keywords and properties that are null, all the way down.

    A `default` or `const` of null stays where the schema takes null.
    """
    if isinstance(schema, list):
        return [without_null_keywords(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    nullable = takes_null(schema)
    return {
        key: _keyword(key, value)
        for key, value in schema.items()
        if value is not None or (nullable and key in _VALUES)
    }


def _keyword(key: str, value: Any) -> Any:
    if key in _DATA:
        return value
    if key in _MAPS and isinstance(value, dict):
        named = {name: one for name, one in value.items() if one is not None}
        return {name: without_null_keywords(one) for name, one in named.items()}
    return without_null_keywords(value)


def takes_null(schema: Any) -> bool:
    """Whether null may be a value of the schema, as far as it says so itself."""
    if not isinstance(schema, dict):
        return schema is not False
    enum = schema.get("enum")
    if isinstance(enum, list):
        return None in enum
    kind = schema.get("type")
    if kind is not None:
        return kind == "null" or (isinstance(kind, list) and "null" in kind)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return any(takes_null(one) for one in schema[key])
    return True


def without_padding(arguments: JsonObject, schema: JsonObject) -> JsonObject:
    """The arguments without nulls that the schema has no place for, all the way down."""
    if not _holds_null(arguments):
        return arguments
    # Arguments that the tool does not name are refused unless its schema invites them.
    closed = {"additionalProperties": False, **schema}
    kept: JsonObject = _unpadded(arguments, closed)
    return kept


def _unpadded(value: Any, schema: Any) -> Any:
    if not isinstance(schema, dict):
        return value
    if isinstance(value, list):
        return [_unpadded(one, schema.get("items")) for one in value]
    if not isinstance(value, dict) or any(key in schema for key in _COMPOSED):
        return value  # which of several schemas a value is for, only a validator can say
    properties = schema.get("properties") or {}
    others = schema.get("additionalProperties", not properties)  # without any names, all are meant
    return {
        name: _unpadded(one, properties.get(name))
        for name, one in value.items()
        if one is not None or takes_null(properties.get(name, others))
    }


def _holds_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(one is None or _holds_null(one) for one in value.values())
    return isinstance(value, list) and any(_holds_null(one) for one in value)
