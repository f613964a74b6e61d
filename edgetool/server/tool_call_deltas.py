"""Calls in pieces: what a stream can say of a call before it is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgetool.calls.json_text import loads

# The beginning of a call, up to its arguments, as all syntaxes spell it that write JSON.
_HEAD = re.compile(r'\{"name": ("(?:[^"\\]|\\.)*"), "(?:arguments|parameters)": (?=\{)')


@dataclass(frozen=True)
class CallPart:
    """A piece of a call.

    index   which call of the completion
    name    the tool's, "" in all pieces but the first
    text    a piece of the arguments as JSON; all pieces together are an object
    """

    index: int
    name: str
    text: str


class PartStream:
    """Cuts calls out of a text that is being written by the grammar of the tools.

    Only the grammar makes sure that what begins like a call will be one. In a syntax that does not
    write `{"name": ..., "arguments": {...}}` nothing is found.
    """

    def __init__(self) -> None:
        self.started = 0  # calls a part of which was given out
        self._text, self._at = "", 0
        self._inside = False  # of a call's arguments
        self._depth, self._quoted, self._escaped = 0, False, False

    def feed(self, piece: str) -> list[CallPart]:
        """The parts that `piece` brings."""
        self._text += piece
        parts: list[CallPart] = []
        while self._at < len(self._text):
            name = "" if self._inside else self._next_name()
            if name is None:
                break
            end = self._end_of_arguments()
            parts.append(CallPart(self.started - 1, name, self._text[self._at : end]))
            self._at = end
        return parts

    def _next_name(self) -> str | None:
        """The name of the next call, whose arguments then begin; None where none does yet."""
        head = _HEAD.search(self._text, self._at)
        if head is None:
            return None
        self._at, self._inside = head.end(), True
        self.started += 1
        return str(loads(head[1]))

    def _end_of_arguments(self) -> int:
        """Where the arguments end, or the text does."""
        for at in range(self._at, len(self._text)):
            sign = self._text[at]
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped, self._quoted = sign == "\\", sign != '"'
            elif sign == '"':
                self._quoted = True
            elif sign in "{[":
                self._depth += 1
            elif sign in "}]":
                self._depth -= 1
                if not self._depth:
                    self._inside = False
                    return at + 1
        return len(self._text)
