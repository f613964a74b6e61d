"""Bounds for what a schema leaves open: a model that loops must not fill max_completion_length.

A number may have any number of digits, a string any length and a list any number of items. Below
these bounds nothing that a schema allows is refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

# Digits in a row outside strings. A double has 17 that count, an integer of 64 bits 19.
MAX_DIGITS = 40
# A part of so many tokens at the most, said again and again, is a loop once it fills REPEATED.
PERIOD, REPEATED = 16, 256

_DIGITS = frozenset(b"0123456789")


class Loops:
    """What a completion repeats, by the tokens it has so far.

    pieces   [V] the bytes of each token
    digits   how many digits in a row it ends with
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._last: deque[int] = deque(maxlen=PERIOD)
        self._same = [0] * PERIOD  # tokens in a row equal to the one so many places before
        self.digits = 0

    def note(self, token: int) -> None:
        """Take note of a token that was written."""
        for back, other in enumerate(reversed(self._last)):
            self._same[back] = self._same[back] + 1 if token == other else 0
        self._last.append(token)
        piece = self._pieces[token]
        run = len(piece) - len(piece.rstrip(b"0123456789"))
        self.digits = self.digits + run if piece and run == len(piece) else run

    @property
    def looping(self) -> bool:
        return max(self._same) >= REPEATED


def digit_tokens(pieces: Sequence[bytes]) -> list[int]:
    """The tokens that go on with a number's digits."""
    return [token for token, piece in enumerate(pieces) if piece and piece[0] in _DIGITS]
