"""A tool's JSON Schema in normal form, from which every call syntax makes its grammar.

A value's normal form is a JSON Schema again, of few shapes:

    True, False          any value, no value
    {"anyOf": [...]}     one of the others
    {"enum": [...]}      one of these values
    {"$ref": ...}        a definition of the tree: a schema that comes back to itself, or a large
                         one that stands in several places
    {"type": kind, ...}  one type with keywords of that type alone

References and compositions are resolved, what stands beside each other is intersected, annotations
are gone. What no grammar can hold is left open, so the normal form fits every value that fits the
schema; `open` names it, and `validation` checks it once a call is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import NamedTuple

from edgetool.calls.schema import intersect, normal_form
from edgetool.calls.schema.builder import Builder
from edgetool.calls.schema.normal_form import Normal, Shape
from edgetool.calls.schema.parts import Part, SchemaError
from edgetool.calls.types import JsonObject, Tool

_KEPT = 256
# Keywords that name arguments beside `properties` and `required`, or say something of their names.
_ELSEWHERE = frozenset(
    "$ref $dynamicRef $recursiveRef allOf anyOf oneOf if then else not patternProperties "
    "propertyNames dependentRequired dependentSchemas dependencies unevaluatedProperties "
    "minProperties".split()
)
PATH = "parameters"


class Open(NamedTuple):
    """A keyword that no grammar holds, and the path to the schema it stands in."""

    path: str
    keyword: str

    def __str__(self) -> str:
        return f"{self.path}: '{self.keyword}'"


class SchemaTree:
    """The normal forms of one schema and of the schemas in it.

    definitions   what `$ref` in a normal form names
    open          what is left open, in the order it was met
    broken        references that name nothing
    """

    def __init__(self, root: JsonObject, path: str = PATH) -> None:
        self._builder = Builder(root, path)
        self._root = Part(root, path)

    @property
    def definitions(self) -> dict[str, Normal]:
        return self._builder.definitions

    @property
    def open(self) -> tuple[Open, ...]:
        return tuple(Open(*one) for one in (*self._builder.open, *self._builder.parts.open))

    @property
    def open_in_arguments(self) -> tuple[Open, ...]:
        """What is left open of the root as an object of arguments."""
        return self.open if self._shapes is not None else ()

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._builder.parts.broken))

    def value(self) -> Normal:
        """The root as a value of any type.

        Raises SchemaError where no value fits, or a reference names nothing.
        """
        node = self._finite(self._builder.node([self._root]))
        self._require_sound(node is not False)
        return node

    def shapes(self) -> list[Shape]:
        """The root as an object of arguments: what no schema names may not be there, unless one
        says that it may.

        Raises SchemaError where no arguments fit, or a reference names nothing.
        """
        self._require_sound(bool(self._shapes))
        return self._shapes

    @cached_property
    def _shapes(self) -> list[Shape]:
        return self._of_arguments()

    def arguments(self) -> JsonObject:
        """The arguments' normal form, a JSON Schema of its own."""
        ways = [shape.as_schema() for shape in self._shapes]
        return self.standalone(ways[0] if len(ways) == 1 else {"anyOf": ways} if ways else False)

    def argument(self, name: str) -> Normal:
        """The normal form of an argument in any shape; True where none names it. Never raises: a
        reference that names nothing stands for text."""
        named = [one.properties[name] for one in self._shapes if name in one.properties]
        return normal_form.either(named) if named else True

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that are named in any shape, in their order."""
        return tuple(dict.fromkeys(name for one in self._shapes for name in one.properties))

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Those of the names that no argument may have."""
        shapes = self._shapes  # none where nothing fits, which a validator explains
        return [name for name in names if shapes and not any(s.allows(name) for s in shapes)]

    def _require_sound(self, fits_something: bool) -> None:
        if self._builder.parts.broken:
            raise SchemaError(self._builder.parts.broken[0])
        if not fits_something:
            raise SchemaError(self._builder.nothing or f"{self._root.path}: no value fits")

    def _of_arguments(self) -> list[Shape]:
        ways, keys = self._builder.parts.ways([self._root])
        of_objects = [
            way for way in ways if "object" in intersect.types_of([leaf.schema for leaf in way])
        ]
        nodes = [one for way in of_objects for one in self._builder.objects(way)]
        found = [Shape.of(one) for one in map(self._finite, nodes) if one is not False]
        return normal_form.beside(found, self.definitions) if keys <= {"anyOf"} else found

    def resolved(self, node: Normal) -> Normal:
        """What a reference of a normal form stands for; itself where it is none."""
        while (name := normal_form.referred(node)) is not None:
            node = self.definitions[name]
        return node

    def alternatives(self, node: Normal) -> list[Normal]:
        """The normal forms without anyOf and $ref of which one fits."""
        found: list[Normal] = []
        waiting, seen = [node], set[str]()
        while waiting:
            one = waiting.pop()
            name = normal_form.referred(one)
            if name is not None:
                waiting += [self.definitions[name]] * (name not in seen)
                seen.add(name)
            elif isinstance(one, dict) and "anyOf" in one:
                waiting += reversed(one["anyOf"])
            elif one is not False:
                found.append(one)
        return found

    def standalone(self, node: Normal) -> JsonObject:
        """A normal form with the definitions it refers to: a JSON Schema of its own."""
        # the engine follows no reference beside $defs that comes back to itself
        top = self.resolved(node)
        schema = dict(top) if isinstance(top, dict) else {} if top else {"not": {}}
        needed = self._reachable(node)
        if needed:
            schema["$defs"] = {name: self.definitions[name] for name in needed}
        return schema

    def _reachable(self, node: Normal) -> list[str]:
        found: dict[str, None] = {}
        waiting = list(normal_form.references(node))
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = None
                waiting += normal_form.references(self.definitions[name])
        return list(found)

    def _finite(self, node: Normal) -> Normal:
        """Without what could only be written without end: an object that must hold itself."""
        if not self.definitions:
            return node
        finite: set[str] = set()
        size = -1
        while size != len(finite):
            size = len(finite)
            finite |= {
                name for name, one in self.definitions.items() if normal_form.ends(one, finite)
            }
        for name in sorted(set(self.definitions) - finite):
            path = self._builder.paths[name]
            why = f"{path}: a value never ends, as '$ref' leads back to what it has to hold"
            self._builder.nothing = self._builder.nothing or why
        self._builder.definitions = {
            name: normal_form.cut(one, finite) for name, one in self.definitions.items()
        }
        return normal_form.cut(node, finite)


def of_answer(schema: JsonObject) -> JsonObject:
    """A JSON answer's schema in normal form: what objects do not name is left out.

    Raises SchemaError for a schema that nothing fits.
    """
    tree = SchemaTree(schema, "schema")
    node = normal_form.either(map(_closed, tree.alternatives(tree.value())))
    return tree.standalone(node)


def _closed(node: Normal) -> Normal:
    named = isinstance(node, dict) and node.get("properties")
    return {"additionalProperties": False, **node} if named else node


@lru_cache(maxsize=_KEPT)
def of_tool(tool: Tool) -> SchemaTree:
    """The tree of a tool's parameters."""
    return SchemaTree(tool.parameters)


def unknown_arguments(tool: Tool, names: Iterable[str]) -> list[str]:
    """Those of the names that no argument of the tool may have."""
    schema = tool.parameters
    if is_composed(schema):
        return of_tool(tool).unknown(names)
    open_ = schema.get("additionalProperties", False) is not False
    known = {*(schema.get("properties") or ()), *(schema.get("required") or ())}
    return [] if open_ else [name for name in names if name not in known]


def is_composed(schema: JsonObject) -> bool:
    """Whether more than its properties say which arguments there are."""
    return not _ELSEWHERE.isdisjoint(schema)


def arguments_of(tool: Tool) -> tuple[SchemaTree, list[Shape]]:
    """The tree of a tool's parameters and the shapes of its arguments, one at least.

    Raises SchemaError, naming the tool, where no arguments fit or a reference names nothing.
    """
    tree = of_tool(tool)
    try:
        return tree, tree.shapes()
    except SchemaError as error:
        raise SchemaError(f"tool '{tool.name}': {error}") from None
