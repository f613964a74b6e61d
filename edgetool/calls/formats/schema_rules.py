"""JSON Schema -> grammar rules, for syntaxes that do not write their values as JSON.

Held: type, properties (any order up to FREE_ORDER), required, items, prefixItems, minItems,
maxItems (to 1,000), enum, const, anyOf, oneOf, allOf, local $ref, and whatever llguidance holds of
numbers and of quoted strings. Where strings stand as they are (the Gemma family) their pattern,
format and length are not held; `not`, `if` and dependencies are held nowhere.
"""

from __future__ import annotations

from typing import Any

from edgetool.calls.formats.literals import Spelling
from edgetool.calls.formats.rules import Member, Rules, arguments_of, literal, untrusted
from edgetool.calls.types import JsonObject, Tool
from edgetool.errors import EngineError

_ALL = ("string", "number", "boolean", "null", "array", "object")
_LONGEST = 1_000  # items; a longer list is as good as one without end
_MERGED = ("anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions")


class SchemaRules:
    """Grammar rules of values under one tool's schema."""

    def __init__(self, rules: Rules, spelling: Spelling, root: JsonObject) -> None:
        self.rules, self.spelling, self.root = rules, spelling, root
        self._references: dict[str, str] = {}
        self._anything: str | None = None

    def value(self, schema: Any) -> str:
        """The rule of a value. Raises EngineError for a schema that nothing fits."""
        if schema is True or schema == {}:
            return self.anything()
        if not isinstance(schema, dict):
            raise EngineError(f"schema {schema!r} allows no value")
        if "$ref" in schema:
            return self._reference(str(schema["$ref"]), schema)
        if "const" in schema:
            return self._constants([schema["const"]])
        if "enum" in schema:
            return self._constants(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._either([_merge(_without(schema), one) for one in schema[key]])
        if "allOf" in schema:
            merged = _without(schema)
            for one in schema["allOf"]:
                merged = _merge(merged, one)
            return self.value(merged)
        types = schema.get("type", _guess(schema))
        if isinstance(types, list | tuple):
            return self._either([{**schema, "type": one} for one in types])
        return self._typed(types, schema)

    def anything(self) -> str:
        """Any value at all."""
        if self._anything is None:
            self._anything = self.rules.reserve()
            self.rules.define(
                self._anything, " | ".join(self._typed(kind, {"type": kind}) for kind in _ALL)
            )
        return self._anything

    def _either(self, schemas: list[Any]) -> str:
        return self.rules.add(" | ".join(dict.fromkeys(self.value(one) for one in schemas)))

    def _constants(self, values: list[Any]) -> str:
        return self.rules.add(" | ".join(self._spelled(value) for value in values))

    def _spelled(self, value: Any) -> str:
        """A constant; its quotes may be a marker, its words may not."""
        quote = self.spelling.quote
        if quote is None or not isinstance(value, str):
            return untrusted(self.spelling.write(value))
        return f"{literal(quote)} {untrusted(value)} {literal(quote)}"

    def _typed(self, kind: str, schema: JsonObject) -> str:
        if kind == "boolean":
            return self.rules.add(f'"{self.spelling.true}" | "{self.spelling.false}"')
        if kind == "null":
            return self.rules.add(f'"{self.spelling.null}"')
        if kind == "array":
            return self._array(schema)
        if kind == "object":
            return self._object(schema)
        if kind == "string" and self.spelling.quote is not None:
            return self.text(self.spelling.quote)
        return self.rules.json({**_without(schema), "type": kind}, {})

    def text(self, quote: str) -> str:
        """Words between quotes that cannot be escaped: the sign they begin with is not among them.

        The engine's lexer does not go back, so it could not tell that sign from the quote itself.
        """
        return self.rules.add(f"{literal(quote)} /[^{quote[0]}]*/ {literal(quote)}")

    def _array(self, schema: JsonObject) -> str:
        separator = literal(self.spelling.separators[0])
        fixed = [self.value(one) for one in schema.get("prefixItems", ())]
        if fixed:
            return self.rules.add(f'"[" {f" {separator} ".join(fixed)} "]"')
        item = self.value(schema.get("items", True))
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        if high == 0:
            return self.rules.add('"[" "]"')
        most = "" if high is None or high > _LONGEST else high - 1
        more = f"({separator} {item}){{{max(low - 1, 0)},{most}}}"
        some = f"{item} {more}"
        return self.rules.add(f'"[" {some} "]"' if low else f'"[" ({some})? "]"')

    def _object(self, schema: JsonObject) -> str:
        properties = schema.get("properties") or {}
        if not properties:
            return self._free_object(schema.get("additionalProperties", True))
        required = schema.get("required", ())
        members = [
            Member(f"{self.key(name)} {self.value(properties[name])}", name in required)
            for name in self.spelling.order(properties)
            if properties[name] is not False or name in required
        ]
        body = self.rules.members(members, self.spelling.separators[0])
        return self.rules.add(f'"{{" {body} "}}"')

    def key(self, name: str) -> str:
        between = self.spelling.separators[1]
        if self.spelling.bare_keys:
            return untrusted(name + between)
        return f"{self._spelled(name)} {literal(between)}"

    def _free_object(self, schema: Any) -> str:
        if schema is False:
            return self.rules.add('"{" "}"')
        bare = self.spelling.bare_keys
        key = r"/[^:{}\[\],<\s]+/" if bare else self.rules.json({"type": "string"}, {})
        separator, between = map(literal, self.spelling.separators)
        pair = f"{key} {between} {self.value(schema)}"
        return self.rules.add(f'"{{" ({pair} ({separator} {pair})*)? "}}"')

    def _reference(self, target: str, schema: JsonObject) -> str:
        if target not in self._references:
            found = _resolve(self.root, target)
            self._references[target] = name = self.rules.reserve()
            self.rules.define(name, self.value(found))
        return self._references[target]


def call_arguments(rules: Rules, tool: Tool, spelling: Spelling) -> list[tuple[str, str, bool]]:
    """(name, rule of its value, required) of each argument of a tool."""
    values = SchemaRules(rules, spelling, tool.parameters)
    return [
        (name, values.value(schema), required)
        for name, schema, required in arguments_of(tool)
        if schema is not False or required
    ]


def resolve(root: JsonObject, schema: Any) -> Any:
    """What a schema that is a reference stands for; itself otherwise."""
    for _ in range(32):
        if not isinstance(schema, dict) or "$ref" not in schema:
            return schema
        schema = _resolve(root, str(schema["$ref"]))
    return {}


def _resolve(root: JsonObject, target: str) -> Any:
    found: Any = root
    path = target.removeprefix("#").strip("/")
    if not target.startswith("#"):
        raise EngineError(f"$ref '{target}' leaves the schema; only '#/...' is followed")
    for part in filter(None, path.split("/")):
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or part not in found:
            raise EngineError(f"$ref '{target}' names nothing in the schema")
        found = found[part]
    return found


def _guess(schema: JsonObject) -> str | tuple[str, ...]:
    """The type a schema has in mind without saying so."""
    if "properties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return _ALL


def _without(schema: JsonObject) -> JsonObject:
    return {key: value for key, value in schema.items() if key not in _MERGED}


def _merge(one: JsonObject, other: Any) -> Any:
    if not isinstance(other, dict):
        return one if other is True else other
    merged = {**one, **other}
    for key in ("properties",):
        if key in one and key in other:
            merged[key] = {**one[key], **other[key]}
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged
