"""Control markers in what did not come from the template: cut, so that they stay text.

A marker may stand in somebody's words as it is, but a template can also complete one: it writes
parts one behind the other, and names of a schema between `<` and `>`. So a text is cut inside each
marker, and fenced off where it ends as a marker begins or begins as one ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

# A Unicode noncharacter: no text has a use for it, so it can mark a cut and be removed again.
CUT = "\ufdd0"

# What templates look up and compare with has to stay as it is, even where it is a marker's core.
_LOOKED_UP = frozenset(
    "system developer user assistant tool role content name arguments tool_calls tool_call_id id "
    "type function description parameters properties required items enum default text string "
    "object array integer number boolean null".split()
)


class MarkerEscaper:
    """Cuts the markers in a value made of texts, lists and objects."""

    def __init__(self, markers: tuple[str, ...]) -> None:
        self._markers = tuple(marker for marker in markers if marker)
        self._firsts = tuple({marker[0] for marker in self._markers})
        self._lasts = tuple({marker[-1] for marker in self._markers})
        self._heads = {marker[:n] for marker in self._markers for n in range(1, len(marker))}
        self._tails = {marker[n:] for marker in self._markers for n in range(1, len(marker))}
        self._cores = {core for marker in self._markers for core in _cores(marker)} - _LOOKED_UP
        self._longest = max(map(len, self._markers), default=0)

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self(key): self(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self(inner) for inner in value]
        return value

    def _text(self, text: str) -> str:
        if CUT in text:
            text = text.replace(CUT, "")
        before, after = "", ""
        if text in self._cores or self._begins_as_one_ends(text):
            before = CUT
        if any(first in text for first in self._firsts):
            after = CUT if self._ends_as_one_begins(text) else ""
            # A one-character marker cannot be cut inside; it is fenced off and stays a risk of
            # the tokenizer, as it is for every peer.
            for marker in self._markers:
                text = text.replace(marker, marker[0] + CUT + marker[1:])
        return f"{before}{text}{after}" if before or after else text

    def _begins_as_one_ends(self, text: str) -> bool:
        start = text[: self._longest]
        if not any(last in start for last in self._lasts):
            return False
        return any(start[:n] in self._tails for n in range(1, len(start) + 1))

    def _ends_as_one_begins(self, text: str) -> bool:
        end = text[-self._longest :]
        return any(end[n:] in self._heads for n in range(len(end)))


def _cores(marker: str) -> Iterator[str]:
    """What is left of a marker without one or two signs at each end: `tool_call`, `|im_end|`."""
    for left in (1, 2):
        for right in (1, 2):
            core, signs = marker[left:-right], marker[:left] + marker[-right:]
            if core and not any(sign.isalnum() for sign in signs):
                yield core


@lru_cache(maxsize=8)
def escaper_for(markers: tuple[str, ...]) -> MarkerEscaper:
    """The escaper for a vocabulary's markers, made once."""
    return MarkerEscaper(markers)
