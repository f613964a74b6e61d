"""Normal forms of JSON Schemas (see schema_tree): what can be said of them and done with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

from edgetool.calls.json_text import dumps, json_type
from edgetool.calls.schema.parts import KINDS
from edgetool.calls.tools.json_schema import fits
from edgetool.calls.types import JsonObject
from edgetool.errors import UsageError

Normal = Any  # True, False or a JsonObject of few shapes

_REFERENCE = "#/$defs/"
_MOST_UNIQUE = 64  # values of an enum that bound the length of a list without repetitions
_MOST_LISTED = 4  # ... of which every such list can be written down: 65 of them


@dataclass(frozen=True)
class Shape:
    """One form an object may have.

    properties   the normal form of each, in their order
    required     names that have to be there
    extra        of a property that is not named; False: there may be none; None: nothing was said
    patterns     of properties whose name matches a pattern
    limits       minProperties and maxProperties, where they say something
    """

    properties: JsonObject
    required: frozenset[str] = frozenset()
    extra: Normal | None = None
    patterns: JsonObject = field(default_factory=dict)
    limits: JsonObject = field(default_factory=dict)

    @property
    def is_closed(self) -> bool:
        """No property may be there beside the named ones."""
        return self.extra is False and not self.patterns

    def allows(self, name: str) -> bool:
        """Whether a property may have this name."""
        if name in self.properties or self.extra not in (None, False):
            return True
        return any(matches(pattern, name) for pattern in self.patterns)

    def as_schema(self) -> JsonObject:
        schema: JsonObject = {"type": "object", "properties": self.properties}
        if self.required:
            schema["required"] = [name for name in self.properties if name in self.required]
        if self.patterns:
            schema["patternProperties"] = self.patterns
        if self.extra is not None:
            schema["additionalProperties"] = self.extra
        return {**schema, **self.limits}

    @classmethod
    def of(cls, schema: JsonObject) -> Shape:
        return cls(
            schema.get("properties", {}),
            frozenset(schema.get("required", ())),
            schema.get("additionalProperties"),
            schema.get("patternProperties", {}),
            {key: schema[key] for key in ("minProperties", "maxProperties") if key in schema},
        )


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern of names matches one; what cannot be told counts as a match."""
    try:
        return fits({"pattern": pattern}, name)
    except UsageError:
        return True


def reference(name: str) -> JsonObject:
    return {"$ref": f"{_REFERENCE}{name}"}


def referred(node: Normal) -> str | None:
    """The name of the definition that a normal form refers to; None where it is no reference."""
    return (
        str(node["$ref"])[len(_REFERENCE) :] if isinstance(node, dict) and "$ref" in node else None
    )


def children(node: Normal) -> list[Normal]:
    """The normal forms a normal form is made of."""
    if not isinstance(node, dict):
        return []
    found = [*node.get("anyOf", ()), *node.get("prefixItems", ())]
    found += [node[key] for key in ("items", "additionalProperties") if key in node]
    for key in ("properties", "patternProperties"):
        found += node.get(key, {}).values()
    return found


def references(node: Normal) -> Iterator[str]:
    """The names of all definitions that a normal form refers to."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        name = referred(one)
        if name is not None:
            yield name
        waiting += children(one)


def either(nodes: Iterable[Normal]) -> Normal:
    """The normal form of values that fit one of them."""
    found: dict[str, Normal] = {}
    values: list[Any] = []
    for node in nodes:
        if node is True:
            return True
        for one in node["anyOf"] if isinstance(node, dict) and "anyOf" in node else [node]:
            if isinstance(one, dict) and "enum" in one:
                values += [value for value in one["enum"] if not _among(value, values)]
                found.setdefault("enum", {"enum": values})
            elif one is not False:
                found[dumps(one)] = one
    ways = list(found.values())
    if not ways:
        return False
    return ways[0] if len(ways) == 1 else {"anyOf": ways}


def _among(value: Any, values: list[Any]) -> bool:
    return dumps(value) in map(dumps, values)


def array(prefix: list[Normal], items: Normal, limits: JsonObject, *, unique: bool) -> Normal:
    """A list of `prefix` and then of `items`; False where none is long enough."""
    low, high = limits.get("minItems", 0), limits.get("maxItems")
    ended = next((i for i, one in enumerate(prefix) if one is False), None)
    if ended is not None:
        prefix, items = prefix[:ended], False
    if unique and not prefix and (values := _few(items)):
        high = len(values) if high is None else min(high, len(values))
        if low <= high and len(values) <= _MOST_LISTED:
            return {
                "enum": [list(o) for n in range(low, high + 1) for o in permutations(values, n)]
            }
    if items is False:
        high = len(prefix) if high is None else min(high, len(prefix))
    if high is not None and low > high:
        return False
    schema: JsonObject = {"type": "array"}
    if prefix:
        schema["prefixItems"] = prefix
    if items is not True:
        schema["items"] = items
    if low:
        schema["minItems"] = low
    return (
        schema
        if high is None or (items is False and high >= len(prefix))
        else {**schema, "maxItems": high}
    )


def _few(node: Normal) -> list[Any]:
    """The values that fit, where they are few; [] where they are not."""
    if not isinstance(node, dict):
        return []
    if node.get("type") == "boolean":
        return [True, False]
    return node.get("enum", []) if len(node.get("enum", ())) < _MOST_UNIQUE else []


def ends(node: Normal, finite: Set[str]) -> bool:
    """Whether a value that fits can be written to its end, definitions in `finite` being such."""
    if isinstance(node, bool):
        return node
    name = referred(node)
    if name is not None:
        return name in finite
    if "anyOf" in node:
        return any(ends(one, finite) for one in node["anyOf"])
    needed = [node["properties"][name] for name in node.get("required", ())]
    low = node.get("minItems", 0)
    needed += node.get("prefixItems", [])[:low]
    if low > len(node.get("prefixItems", ())):
        needed.append(node.get("items", True))
    return all(ends(one, finite) for one in needed)


def cut(node: Normal, finite: Set[str]) -> Normal:
    """A normal form without what cannot be written to its end."""
    if not isinstance(node, dict):
        return node
    if not ends(node, finite):
        return False
    if "anyOf" in node:
        return either(cut(one, finite) for one in node["anyOf"])
    found = dict(node)
    for key in ("items", "additionalProperties"):
        if key in node:
            found[key] = cut(node[key], finite)
    for key in ("properties", "patternProperties"):
        if key in node:
            found[key] = {name: cut(one, finite) for name, one in node[key].items()}
    if node.get("type") == "array":
        limits = {key: node[key] for key in ("minItems", "maxItems") if key in node}
        prefix = [cut(one, finite) for one in node.get("prefixItems", ())]
        return array(prefix, found.get("items", True), limits, unique=False)
    return found


def disjoint(one: Normal, other: Normal, definitions: Mapping[str, Normal]) -> bool:
    """Whether it is plain to see that no value fits both; False where it is not."""
    ours, theirs = (list(_plain(node, definitions)) for node in (one, other))
    return all(_apart(a, b, definitions) for a in ours for b in theirs)


def _plain(node: Normal, definitions: Mapping[str, Normal]) -> Iterator[Normal]:
    """A normal form's alternatives, references followed once."""
    name = referred(node)
    node = definitions.get(name, True) if name is not None else node
    yield from node["anyOf"] if isinstance(node, dict) and "anyOf" in node else [node]


def _apart(one: Normal, other: Normal, definitions: Mapping[str, Normal]) -> bool:
    if one is False or other is False:
        return True
    if not (isinstance(one, dict) and isinstance(other, dict)) or "$ref" in {*one, *other}:
        return False
    if "enum" in one and "enum" in other:
        return not any(_among(value, other["enum"]) for value in one["enum"])
    ours, theirs = types(one), types(other)
    if not ours & theirs:
        return True
    if not (one.get("type") == other.get("type") == "object"):
        return False
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    pairs = [(one["properties"][name], other["properties"][name]) for name in shared]
    return any(
        isinstance(a, dict) and isinstance(b, dict) and _apart(a, b, definitions) for a, b in pairs
    )


def types(node: Normal) -> set[str]:
    """The JSON types of the values that fit; an integer is a number."""
    if node is True or (isinstance(node, dict) and "$ref" in node):
        return set(KINDS)
    if node is False:
        return set()
    if "anyOf" in node:
        return set().union(*map(types, node["anyOf"]))
    if "enum" in node:
        return {json_type(value) for value in node["enum"]}
    return {"number" if node["type"] == "integer" else node["type"]}


def beside(shapes: list[Shape], definitions: Mapping[str, Normal]) -> list[Shape]:
    """Shapes of which several may be meant at once: each may have what the others name."""
    found = []
    for i, shape in enumerate(shapes):
        others = [
            other
            for j, other in enumerate(shapes)
            if j != i and not disjoint(shape.as_schema(), other.as_schema(), definitions)
        ]
        names = dict.fromkeys(name for other in others for name in other.properties)
        fresh = {
            name: either(o.properties[name] for o in others if name in o.properties)
            for name in names
            if name not in shape.properties and shape.is_closed
        }
        found.append(replace(shape, properties={**shape.properties, **fresh}))
    return found
