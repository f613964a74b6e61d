"""Calls written as Python would, the way ToolACE and API-Bank do: [Name Of Tool(key='value')].

Names may hold spaces, which Python's own grammar refuses, so names are cut out first. Arguments are
read as the pythonic call syntax reads them, where a name may be a word of Python's (from, class) or
hold a dash; what that does not know, Python's own grammar reads. Nothing is evaluated.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from edgetool.calls.json_text import MAX_DEPTH
from edgetool.calls.syntaxes.literals import PYTHON, Reader, Unreadable
from edgetool.calls.syntaxes.python_calls import read_argument
from edgetool.calls.types import JsonObject
from edgetool.data.check import Problem

_CALL = re.compile(r"\s*([^()\[\],'\"=]+?)\s*\(")
_WORDS = {"true": True, "false": False, "null": None}


def parse(field: str, text: str) -> list[JsonObject]:
    """'[a(x=1), b()]' -> [{"name": "a", "arguments": {"x": 1}}, ...]. Raises Problem."""
    inner = text.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        raise Problem(field, text, "is no list of calls such as [name(key='value')]")
    calls, at = [], 1
    while match := _CALL.match(inner, at):
        end = _closing(inner, match.end())
        if end is None:
            raise Problem(field, text, "has a bracket that is never closed")
        calls.append({"name": match[1], "arguments": _arguments(field, inner[match.end() : end])})
        at = end + 1
        comma = re.compile(r"\s*,").match(inner, at)
        if not comma:
            break
        at = comma.end()
    if not calls or inner[at:].strip() != "]":
        raise Problem(field, text, "is no list of calls such as [name(key='value')]")
    return calls


def is_calls(text: str) -> bool:
    """Whether text sets out to be a list of calls."""
    return re.match(r"\s*\[\s*[^()\[\]{}'\"]+\(", text) is not None


def _closing(text: str, start: int) -> int | None:
    """Index of the bracket that closes the call opened before `start`; quoted ones do not count."""
    depth, quote, i = 0, "", start
    while i < len(text):
        char = text[i]
        if quote:
            i += char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            if depth == 0:
                return i if char == ")" else None
            depth -= 1
        i += 1
    return None


class _Literals(Reader):
    """Tuples are lists here."""

    def value(self, depth: int = 1) -> Any:
        if depth > MAX_DEPTH or not self.take("("):
            return super().value(depth)
        items = self.items(")", lambda: self.value(depth + 1))
        single = len(items) == 1 and not self.text[: self.at - 1].rstrip().endswith(",")
        return items[0] if single else items


def _arguments(field: str, text: str) -> JsonObject:
    reader = _Literals(f"{text})", 0, PYTHON)
    arguments: JsonObject = {}
    try:
        for given in reader.items(")", lambda: read_argument(reader)):
            arguments.update(given)
    except Unreadable:
        return _by_grammar(field, text)
    return arguments if reader.at == len(reader.text) else _by_grammar(field, text)


def _by_grammar(field: str, text: str) -> JsonObject:
    try:
        call = ast.parse(f"f({text.strip()})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Problem(field, text, "are no arguments such as key='value'") from None
    if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
        raise Problem(field, text, "are no arguments such as key='value'")
    return {str(keyword.arg): _value(field, keyword.value) for keyword in call.keywords}


def _value(field: str, node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(field, element) for element in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(field, key) for key in node.keys]
        return dict(zip(map(str, keys), (_value(field, v) for v in node.values), strict=True))
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        value = ...
    if not isinstance(value, str | int | float | bool | None):
        raise Problem(field, ast.unparse(node), "is no JSON value")
    return value
