"""Python calls in brackets, `[f(x=1), g(y="z")]`: what pythonic and lfm2 share.

Only read, never run: strings, numbers, True, False, None, lists and dicts by keyword. A name that
is no Python name stands in `**{"first name": 1}`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgetool.calls.schema.tree import arguments_of
from edgetool.calls.syntaxes.literals import PYTHON, Reader, Unreadable
from edgetool.calls.syntaxes.rules import Rules, literal, untrusted
from edgetool.calls.syntaxes.schema_rules import SchemaRules
from edgetool.calls.types import Tool, ToolCall

_NAME = re.compile(r"[^\s()\[\]{}=,'\"<>|*]+")
_FREE_NAME = r"[A-Za-z_][A-Za-z0-9_-]*"  # of an argument that no schema names


def write(calls: Sequence[ToolCall]) -> str:
    return f"[{', '.join(map(_call, calls))}]"


def _call(call: ToolCall) -> str:
    arguments = ", ".join(_argument(*item) for item in call.arguments.items())
    return f"{call.name}({arguments})"


def _argument(name: str, value: Any) -> str:
    if _NAME.fullmatch(name):
        return f"{name}={PYTHON.write(value)}"
    return f"**{PYTHON.write({name: value})}"


def read(text: str, start: int) -> tuple[list[ToolCall], int] | None:
    """The calls of the list that begins at `start`, and where it ends; None when it is broken."""
    reader = Reader(text, start, PYTHON)
    try:
        reader.need("[")
        calls = reader.items("]", lambda: _read_call(reader))
    except Unreadable:
        return None
    return calls, reader.at


def _read_call(reader: Reader) -> ToolCall:
    name = reader.match(_NAME)
    if name is None:
        raise Unreadable
    reader.need("(")
    arguments: dict[str, Any] = {}
    for given in reader.items(")", lambda: read_argument(reader)):
        arguments.update(given)
    return ToolCall(name, arguments)


def read_argument(reader: Reader) -> dict[str, Any]:
    """`name=value`, or `**{"any name": value}`. Raises Unreadable."""
    if reader.take("**"):
        given = reader.value()
        if not isinstance(given, dict):
            raise Unreadable
        return given
    name = reader.match(_NAME)
    if name is None:
        raise Unreadable
    reader.need("=")
    return {name: reader.value()}


def add_grammar(rules: Rules, tools: Sequence[Tool], *, empty: bool = False) -> str:
    """The rule of the list of calls."""
    call = rules.add(" | ".join(_call_rule(rules, tool) for tool in tools))
    some = f'{call} (", " {call})*'
    return rules.add(f'"[" ({some})? "]"' if empty else f'"[" {some} "]"')


def _call_rule(rules: Rules, tool: Tool) -> str:
    tree, shapes = arguments_of(tool)
    values = SchemaRules(rules, PYTHON, tree)
    ways = [
        rules.add(f'{values.members(shape, _argument_rule, _free_argument, _FREE_NAME)} ")"')
        for shape in shapes
    ]
    return rules.add(f"{untrusted(tool.name + '(')} ({' | '.join(ways)})")


def _free_argument(name: str, value: str) -> str:
    return f"{name} {literal('=')} {value}"


def _argument_rule(name: str, value: str) -> str:
    if _NAME.fullmatch(name):
        return f"{untrusted(name + '=')} {value}"
    return f"{untrusted('**{' + PYTHON.text(name) + ': ')} {value} {untrusted('}')}"
