"""What in a list of tools small models and grammars stumble over, with the remedy.

Nothing here is an error: the tools can be used. What cannot be used is refused by `tools`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from edgetool.calls.schema.parts import resolve
from edgetool.calls.syntaxes.rules import FREE_ORDER
from edgetool.calls.tools.tools import walk
from edgetool.calls.types import JsonObject, Tool

LONG_ENUM = 100
LONG_TEXT = 1_000
LONG_LIST = 100
MANY_PROPERTIES = 20
MANY_TOOLS = 20
LONG_DESCRIPTION = 1_000
DEEP = 4

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# Repetition of something that repeats itself, or the signs only a backtracking engine knows.
_HARD_PATTERN = re.compile(r"\([^()]*[+*][^()]*\)[+*{]|\(\?[=!<]|\\[1-9]")


class Finding(NamedTuple):
    """What was found: its kind, the tool and place, and what to do."""

    kind: str
    where: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}; {self.remedy}"


def lint(tools: Sequence[Tool]) -> list[Finding]:
    """Findings of all tools, in their order."""
    found = list(_names(tools))
    if len(tools) > MANY_TOOLS:
        found.append(Finding(f"{len(tools)} tools", "tools", "offer a small model fewer at a time"))
    for tool in tools:
        found += _tool(tool)
    return found


def _names(tools: Sequence[Tool]) -> Iterator[Finding]:
    for name, times in Counter(tool.name for tool in tools).items():
        if times > 1:
            yield Finding(f"duplicate name ({times} times)", name, "rename all but one")
    names = sorted({tool.name for tool in tools})
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if _near(one, other):
                yield Finding(f"near-identical name '{other}'", one, "tell them apart by a word")


def _near(one: str, other: str) -> bool:
    """Equal but for case and signs, or one letter apart (a letter more or less, or another one)."""
    plain, again = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in (one, other))
    if plain == again:
        return True
    if abs(len(plain) - len(again)) > 1 or min(len(plain), len(again)) < 5:
        return False
    same = next((i for i, (a, b) in enumerate(zip(plain, again, strict=False)) if a != b), None)
    if same is None:
        return True
    rests = (plain[same:], again[same:])
    return rests[0][1:] == rests[1][1:] or rests[0][1:] == rests[1] or rests[0] == rests[1][1:]


def _tool(tool: Tool) -> Iterator[Finding]:
    if not _NAME.fullmatch(tool.name):
        yield Finding(
            "name beyond A-Z a-z 0-9 _ . -", tool.name, "not every call syntax can write it"
        )
    if not tool.description.strip():
        yield Finding("missing description", tool.name, "say in a sentence what it is for")
    elif len(tool.description) > LONG_DESCRIPTION:
        yield Finding(
            f"description of {len(tool.description)} characters",
            tool.name,
            "a small model reads all of it for every prompt",
        )
    yield from _properties(tool)
    if _recursive(tool.parameters):
        yield Finding("recursive $ref", tool.name, "a model may nest without end; spell it out")
    for path, schema, depth in walk(tool.parameters):
        where = f"{tool.name}: {path}"
        for check in _CHECKS:
            yield from check(where, schema)
        if depth > 2 * DEEP + 1 and "properties" in schema:
            yield Finding("deeply nested object", where, "flatten it")


def _properties(tool: Tool) -> Iterator[Finding]:
    properties = tool.parameters.get("properties", {})
    for name, schema in properties.items():
        if isinstance(schema, dict) and not str(schema.get("description", "")).strip():
            yield Finding(
                "missing description", f"{tool.name}: parameters.{name}", "say what goes there"
            )
    composed = any(key in tool.parameters for key in ("$ref", "allOf", "anyOf", "oneOf"))
    for name in tool.required:
        if name not in properties and not composed:
            yield Finding(
                f"required '{name}' is no property", tool.name, "add it, or do not require it"
            )
    if len(properties) > MANY_PROPERTIES:
        yield Finding(f"{len(properties)} properties", tool.name, "small models lose track")
    elif len(properties) > FREE_ORDER:
        yield Finding(
            f"{len(properties)} properties",
            tool.name,
            f"constrained, more than {FREE_ORDER} are written in the order of the schema",
        )


def _enum(where: str, schema: JsonObject) -> Iterator[Finding]:
    enum = schema.get("enum")
    if isinstance(enum, list) and len(enum) > LONG_ENUM:
        yield Finding(f"enum of {len(enum)} values", where, "let it be text, or offer fewer")
    if enum == []:
        yield Finding("empty enum", where, "no value fits")


def _sizes(where: str, schema: JsonObject) -> Iterator[Finding]:
    for key, limit in (
        ("maxLength", LONG_TEXT),
        ("minLength", LONG_TEXT),
        ("maxItems", LONG_LIST),
        ("minItems", LONG_LIST),
    ):
        value = schema.get(key)
        if isinstance(value, int | float) and value > limit:
            yield Finding(f"{key} {value:,}", where, "leave it out; a grammar counts each one")
    for low, high in (("minLength", "maxLength"), ("minItems", "maxItems"), ("minimum", "maximum")):
        if _number(schema.get(low)) and _number(schema.get(high)) and schema[low] > schema[high]:
            yield Finding(f"{low} {schema[low]} above {high} {schema[high]}", where, "nothing fits")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pattern(where: str, schema: JsonObject) -> Iterator[Finding]:
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and _HARD_PATTERN.search(pattern):
        yield Finding(f"pattern {pattern[:40]!r}", where, "no grammar can hold it fast; simplify")


_CHECKS: tuple[Callable[[str, JsonObject], Iterator[Finding]], ...] = (
    _enum,
    _sizes,
    _pattern,
)


def _recursive(schema: JsonObject) -> bool:
    """Whether following references inside the schema comes back to one of them."""
    targets: dict[str, set[str]] = {}

    def references(part: Any) -> set[str]:
        return {inner["$ref"] for _, inner, _ in walk(part) if isinstance(inner.get("$ref"), str)}

    waiting = list(references(schema))
    while waiting:
        target = waiting.pop()
        if target not in targets:
            targets[target] = references(resolve(schema, target))
            waiting += targets[target]
    return any(_reaches(targets, start, start) for start in targets)


def _reaches(targets: dict[str, set[str]], start: str, goal: str) -> bool:
    seen: set[str] = set()
    waiting = list(targets[start])
    while waiting:
        one = waiting.pop()
        if one == goal:
            return True
        if one not in seen:
            seen.add(one)
            waiting += targets[one]
    return False
