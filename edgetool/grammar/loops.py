"""Bounds for what a schema leaves open: a model that loops must not fill max_completion_length.

A number may have any number of digits, a string any length and a list any number of items. Below
these bounds nothing that a schema allows is refused.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

# Digits in a row outside strings. A double has 17 that count, an integer of 64 bits 19.
MAX_DIGITS = 40
# A part of so many tokens at the most, said again and again, is a loop once it fills REPEATED.
PERIOD, REPEATED = 16, 96
# So many numbers, at most so many an item, that only rise or only fall in the same words, are a
# count that nobody ends. One to a hundred is a list that somebody asks for.
COUNTED, NUMBERS_PER_ITEM = 128, 8
LONGEST_WORDS = 256  # bytes in front of a number, of which the last are compared

_DIGITS = frozenset(b"0123456789")
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_IN_NUMBER = b"0123456789.eE+-"


class Loops:
    """What a completion repeats, by the tokens it has so far.

    pieces   [V] the bytes of each token
    digits   how many digits in a row it ends with
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._last: deque[int] = deque(maxlen=PERIOD)
        self._same = [0] * PERIOD  # tokens in a row equal to the one so many places before
        self._counts = Counts()
        self.digits = 0

    def note(self, token: int) -> None:
        """Take note of a token that was written."""
        for back, other in enumerate(reversed(self._last)):
            self._same[back] = self._same[back] + 1 if token == other else 0
        self._last.append(token)
        piece = self._pieces[token]
        self._counts.read(piece)
        run = len(piece) - len(piece.rstrip(b"0123456789"))
        self.digits = self.digits + run if piece and run == len(piece) else run

    @property
    def looping(self) -> bool:
        return max(self._same) >= REPEATED or self._counts.longest >= COUNTED


class Counts:
    """The numbers of a text that go on from each other: "1, 2, 3", or `{"id": 1}, {"id": 2}`.

    With so many numbers an item, each is compared to the one so many before: it has the same words
    in front, and is larger, smaller or equal as that one was to its own.
    """

    def __init__(self) -> None:
        self._text = b""  # behind the last number
        self._last: deque[tuple[bytes, float, list[int]]] = deque(maxlen=NUMBERS_PER_ITEM)
        self._run = [0] * NUMBERS_PER_ITEM

    @property
    def longest(self) -> int:
        return max(self._run)

    def read(self, piece: bytes) -> None:
        """Take note of further text."""
        self._text += piece
        if not piece or piece[-1] in _IN_NUMBER:
            return  # a number may go on
        begin = 0
        for found in _NUMBER.finditer(self._text):
            self._note(self._text[begin : found.start()], float(found[0]))
            begin = found.end()
        self._text = self._text[begin:][-LONGEST_WORDS:]

    def _note(self, words: bytes, number: float) -> None:
        signs = [0] * NUMBERS_PER_ITEM
        for back, (other, before, its_signs) in enumerate(reversed(self._last)):
            signs[back] = (number > before) - (number < before)
            goes_on = words == other and signs[back] == its_signs[back]
            self._run[back] = self._run[back] + 1 if goes_on else 0
        self._last.append((words, number, signs))


def digit_tokens(pieces: Sequence[bytes]) -> list[int]:
    """The tokens that go on with a number's digits."""
    return [token for token, piece in enumerate(pieces) if piece and piece[0] in _DIGITS]
