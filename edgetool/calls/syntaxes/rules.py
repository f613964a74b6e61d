"""Building blocks of the grammars: Lark rules in llguidance's dialect, and members in any order.

A rule that holds a JSON Schema stands on a line of its own, where nothing else is spelled
(`serve.constrained.spell_markers` turns markers into token ids in every other line).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from edgetool.calls.json_text import dumps
from edgetool.calls.schema.normal_form import Shape
from edgetool.calls.schema.tree import SchemaTree, arguments_of, of_answer
from edgetool.calls.types import JsonObject, Tool
from edgetool.errors import EngineError

# Members in any order need a rule per subset of them, 2^n in all; objects with more members than
# this are held to the order of the schema.
FREE_ORDER = 5

_SPELLING = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}


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

    def add(self, body: str, attributes: str = "") -> str:
        """The name of the rule with this body; `attributes` as the dialect has them, "[...]"."""
        key = attributes + body
        if key not in self._names:
            self._names[key] = self.reserve()
            self.define(self._names[key] + attributes, body)
        return self._names[key]

    def reserve(self) -> str:
        """A name to `define` later: a rule may call itself."""
        self._count += 1
        return f"r{self._count}"

    def define(self, name: str, body: str) -> None:
        self.lines.append(f"{name}: {body}")

    def json(self, schema: JsonObject) -> str:
        """The rule of one JSON value, spelled as `dumps` spells it, held to a schema of its own."""
        return self.add(_json(schema))

    def pattern(
        self,
        regex: str,
        but: Sequence[str] = (),
        held: Sequence[str] = (),
        unlike: Sequence[str] = (),
    ) -> str:
        """The terminal of text that matches `regex` and all of `held`, as a whole, and is none of
        `but` and matches none of `unlike`."""
        refused = [*map(_as_regex, but), *unlike]
        no = [f"~/(?:{'|'.join(refused)})/"] if refused else []
        return self.terminal([f"/{one}/" for one in (regex, *held)] + no)

    def terminal(self, parts: Sequence[str]) -> str:
        """The terminal of text that all the parts match."""
        body = " & ".join(parts)
        if body not in self._names:
            self._count += 1
            self._names[body] = f"T{self._count}"
            self.define(self._names[body], body)
        return self._names[body]

    def members(self, members: Sequence[Member], separator: str = "") -> str:
        """The rule of members in any order, up to FREE_ORDER of them; more keep their order."""
        found = _Members(self, members, separator)
        if len(members) > FREE_ORDER:
            return found.in_order(0)
        return found.in_any_order(tuple(range(len(members))), first=True)


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

    Raises SchemaError for a schema that nothing fits, EngineError for a grammar without prose.
    """
    answer = _json(of_answer(schema))
    if not grammar:
        return f"start: answer\nanswer: {answer}"
    lines = grammar.splitlines()
    if not any(line.startswith("prose: ") for line in lines):
        raise EngineError(
            "this model's call syntax has no place for prose, so none for a JSON answer"
        )
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


class _Members:
    """The rules of an object's members or a call's arguments."""

    def __init__(self, rules: Rules, members: Sequence[Member], separator: str) -> None:
        self.rules, self.members, self.separator = rules, members, literal(separator)

    def in_any_order(self, left: tuple[int, ...], *, first: bool) -> str:
        """A rule for each set of members that are still to come."""
        ways = []
        for one in left:
            after = self.in_any_order(tuple(i for i in left if i != one), first=False)
            before = "" if first else self.separator
            ways.append(f"{before} {self.members[one].grammar} {after}")
        if not ways:
            return ""
        optional = not any(self.members[i].required for i in left)
        return self.rules.add(f"({' | '.join(ways)}){'?' * optional}")

    def in_order(self, at: int) -> str:
        """A rule for each place in the order, from member `at` on; nothing is written before it."""
        if at == len(self.members):
            return ""
        grammar, required = self.members[at]
        written = f"{grammar} {self._after(at + 1)}"
        if required:
            return self.rules.add(written)
        return self.rules.add(f"{written} | {self.in_order(at + 1) or literal('')}")

    def _after(self, at: int) -> str:
        tail = ""
        for grammar, required in reversed(self.members[at:]):
            tail = self.rules.add(f"({self.separator} {grammar}){'?' * (not required)} {tail}")
        return tail


def repeated(body: str, low: int, most: int | None) -> str:
    """A grammar `low` to `most` times; None: without end."""
    return "" if most == 0 else f"({body}){{{low},{'' if most is None else most}}}"


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
    """The rule of a tool's arguments as a JSON object. Raises SchemaError."""
    tree, shapes = arguments_of(tool)
    if len(shapes) == 1 and is_plain(shapes[0]):
        return _plain_arguments(rules, tree, shapes[0])
    return rules.json(tree.arguments())


def _plain_arguments(rules: Rules, tree: SchemaTree, shape: Shape) -> str:
    members = [
        Member(
            f"{untrusted(dumps(name) + ': ')} {rules.json(tree.standalone(node))}",
            name in shape.required,
        )
        for name, node in shape.properties.items()
    ]
    return rules.add(f"{untrusted('{')} {rules.members(members, ', ')} {untrusted('}')}")


def is_plain(shape: Shape) -> bool:
    """Whether an object of few members says nothing about them beyond their own schemas."""
    return shape.is_closed and not shape.limits and len(shape.properties) <= FREE_ORDER


def _json(schema: JsonObject) -> str:
    return f"%json {dumps({**schema, 'x-guidance': _SPELLING})}"


def _as_regex(text: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else f"\\x{{{ord(c):X}}}" for c in text)


def whole_pattern(pattern: str) -> str | None:
    """A pattern, which matches anywhere, as one that matches a text as a whole; None where that
    takes more than looking at its ends."""
    inner = pattern.removeprefix("^")
    ended = inner.endswith("$") and not inner.endswith("\\$")
    inner = inner.removesuffix("$") if ended else inner
    if re.search(r"[$^]", inner.replace("[^", "[")) or _has_top_level_choice(inner):
        return None
    inner = _with_ascii_classes(inner).replace(r"\/", "/").replace("/", r"\x2F")
    return f"{'' if pattern.startswith('^') else '(?s:.*)'}{inner}{'' if ended else '(?s:.*)'}"


# JSON Schema's patterns are ECMA-262's, where a digit is one of ten; the engine knows hundreds.
_ASCII = {r"\d": "0-9", r"\w": "0-9A-Za-z_"}
_ASCII |= {name.upper(): f"^{members}" for name, members in _ASCII.items()}


def _with_ascii_classes(pattern: str) -> str:
    """The pattern with \\d, \\w, \\D and \\W spelled out; inside a class \\D and \\W stay."""
    found, inside = [], False
    for sign in re.findall(r"\\.|.", pattern, re.DOTALL):
        members = _ASCII.get(sign)
        if members and not inside:
            sign = f"[{members}]"
        elif members and not members.startswith("^"):
            sign = members
        inside = (inside or sign == "[") and sign != "]"
        found.append(sign)
    return "".join(found)


def length_of(node: JsonObject) -> str:
    """The repetition that gives a string its length, "*" for any."""
    low, high = node.get("minLength", 0), node.get("maxLength")
    if high is None and not low:
        return "*"
    return f"{{{low},{'' if high is None else high}}}"


def text_patterns(node: JsonObject) -> list[str]:
    """The patterns of a string's normal form that can be put as ones of the whole text."""
    given = [node["pattern"]] if "pattern" in node else []
    given += [one["pattern"] for one in node.get("allOf", ())]
    return [whole for one in given if (whole := whole_pattern(one)) is not None]


def _has_top_level_choice(pattern: str) -> bool:
    depth = 0
    for sign in re.sub(r"\\.", "", pattern):
        depth += (sign in "([") - (sign in ")]")
        if sign == "|" and not depth:
            return True
    return False
