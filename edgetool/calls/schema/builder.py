"""Normal forms (see schema_tree) of the schemas in one schema, made once each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from edgetool.calls.json_text import dumps, json_type
from edgetool.calls.schema import intersect, normal_form
from edgetool.calls.schema.normal_form import Normal, Shape
from edgetool.calls.schema.parts import Part, Parts, moved, negated, own_keywords
from edgetool.calls.tools.json_schema import fits
from edgetool.calls.types import JsonObject
from edgetool.errors import UsageError

_SMALL = 256  # characters of a normal form that is written again rather than referred to
_DEEPEST = 40
_MOST_NODES = 4_000
_MOST_TOLD_APART = 64  # schemas of a oneOf
_OF_ARRAYS = ("uniqueItems", "contains", "unevaluatedItems")


class Builder:
    """Makes normal forms of the parts of a root.

    parts         the root's
    definitions   what `$ref` in a normal form names
    paths         where in the root a definition was met first
    open          (path, keyword) of what is left open, in the order it was met
    nothing       why a property that has to be there can have no value; "" where each can
    """

    def __init__(self, root: JsonObject, path: str) -> None:
        self.root, self.parts = root, Parts(root, path, self._apart)
        self.definitions: dict[str, Normal] = {}
        self.open: dict[tuple[str, str], None] = {}
        self.paths: dict[str, str] = {}
        self.nothing = ""
        self._names: dict[tuple[int, ...], str] = {}
        self._done: dict[tuple[int, ...], Normal] = {}
        self._referred: set[str] = set()
        self._depth = self._nodes = 0

    def _apart(self, schemas: Sequence[Any], path: str) -> bool:
        """Whether it is plain to see that no value fits two of the schemas."""
        nodes = [self.node([Part(one, f"{path}[{i}]")]) for i, one in enumerate(schemas)]
        return len(nodes) <= _MOST_TOLD_APART and all(
            normal_form.disjoint(one, other, self.definitions)
            for i, one in enumerate(nodes)
            for other in nodes[i + 1 :]
        )

    def _leave_open(self, path: str, keywords: Iterable[str]) -> None:
        self.open.update(dict.fromkeys((path, keyword) for keyword in keywords))

    def node(self, parts: Sequence[Part]) -> Normal:
        """The normal form of values that fit all the parts."""
        leaves = self.parts.closure(parts)
        if leaves is None:
            return False
        if not leaves:
            return True
        key = tuple(id(leaf.schema) for leaf in leaves)
        if key in self._done:
            return self._again(key)
        if key in self._names:
            self._referred.add(self._names[key])
            return normal_form.reference(self._names[key])
        if self._depth >= _DEEPEST or self._nodes >= _MOST_NODES:
            self._leave_open(leaves[0].path, ["type"])
            return True
        self._names[key] = name = f"n{len(self._names)}"
        self.paths[name] = leaves[0].path
        self._depth, self._nodes = self._depth + 1, self._nodes + 1
        node = normal_form.either(
            one for way in self.parts.ways(leaves)[0] for one in self._typed(way)
        )
        self._depth -= 1
        if name in self._referred:
            self.definitions[name] = node
            node = normal_form.reference(name)
        self._done[key] = node
        return node

    def _again(self, key: tuple[int, ...]) -> Normal:
        """A normal form that is needed once more; a large one becomes a definition."""
        node = self._done[key]
        if isinstance(node, bool) or "$ref" in node or len(dumps(node)) <= _SMALL:
            return node
        name = self._names[key]
        self.definitions[name] = node
        self._done[key] = normal_form.reference(name)
        return self._done[key]

    def _typed(self, leaves: list[Part]) -> list[Normal]:
        """The normal forms, one for each type, of values that fit all the leaves."""
        schemas = _schemas(leaves)
        given = [_constants(schema) for schema in schemas if _constants(schema) is not None]
        if given:
            values = [one for one in given[0] or () if self._fits_all(one, schemas)]
            return [{"enum": values}] if values else []
        kinds = intersect.types_of(schemas)
        keys = {key for schema in schemas for key in own_keywords(schema)}
        if len(kinds) == len(intersect.KINDS) and not keys - {"type", "format", "not"}:
            self._leave_nots_open(leaves)
            return [True]
        found = [self._of(kind, leaves) for kind in kinds]
        return [one for one in found if one is not False]

    def objects(self, leaves: list[Part]) -> list[Normal]:
        """The normal forms of arguments that fit all the leaves, which may list them."""
        if all(_constants(leaf.schema) is None for leaf in leaves):
            return [self.object(leaves, closed=True)]
        listed = [one for node in self._typed(leaves) for one in node["enum"]]
        return [
            Shape({k: {"enum": [v]} for k, v in one.items()}, frozenset(one), False).as_schema()
            for one in listed
            if isinstance(one, dict)
        ]

    def _of(self, kind: str, leaves: list[Part]) -> Normal:
        if kind in ("boolean", "null"):
            return self._few(kind, _schemas(leaves))
        self._leave_nots_open(leaves)
        if kind == "array":
            return self._array(leaves)
        if kind == "object":
            return self.object(leaves)
        schemas = _schemas(leaves)
        is_text = kind == "string"
        merged = intersect.string(schemas) if is_text else intersect.number(schemas, kind)
        if merged is None:
            return False
        keywords, open_ = merged
        for leaf in leaves:
            self._leave_open(leaf.path, [key for key in open_ if key in leaf.schema])
        return {"type": kind, **keywords}

    def _few(self, kind: str, schemas: list[JsonObject]) -> Normal:
        """A type of few values, of which `not` may leave some."""
        every = [True, False] if kind == "boolean" else [None]
        fitting = [value for value in every if self._fits_all(value, schemas)]
        if len(fitting) == len(every):
            return {"type": kind}
        return {"enum": fitting} if fitting else False

    def _leave_nots_open(self, leaves: list[Part]) -> None:
        for leaf in leaves:
            if "not" in leaf.schema and negated(leaf.schema["not"]) is None:
                self._leave_open(leaf.path, ["not"])

    def _fits_all(self, value: Any, schemas: list[JsonObject]) -> bool:
        """Whether a constant fits what stands beside it; what cannot be checked fits."""
        return all(_fits(schema, self, value) for schema in schemas)

    @cached_property
    def moved_root(self) -> JsonObject:
        """The root, for schemas of which it is a definition."""
        moved_root: JsonObject = moved(self.root)
        return moved_root

    def _array(self, leaves: list[Part]) -> Normal:
        merged = intersect.lengths(_schemas(leaves), "minItems", "maxItems")
        if merged is None:
            return False
        count = max(len(_prefix(leaf.schema)) for leaf in leaves)
        prefix = [
            self.node([part for leaf in leaves for part in _item(leaf, i)]) for i in range(count)
        ]
        items = self.node([part for leaf in leaves for part in _item(leaf, None)])
        unique = any(leaf.schema.get("uniqueItems") is True for leaf in leaves)
        node = normal_form.array(prefix, items, merged, unique=unique)
        listed = isinstance(node, dict) and "enum" in node  # every list that may be, so all is held
        for leaf in () if listed or node is False else leaves:
            self._leave_open(leaf.path, [key for key in _OF_ARRAYS if leaf.schema.get(key)])
        return node

    def object(self, leaves: list[Part], *, closed: bool = False) -> Normal:
        schemas = _schemas(leaves)
        merged = intersect.lengths(schemas, "minProperties", "maxProperties")
        if merged is None:
            return False
        named = list(dict.fromkeys(name for one in schemas for name in _keys(one, "properties")))
        required = dict.fromkeys(name for one in schemas for name in one.get("required") or ())
        named = [*(name for name in required if name not in named), *named]
        properties = {
            name: self.node([part for leaf in leaves for part in _property(leaf, name)])
            for name in named
        }
        for name in required:
            if properties[name] is False:
                path = f"{leaves[0].path}.properties.{name}"
                self.nothing = self.nothing or f"{path}: no value fits, and it is required"
                return False
        extra = self._extra(leaves)
        if extra is None and closed:
            # where more properties are asked for than are named, others have to be meant
            patterned = any(_keys(one, "patternProperties") for one in schemas)
            extra = merged.get("minProperties", 0) > len(named) and not patterned
        patterns = self._patterns(leaves)
        extra, patterns = self._named_so(leaves, extra, patterns, properties)
        if extra is False and not patterns:
            properties = {name: one for name, one in properties.items() if one is not False}
        extra, patterns = self._told_apart(leaves, extra, patterns)
        if extra is False and not patterns and merged.get("minProperties", 0) > len(properties):
            return False
        limits = self._limits(merged, leaves, properties, required, extra)
        return Shape(properties, frozenset(required), extra, patterns, limits).as_schema()

    def _extra(self, leaves: list[Part]) -> Normal | None:
        """Of a property that nothing names; None where nothing is said of one."""
        parts = [
            Part(leaf.schema[key], f"{leaf.path}.{key}")
            for leaf in leaves
            for key in ("additionalProperties", "unevaluatedProperties")
            if key in leaf.schema
        ]
        return self.node(parts) if parts else None

    def _patterns(self, leaves: list[Part]) -> JsonObject:
        found: JsonObject = {}
        for leaf in leaves:
            for pattern, schema in _keys(leaf.schema, "patternProperties").items():
                others = [one for one in leaves if one is not leaf]
                extra = [
                    Part(one.schema["additionalProperties"], f"{one.path}.additionalProperties")
                    for one in others
                    if "additionalProperties" in one.schema
                ]
                own = Part(schema, f"{leaf.path}.patternProperties.{pattern}")
                found[pattern] = self.node([own, *extra])
        return found

    def _named_so(
        self,
        leaves: list[Part],
        extra: Normal | None,
        patterns: JsonObject,
        properties: JsonObject,
    ) -> tuple[Normal | None, JsonObject]:
        """propertyNames, as far as it is one pattern or a few names."""
        for leaf in leaves:
            names = leaf.schema.get("propertyNames")
            if names is None or extra is False:
                continue
            if isinstance(names, dict) and set(names) <= {"enum", "type"} and "enum" in names:
                open_ = True if extra is None else extra
                fresh = [one for one in names["enum"] if isinstance(one, str)]
                properties.update({one: open_ for one in fresh if one not in properties})
                extra = False
            elif _only_pattern(names) and not patterns:
                patterns = {names["pattern"]: True if extra is None else extra}
                extra = False
            else:
                self._leave_open(leaf.path, ["propertyNames"])
        return extra, patterns

    def _told_apart(
        self, leaves: list[Part], extra: Normal | None, patterns: JsonObject
    ) -> tuple[Normal | None, JsonObject]:
        """Patterns of names that no name matches two of, or none where that is not plain to see."""
        if intersect.are_apart(list(patterns)):
            return extra, patterns
        for leaf in leaves:
            self._leave_open(
                leaf.path, ["patternProperties"] * ("patternProperties" in leaf.schema)
            )
        return normal_form.either([*patterns.values(), True if extra is None else extra]), {}

    def _limits(
        self,
        merged: JsonObject,
        leaves: list[Part],
        properties: JsonObject,
        required: Iterable[str],
        extra: Normal | None,
    ) -> JsonObject:
        """minProperties and maxProperties, as far as they add something that grammars hold."""
        needed = len(list(required))
        limits = {
            key: value
            for key, value in merged.items()
            if (key == "minProperties" and value > needed)
            or (key == "maxProperties" and (value < len(properties) or extra is not False))
        }
        if not limits or len(properties) == needed:
            return limits
        for leaf in leaves:
            own = [key for key in limits if key in leaf.schema]
            one = [choice.key for choice in self.parts.choices(leaf)]
            self._leave_open(leaf.path, [key for key in own if key not in one])
        return {}


def _schemas(leaves: Iterable[Part]) -> list[JsonObject]:
    return [leaf.schema for leaf in leaves]


def _constants(schema: JsonObject) -> list[Any] | None:
    """The values a schema lists, or None where it lists none."""
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def _fits(schema: JsonObject, builder: Builder | None, value: Any) -> bool:
    """Whether a value fits what a schema says itself; `builder` has the root it refers to."""
    own = {key: schema[key] for key in own_keywords(schema)}
    if "type" in own and not _is_of_type(value, own):
        return False
    if builder is not None and "$ref" in dumps(own):
        own = {**moved(own), "$defs": {"root": builder.moved_root}}
    try:
        return fits(own, value)
    except UsageError:  # what cannot be checked is not held against a value
        return True


def _is_of_type(value: Any, schema: JsonObject) -> bool:
    kinds = intersect.types_of([schema])
    return json_type(value) in kinds or ("integer" in kinds and json_type(value) == "number")


def _keys(schema: JsonObject, key: str) -> JsonObject:
    found = schema.get(key)
    return found if isinstance(found, dict) else {}


def _prefix(schema: JsonObject) -> list[Any]:
    """The schemas of a list's first items, as either draft spells them."""
    found = schema.get("prefixItems", schema.get("items"))
    return found if isinstance(found, list) else []


def _item(leaf: Part, at: int | None) -> list[Part]:
    """What a leaf says of the item at a place; None: of those behind the first ones."""
    schema, path = leaf
    prefix = _prefix(schema)
    if at is not None and at < len(prefix):
        key = "prefixItems" if "prefixItems" in schema else "items"
        return [Part(prefix[at], f"{path}.{key}[{at}]")]
    key = "additionalItems" if isinstance(schema.get("items"), list) else "items"
    return [Part(schema[key], f"{path}.{key}")] if key in schema else []


def _property(leaf: Part, name: str) -> list[Part]:
    """What a leaf says of a property."""
    schema, path = leaf
    found = []
    if name in _keys(schema, "properties"):
        found.append(Part(schema["properties"][name], f"{path}.properties.{name}"))
    for pattern, inner in _keys(schema, "patternProperties").items():
        if normal_form.matches(pattern, name):
            found.append(Part(inner, f"{path}.patternProperties.{pattern}"))
    names = schema.get("propertyNames")
    if names is not None and not _fits({"allOf": [names]}, None, name):
        return [Part(False, path)]
    if not found and "additionalProperties" in schema:
        found.append(Part(schema["additionalProperties"], f"{path}.additionalProperties"))
    return found


def _only_pattern(names: Any) -> bool:
    return isinstance(names, dict) and "pattern" in names and set(names) <= {"pattern", "type"}
