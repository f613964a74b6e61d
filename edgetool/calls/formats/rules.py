"""Building blocks of the grammars: Lark rules in llguidance's dialect, and members in any order.

A rule that holds a JSON Schema stands on a line of its own, where nothing else is spelled
(`serve.constrained.spell_markers` turns markers into token ids in every other line).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from edgetool.calls.formats.base import dumps
from edgetool.calls.types import JsonObject, Tool
from edgetool.errors import EngineError

# Members in any order need a rule per subset of them, 2^n in all; objects with more members than
# this are held to the order of the schema.
FREE_ORDER = 5

_SPELLING = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}
# Keywords of an object schema that hold when its members are written one by one.
_PLAIN = {
    *("type", "properties", "required", "additionalProperties", "$defs", "definitions"),
    *("title", "description", "default", "examples", "$schema", "$id", "$comment"),
}


class Member(NamedTuple):
    """A part of an object or of a list of arguments: its grammar, and whether it must be there."""

    grammar: str
    required: bool


class Rules:
    """The lines of one grammar; equal bodies share a rule."""

    def __init__(self, start: str) -> None:
        self.lines = [f"start: {start}"]
        self._names: dict[str, str] = {}
        self._count = 0

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def add(self, body: str) -> str:
        """The name of the rule with this body."""
        if body not in self._names:
            self._names[body] = self.reserve()
            self.define(self._names[body], body)
        return self._names[body]

    def reserve(self) -> str:
        """A name to `define` later: a rule may call itself."""
        self._count += 1
        return f"r{self._count}"

    def define(self, name: str, body: str) -> None:
        self.lines.append(f"{name}: {body}")

    def json(self, schema: Any, root: JsonObject) -> str:
        """The rule of one JSON value, spelled as `dumps` spells it, held to a part of `root`."""
        return self.add(f"%json {dumps(standalone(schema, root))}")

    def members(self, members: Sequence[Member], separator: str = "") -> str:
        """The rule of members in any order, up to FREE_ORDER of them; more keep their order."""
        if len(members) > FREE_ORDER:
            return _Fixed(self, members, separator).first(0)
        return _Free(self, members, separator).some(tuple(range(len(members))), first=True)


def start(tools: Sequence[Tool], *, required: bool, prose: str) -> Rules:
    """The first rules of a syntax that says no call in prose; `calls` is left to define."""
    if required:
        return Rules("calls")
    rules = Rules("prose | calls" if tools else "prose")
    rules.define("prose", prose)
    return rules


def answering(schema: JsonObject, grammar: str = "") -> str:
    """A grammar of one JSON value that fits `schema`; or, where `grammar` allows prose, of that
    value in place of the prose. What a schema of an object does not name is left out, as it is from
    arguments.

    Raises EngineError for a grammar without prose.
    """
    closed = schema
    if schema.get("properties") and schema.get("type", "object") == "object":
        closed = {"additionalProperties": False, **schema}
    answer = f"%json {dumps(standalone(closed, closed))}"
    if not grammar:
        return f"start: answer\nanswer: {answer}"
    lines = grammar.splitlines()
    if not any(line.startswith("prose: ") for line in lines):
        raise EngineError("the call syntax of this model leaves no room for a JSON answer")
    return "\n".join(f"prose: {answer}" if line.startswith("prose: ") else line for line in lines)


# How the call syntaxes repeat a call: `call ("; " call)*`, or `calls: call+`.
_REPEATED = re.compile(r'\b(\w+) \("(?:[^"\\]|\\.)*" \1\)\*')
_SOME = re.compile(r"^(calls: .*)\+$", re.MULTILINE)


def one_call(grammar: str) -> str:
    """The grammar with one call where it has one after another."""
    lines = [
        line if "%json" in line else _REPEATED.sub(r"\1", line) for line in grammar.split("\n")
    ]
    return _SOME.sub(r"\1", "\n".join(lines))


class _Free:
    """A rule for each set of members that are still to come."""

    def __init__(self, rules: Rules, members: Sequence[Member], separator: str) -> None:
        self.rules, self.members, self.separator = rules, members, literal(separator)

    def some(self, left: tuple[int, ...], *, first: bool) -> str:
        ways = []
        for one in left:
            after = self.some(tuple(i for i in left if i != one), first=False)
            before = "" if first else self.separator
            ways.append(f"{before} {self.members[one].grammar} {after}")
        if not ways:
            return ""
        optional = not any(self.members[i].required for i in left)
        return self.rules.add(f"({' | '.join(ways)}){'?' * optional}")


class _Fixed:
    """A rule for each place in the order."""

    def __init__(self, rules: Rules, members: Sequence[Member], separator: str) -> None:
        self.rules, self.members, self.separator = rules, members, literal(separator)

    def first(self, at: int) -> str:
        """From member `at` on, nothing written before it."""
        if at == len(self.members):
            return ""
        grammar, required = self.members[at]
        written = f"{grammar} {self._after(at + 1)}"
        if required:
            return self.rules.add(written)
        return self.rules.add(f"{written} | {self.first(at + 1) or literal('')}")

    def _after(self, at: int) -> str:
        tail = ""
        for grammar, required in reversed(self.members[at:]):
            tail = self.rules.add(f"({self.separator} {grammar}){'?' * (not required)} {tail}")
        return tail


def literal(text: str) -> str:
    """A Lark literal."""
    return dumps(text) if text else '""'


def untrusted(text: str) -> str:
    """A Lark literal that no marker can be found in: its signs are written as \\uXXXX."""
    body = "".join(char if char.isalnum() and char.isascii() else _escaped(char) for char in text)
    return f'"{body}"'


def _escaped(char: str) -> str:
    if char in " _.,:":
        return char
    # The engine knows no surrogate pairs; no marker of any model is beyond the basic plane.
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else char


def json_call(rules: Rules, tool: Tool, arguments: str = "arguments") -> str:
    """The rule of one call as a JSON object; its arguments stand in any order where they can.

    arguments   the key they stand under
    """
    # Every call begins with a literal: the lexer cannot choose between one and a schema's brace.
    head = f'{{"name": {dumps(tool.name)}, "{arguments}": '
    return rules.add(f"{untrusted(head)} {json_arguments(rules, tool)} {untrusted('}')}")


def json_arguments(rules: Rules, tool: Tool) -> str:
    """The rule of a tool's arguments as a JSON object."""
    if not is_plain(tool.parameters):
        closed = {"additionalProperties": False, **tool.parameters}
        return rules.json(closed, closed)
    members = [
        Member(f"{untrusted(dumps(name) + ': ')} {rules.json(schema, tool.parameters)}", required)
        for name, schema, required in arguments_of(tool)
    ]
    return rules.add(f"{untrusted('{')} {rules.members(members, ', ')} {untrusted('}')}")


def is_plain(parameters: JsonObject) -> bool:
    """Whether an object of few members says nothing about them beyond their own schemas."""
    properties = parameters.get("properties", {})
    return (
        isinstance(properties, dict)
        and len(properties) <= FREE_ORDER
        and set(parameters) <= _PLAIN
        and parameters.get("additionalProperties", False) is False
        and set(parameters.get("required", ())) <= set(properties)
        and all(schema is not False for schema in properties.values())
    )


def arguments_of(tool: Tool) -> list[tuple[str, Any, bool]]:
    """(name, schema, required) of each argument; those only `required` names take any value."""
    properties = tool.parameters.get("properties") or {}
    required = set(tool.required)
    named = [(name, schema, name in required) for name, schema in properties.items()]
    return named + [(name, {}, True) for name in tool.required if name not in properties]


def standalone(schema: Any, root: JsonObject) -> JsonObject:
    """A part of `root` as a schema of its own, with what its references name."""
    whole = {"x-guidance": _SPELLING}
    if isinstance(schema, bool):
        return {**whole, "allOf": [schema]}
    if "$ref" not in dumps(schema):
        return {**schema, **whole}
    return {**_moved(schema), **whole, "$defs": {"root": _moved(root)}}


def _moved(value: Any) -> Any:
    """References into the root now look for it under $defs."""
    if isinstance(value, list):
        return [_moved(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _reference(inner) if key == "$ref" else _moved(inner) for key, inner in value.items()
    }


def _reference(target: Any) -> Any:
    local = isinstance(target, str) and target.startswith("#")
    return f"#/$defs/root{target[1:]}" if local else _moved(target)
