"""Which parts of a JSON Schema hold for a value together, and between which a value may choose.

References and `allOf` are followed: what they lead to holds beside what stands next to them.
anyOf, oneOf, if, dependencies and what `not` can be turned into are choices: every way to choose
gives a list of parts that hold together. Nothing here looks at a type's own keywords.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from edgetool.calls.types import JsonObject
from edgetool.errors import EngineError

KINDS = ("string", "number", "boolean", "null", "array", "object")
# Ways to choose that one value may have; a choice that would make more of them is left open.
MOST_WAYS = 256
MOST_IN_ALL = 5_000  # of all values of a schema
_FEW_OPTIONS = 3  # of a oneOf that are told apart by what each of them asks for

_FOLLOWED = ("$ref", "$dynamicRef", "$recursiveRef")
_NOTES = frozenset(
    "title description default examples example $schema $id $anchor $comment $defs definitions "
    "deprecated readOnly writeOnly nullable discriminator x-guidance".split()
)
_COMPOSED = frozenset((*_FOLLOWED, "allOf", "anyOf", "oneOf", "if", "then", "else"))


class SchemaError(EngineError):
    """A schema that no grammar can be made of: what is wrong, and at which path inside it.

    Its author is at fault, and mends it; asking again does not help.
    """


class Part(NamedTuple):
    """A schema inside a schema, and the path to it."""

    schema: Any
    path: str


class Alone(NamedTuple):
    """A keyword by itself: the schema of it, its name, and the path to the schema it stands in."""

    schema: JsonObject
    keyword: str
    path: str


class Leaf(NamedTuple):
    """A part that holds; `within` are the parts (by id) whose choice it came from."""

    part: Part
    within: frozenset[int]


class Choice(NamedTuple):
    """Schemas of which one has to fit. `key` is the keyword they are of.

    exact   whether whatever fits one of them fits the keyword
    """

    key: str
    options: Sequence[Any]
    exact: bool = True


class Parts:
    """The parts of one schema, its root.

    apart    whether no value fits two of some schemas, given their path
    broken   references that lead nowhere; what stands there is taken as text
    open     (path, keyword) of choices that are too many, in the order they were met
    """

    def __init__(
        self, root: JsonObject, path: str, apart: Callable[[Sequence[Any], str], bool]
    ) -> None:
        self.root, self._path, self._apart = root, path, apart
        self._made = 0  # ways, in all
        self.broken: list[str] = []
        self.open: dict[tuple[str, str], None] = {}
        self._choices: dict[int, list[Choice]] = {}  # one list a schema: ids have to stay

    def closure(self, parts: Sequence[Part]) -> list[Part] | None:
        """All parts that hold where `parts` do, without those that say nothing; None: nothing can
        fit."""
        found: dict[int, Part] = {}
        waiting = list(reversed(parts))
        while waiting:
            part = waiting.pop()
            schema, path = part
            if schema is False:
                return None
            if not isinstance(schema, dict) or id(schema) in found:
                continue
            found[id(schema)] = part
            after = [self._target(schema[key], path) for key in _FOLLOWED if key in schema]
            after += _each(schema.get("allOf"), f"{path}.allOf")
            waiting += reversed(after)
        return [part for part in found.values() if _says(part.schema)]

    def ways(self, parts: Sequence[Part]) -> tuple[list[list[Part]], set[str]]:
        """Every way to choose, as the parts that then hold, and the keywords of the choices."""
        held = self.closure(parts)
        if held is None:
            return [], set()
        ways = [{id(part.schema): Leaf(part, frozenset()) for part in held}]
        taken: set[tuple[int, str]] = set()
        while (found := self._next(ways, taken)) is not None:
            owner, choice, path = found
            taken.add((owner, choice.key))
            if not choice.exact:
                self.open[path, choice.key] = None
            more = len(ways) * len(choice.options)
            self._made += more
            fewer = (len(ways) == 1 or more <= MOST_WAYS) and self._made <= MOST_IN_ALL
            if not fewer:
                self.open[path, choice.key] = None
                continue
            ways = [one for way in ways for one in self._chosen(way, owner, choice, path)]
        return [[leaf.part for leaf in way.values()] for way in ways], {key for _, key in taken}

    def _next(
        self, ways: list[dict[int, Leaf]], taken: set[tuple[int, str]]
    ) -> tuple[int, Choice, str] | None:
        for way in ways:
            for owner, leaf in way.items():
                for choice in self.choices(leaf.part):
                    if (owner, choice.key) not in taken:
                        return owner, choice, leaf.part.path
        return None

    def _chosen(
        self, way: dict[int, Leaf], owner: int, choice: Choice, path: str
    ) -> Iterator[dict[int, Leaf]]:
        """The way with each of the options; one that leads back to its owner adds nothing."""
        if owner not in way:
            yield way
            return
        within = way[owner].within | {owner}
        for i, option in enumerate(choice.options):
            held = self.closure([Part(option, f"{path}.{choice.key}[{i}]")])
            if held is None or any(id(part.schema) in within for part in held):
                continue
            new = {id(part.schema): Leaf(part, within) for part in held}
            yield {**way, **{key: leaf for key, leaf in new.items() if key not in way}}

    def choices(self, part: Part) -> list[Choice]:
        """The choices a schema leaves."""
        schema, path = part
        if id(schema) not in self._choices:
            others = list(_choices(schema))
            one_of = schema.get("oneOf")
            # for what comes back here while its schemas are told apart
            self._choices[id(schema)] = [*others, *_listed("oneOf", one_of)]
            self._choices[id(schema)] = [*others, *self._one_of(one_of, path)]
        return self._choices[id(schema)]

    def _one_of(self, options: Any, path: str) -> Iterator[Choice]:
        """oneOf: what fits two of its schemas does not fit it. Where that is more than to look at
        types, it is left open."""
        if not isinstance(options, list):
            return
        if self._apart(options, f"{path}.oneOf"):
            yield from _listed("oneOf", options)
            return
        plain = [self._followed(one) for one in options]
        if len(plain) > _FEW_OPTIONS or not all(map(_is_simple, plain)):
            yield Choice("oneOf", options, exact=False)
            return
        others = [[{"not": two} for two in plain if two is not one] for one in plain]
        yield Choice(
            "oneOf", [{"allOf": [one, *nots]} for one, nots in zip(plain, others, strict=True)]
        )

    def _followed(self, schema: Any) -> Any:
        """What a schema that only refers to another stands for."""
        while isinstance(schema, dict) and set(schema) - _NOTES == {"$ref"}:
            schema = resolve(self.root, schema["$ref"])
        return schema

    def _target(self, target: Any, path: str) -> Part:
        found = resolve(self.root, target)
        if found is None:
            self.broken.append(f"{path}: $ref {target!r} names nothing in the schema")
            return Part(_TEXT, path)
        pointed = target if target.startswith("#/") else ""
        inner = f"{self._path}{pointed[1:].replace('/', '.')}" if pointed else f"{path}.$ref"
        return Part(found, inner)


_TEXT: JsonObject = {"type": "string"}


def resolve(root: JsonObject, target: Any) -> Any:
    """What a reference names, by pointer, $anchor or $id; None where it names nothing."""
    if not isinstance(target, str):
        return None
    base, _, fragment = target.partition("#")
    found: Any = root if not base else _identified(root, "$id", base)
    if not fragment or found is None:
        return found
    if not fragment.startswith("/"):
        named = _identified(found, "$anchor", fragment)
        return named if named is not None else _identified(found, "$dynamicAnchor", fragment)
    for part in unquote(fragment).split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            return None
    return found if isinstance(found, dict | bool) else None


def _identified(root: Any, key: str, name: str) -> Any:
    """The schema in `root` that calls itself so."""
    waiting = [root]
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, dict):
            own = schema.get(key)
            if isinstance(own, str) and (own == name or own.endswith(f"/{name}")):
                return schema
            waiting += schema.values()
        elif isinstance(schema, list):
            waiting += schema
    return None


def _each(schemas: Any, path: str) -> list[Part]:
    listed = schemas if isinstance(schemas, list) else []
    return [Part(one, f"{path}[{i}]") for i, one in enumerate(listed)]


def _says(schema: JsonObject) -> bool:
    """Whether it says anything itself, beyond what it refers to."""
    return not set(schema) <= _NOTES | {*_FOLLOWED, "allOf"}


def own_keywords(schema: JsonObject) -> set[str]:
    """The keywords that restrict a value by themselves."""
    return set(schema) - _NOTES - _COMPOSED


def _listed(key: str, options: Any) -> list[Choice]:
    return [Choice(key, options)] if isinstance(options, list) else []


def _choices(schema: JsonObject) -> Iterator[Choice]:
    yield from _listed("anyOf", schema.get("anyOf"))
    if "if" in schema and ("then" in schema or "else" in schema):
        first, otherwise = schema.get("then", True), schema.get("else", True)
        chosen = [
            {"allOf": [schema["if"], first]},
            {"allOf": [{"not": schema["if"]}, otherwise]},
        ]
        yield Choice("if", chosen)
    if "not" in schema and (options := negated(schema["not"])) is not None:
        yield Choice("not", options)
    yield from _dependencies(schema)
    if _one_of_its_own(schema):
        yield Choice("minProperties", [{"required": [name]} for name in schema["properties"]])


def _dependencies(schema: JsonObject) -> Iterator[Choice]:
    for key in ("dependentRequired", "dependentSchemas", "dependencies"):
        given = schema.get(key)
        for name, needs in given.items() if isinstance(given, dict) else ():
            with_it = {"required": [name, *needs]} if isinstance(needs, list) else needs
            chosen = [
                {"properties": {name: False}},
                {"allOf": [{"required": [name]}, with_it]},
            ]
            yield Choice(f"{key}.{name}", chosen)


def _one_of_its_own(schema: JsonObject) -> bool:
    """At least one of a few properties has to be there, and no other may be."""
    return (
        schema.get("minProperties") == 1
        and not schema.get("required")
        and 0 < len(schema.get("properties") or ()) <= 16
        and not schema.get("additionalProperties")
        and not schema.get("patternProperties")
    )


def _is_simple(schema: Any) -> bool:
    """An object of few properties of which only the types are said: `negated` is exact."""
    if not isinstance(schema, dict) or set(schema) - _NOTES - {"type", "properties", "required"}:
        return False
    properties = schema.get("properties") or {}
    kinds = [one.get("type") if isinstance(one, dict) else None for one in properties.values()]
    alone = [set(one) - _NOTES == {"type"} for one in properties.values() if isinstance(one, dict)]
    return (
        schema.get("type", "object") == "object"
        and len(properties) <= _FEW_OPTIONS
        and all(kind in KINDS for kind in kinds)
        and all(alone)
    )


def negated(schema: Any) -> list[Any] | None:
    """Schemas of which one fits whatever does not fit `schema`; None where none can say so."""
    if not isinstance(schema, dict):
        return [not schema]
    keys = set(schema) - _NOTES
    if not keys:
        return []
    if keys == {"not"}:
        return [schema["not"]]
    if keys == {"anyOf"}:
        return [{"allOf": [{"not": one} for one in schema["anyOf"]]}]
    if keys == {"allOf"}:
        return [{"not": one} for one in schema["allOf"]]
    if keys == {"type"}:
        return _other_types(schema["type"])
    if keys <= {"type", "properties", "required"} and schema.get("type", "object") == "object":
        return _other_objects(schema)
    return None


def _other_types(kinds: Any) -> list[Any] | None:
    listed = kinds if isinstance(kinds, list | tuple) else [kinds]
    if "integer" in listed and "number" not in listed:
        return None
    return [{"type": [kind for kind in KINDS if kind not in listed]}]


def _other_objects(schema: JsonObject) -> list[Any]:
    found: list[Any] = _other_types("object") or [] if "type" in schema else []
    for name in schema.get("required") or ():
        found.append({"type": "object", "properties": {name: False}})
    for name, inner in (schema.get("properties") or {}).items():
        one = {"type": "object", "required": [name], "properties": {name: {"not": inner}}}
        found.append(one)
    return found


def moved(value: Any) -> Any:
    """A part of a root, its references looking for the root under $defs/root."""
    if isinstance(value, list):
        return [moved(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: _moved(inner) if key == "$ref" else moved(inner) for key, inner in value.items()}


def _moved(target: Any) -> Any:
    local = isinstance(target, str) and (target == "#" or target.startswith("#/"))
    return f"#/$defs/root{target[1:]}" if local else moved(target)


_ALONE = {
    "pattern": "string",
    "patternProperties": "object",
    "minLength": "string",
    "maxLength": "string",
    "multipleOf": "number",
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), "number"),
    "minItems": "array",
    "maxItems": "array",
}


def keywords_alone(schema: JsonObject, path: str) -> Iterator[Alone]:
    """Each keyword that an engine might not take, by itself."""
    waiting: list[tuple[Any, str]] = [(schema, path)]
    while waiting:
        one, where = waiting.pop()
        if isinstance(one, list):
            waiting += [(inner, f"{where}[{i}]") for i, inner in enumerate(one)]
        elif isinstance(one, dict):
            waiting += [(inner, f"{where}.{key}") for key, inner in reversed(one.items())]
            for key in set(one) & set(_ALONE):
                yield Alone({"type": one.get("type", _ALONE[key]), key: one[key]}, key, where)
