"""Values as syntaxes without JSON write them: read from text, written as text, held by a grammar.

A Spelling says how: Python's literals (pythonic, lfm2) or quotes of their own and bare keys (the
Gemma family). Reading is lenient, JSON's and Python's constants are both known everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from edgetool.calls.json_text import INVALID, MAX_DEPTH, finite

_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
_CONSTANT = re.compile(r"(?:True|False|None|true|false|null)(?!\w)")
_CONSTANTS = {"true": True, "false": False, "none": None, "null": None}
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PYTHON_STRING = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}
_BARE_KEY = re.compile(r"[^:{}\[\],]+")
_MAX_DIGITS = 4000  # Python refuses to read longer integers


class Unreadable(Exception):
    """Text that is no value; never leaves the parsers."""


@dataclass(frozen=True)
class Spelling:
    """How a syntax writes values.

    true, false, null   the constants
    quote               what stands around a string as it is; None: JSON strings, escaped
    bare_keys           keys of objects stand without quotes
    separators          between items, and between a key and its value
    """

    true: str
    false: str
    null: str
    quote: str | None
    bare_keys: bool
    separators: tuple[str, str]

    def write(self, value: Any) -> str:
        if isinstance(value, bool):
            return self.true if value else self.false
        if value is None:
            return self.null
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return "{" + self._join([self.pair(key, value[key]) for key in self.order(value)]) + "}"
        if isinstance(value, list | tuple):
            return "[" + self._join([self.write(inner) for inner in value]) + "]"
        return json.dumps(value)

    def text(self, value: str) -> str:
        if self.quote is None:
            return json.dumps(value, ensure_ascii=False)
        return f"{self.quote}{value}{self.quote}"

    def pair(self, key: str, value: Any) -> str:
        return self.key(key) + self.separators[1] + self.write(value)

    def order(self, names: Iterable[str]) -> list[str]:
        """The order members are written in: with bare keys, the templates sort them."""
        return sorted(names, key=str.lower) if self.bare_keys else list(names)

    def key(self, key: str) -> str:
        return key if self.bare_keys else self.text(key)

    def _join(self, parts: list[str]) -> str:
        return self.separators[0].join(parts)


PYTHON = Spelling("True", "False", "None", None, False, (", ", ": "))


@dataclass
class Reader:
    """Reads values one after another; `at` is where it stands. Raises Unreadable, nothing else."""

    text: str
    at: int
    spelling: Spelling

    def skip(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]

    def take(self, sign: str) -> bool:
        """Whether `sign` comes next, white space aside; if so it is passed."""
        self.skip()
        found = self.text.startswith(sign, self.at)
        self.at += len(sign) * found
        return found

    def need(self, sign: str) -> None:
        if not self.take(sign):
            raise Unreadable

    def match(self, pattern: re.Pattern[str]) -> str | None:
        """What `pattern` matches here, white space aside; it is passed."""
        self.skip()
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found[0]

    def value(self, depth: int = 1) -> Any:
        if depth > MAX_DEPTH:
            raise Unreadable
        if self.take("{"):
            return dict(self.items("}", lambda: self._pair(depth)))
        if self.take("["):
            return self.items("]", lambda: self.value(depth + 1))
        if (string := self.string()) is not None:
            return string
        if (constant := self.match(_CONSTANT)) is not None:
            return _CONSTANTS[constant.lower()]
        return self._number()

    def items(self, end: str, item: Callable[[], Any]) -> list[Any]:
        """Items up to `end`, commas between them; Python lets one stand behind the last."""
        found: list[Any] = []
        while not self.take(end):
            if found:
                self.need(",")
                if self.take(end):
                    break
            found.append(item())
        return found

    def string(self) -> str | None:
        """The string that comes next, or None when something else does."""
        quote = self.spelling.quote
        if quote is not None and self.take(quote):
            end = self.text.find(quote, self.at)
            if end < 0:
                raise Unreadable
            inner, self.at = self.text[self.at : end], end + len(quote)
            return inner
        if (written := self.match(_JSON_STRING)) is not None:
            return _json_text(written)
        written = self.match(_PYTHON_STRING)
        return None if written is None else _python_text(written)

    def _pair(self, depth: int) -> tuple[str, Any]:
        key = self.string()
        if key is None and self.spelling.bare_keys:
            key = self.match(_BARE_KEY)
        if key is None:
            raise Unreadable
        self.need(":")
        return key, self.value(depth + 1)

    def _number(self) -> int | float:
        written = self.match(_NUMBER)
        if written is None or len(written) > _MAX_DIGITS:
            raise Unreadable
        try:
            return int(written)
        except ValueError:
            return finite(written)


def _json_text(written: str) -> str:
    try:
        return str(json.loads(written, strict=False))
    except ValueError:  # an escape that is Python's alone
        return _python_text(written)


def _python_text(written: str) -> str:
    return _ESCAPE.sub(_unescaped, written[1:-1])


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    if len(code) > 1:
        number = int(code[1:], 16)
        return chr(number) if number <= 0x10FFFF else escape[0]
    if code in "\\'\"":
        return code
    return _ESCAPES.get(code, escape[0])  # Python keeps the backslash of an escape it does not know


def read_value(text: str, spelling: Spelling) -> Any:
    """A text that is one value, or INVALID."""
    reader = Reader(text, 0, spelling)
    try:
        value = reader.value()
    except Unreadable:
        return INVALID
    return value if not text[reader.at :].strip() else INVALID
