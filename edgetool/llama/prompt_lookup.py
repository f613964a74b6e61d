"""Guesses at what a completion says next, copied from what the user said.

Arguments are often the user's own words. Once a value has begun as some word of theirs does, what
follows that word is guessed, and one pass of the model confirms as much of it as it would have
written (arXiv:2211.17192, section 2; greedy, so the guess is either what it says or not).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from edgetool.calls.types import Message

MOST = 4  # tokens guessed at once: each costs some work also when it was wrong
# Guesses in a row of which nothing came true before a completion goes on without: on a CPU a pass
# with guesses costs up to twice a plain one.
PATIENCE = 2
_REACH = 48  # bytes of the source a guess is cut from
_WORD = re.compile(rb"\w\w", re.ASCII)
_QUOTES = re.compile(rb"[\"']")


class PromptLookup:
    """The guesses for one completion.

    source   the words that values may be copied from
    encode   text -> token ids
    kept     guessed tokens that the model chose so far; those it was forced to are not counted
    """

    def __init__(self, source: str, encode: Callable[[str], Sequence[int]]) -> None:
        self._source, self._encode = source.encode("utf-8", "replace"), encode
        self._value = b""  # what was written behind the last quote
        self.kept = 0
        self._kept_before = 0  # when the last guess was made
        self._wasted = -1  # no guess was made yet

    def note(self, piece: bytes) -> None:
        """Take note of the bytes of a token that was written."""
        self._value = _QUOTES.split(self._value + piece)[-1]

    def guess(self, most: int) -> list[int]:
        """At most `most` tokens that may come next; none where nothing begins like this value."""
        if most < 1 or self._wasted >= PATIENCE or not _WORD.search(self._value):
            return []
        place = self._source.find(self._value)
        if place < 0:
            return []
        start = place + len(self._value)
        rest = self._source[start : start + _REACH].decode("utf-8", "ignore")
        if not rest:
            return []
        self._wasted = 0 if self.kept > self._kept_before else self._wasted + 1
        self._kept_before = self.kept
        return list(self._encode(rest)[: min(most, MOST)]) if self._wasted < PATIENCE else []


def words_of(messages: Sequence[Message]) -> str:
    """What users and tools said, the last of it first."""
    said = [m.get("content") for m in reversed(messages) if m.get("role") in ("user", "tool")]
    return "\n".join(text for text in said if isinstance(text, str))
