"""Damaged copies of a GGUF file, always the same ones."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

# Counts, lengths, types and offsets as no honest file has them.
_EXTREMES = (0, 1, 0x7F, 0xFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)


def mutants(whole: bytes, header: int, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """What was done, and the damaged bytes; most of it in the `header` bytes before the weights."""
    kinds = (_cut, _flip, _number, _blank, _repeat, _noise)
    for number in range(count):
        dice = random.Random(seed * 1_000_003 + number)
        kind = kinds[number % len(kinds)]
        end = len(whole) if dice.random() < 0.2 else header
        place = dice.randrange(4, end)  # the first 4 bytes are judged without llama.cpp
        data = bytearray(whole)
        kind(data, place, dice)
        yield f"{number} {kind.__name__} at {place}", bytes(data)


def _cut(data: bytearray, place: int, dice: random.Random) -> None:
    del data[place:]


def _flip(data: bytearray, place: int, dice: random.Random) -> None:
    for at in (place, *(dice.randrange(4, len(data)) for _ in range(dice.randrange(4)))):
        data[at] ^= 1 << dice.randrange(8)


def _number(data: bytearray, place: int, dice: random.Random) -> None:
    value = struct.pack("<Q", dice.choice(_EXTREMES))[: dice.choice((4, 8))]
    data[place : place + len(value)] = value


def _blank(data: bytearray, place: int, dice: random.Random) -> None:
    size = dice.choice((1, 8, 64, 1024))
    data[place : place + size] = bytes(size)


def _repeat(data: bytearray, place: int, dice: random.Random) -> None:
    """A piece once more, so that all behind it has moved."""
    data[place:place] = data[place : place + dice.choice((1, 8, 100))]


def _noise(data: bytearray, place: int, dice: random.Random) -> None:
    size = dice.choice((1, 4, 32, 256))
    data[place : place + size] = dice.randbytes(size)
