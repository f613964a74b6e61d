"""How much memory a GGUF file will take, from its header alone: nothing is loaded.

The header is read by hand, a few dozen keys up to the tokenizer's: the gguf package would read all
of it, a second and more for a vocabulary of 150,000, and this process holds the server.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# What the KV caches of several sequences may take together; one sequence may take what it needs.
CACHE_BYTES = 2**30
# Both processes beside weights and cache: 170 MiB were measured with nano.
WORKING_BYTES = 170 * 2**20

_VALUES = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_LONGEST = 2**20  # bytes of a text, entries of an array; those before the tokenizer's are short
_MOST_KEYS = 1_000


@dataclass(frozen=True)
class Footprint:
    """What a model takes, in bytes.

    weights     the file
    per_token   keys and values of one token of context, in half precision
    layers      how many the model has, 0 where the header does not say
    """

    weights: int
    per_token: int
    layers: int

    def needed(self, context: int, sequences: int) -> int:
        """Bytes for writing up to `sequences` completions at once, of `context` tokens each."""
        cache = self.per_token * context
        return self.weights + max(cache, min(cache * sequences, CACHE_BYTES)) + WORKING_BYTES

    def affordable(self, context: int, sequences: int) -> int:
        """At most `sequences`, at least one: so many that their caches fit CACHE_BYTES."""
        return max(1, min(sequences, CACHE_BYTES // max(1, self.per_token * context)))


def footprint(path: Path) -> Footprint:
    """What the header says; a header that makes no sense leaves the file's size."""
    weights = path.stat().st_size
    try:
        with path.open("rb") as file:
            header = _header(file)
    except (struct.error, ValueError, EOFError):
        return Footprint(weights, 0, 0)
    named = str(header.get("general.architecture"))

    def number(key: str, default: int = 0) -> int:
        found = header.get(f"{named}.{key}", default)
        # Some models have a number for each layer.
        found = max(found, default=0) if isinstance(found, list) else found
        return found if isinstance(found, int) else default

    layers, heads = number("block_count"), max(1, number("attention.head_count"))
    size = number("embedding_length") // heads
    keys, values = number("attention.key_length", size), number("attention.value_length", size)
    kept = number("attention.head_count_kv", heads)
    return Footprint(weights, 2 * layers * kept * (keys + values), layers)


def _header(file: BinaryIO) -> dict[str, object]:
    """Keys up to the tokenizer's. Raises ValueError, EOFError or struct.error."""
    magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version < 2:
        raise ValueError("no GGUF header")
    found: dict[str, object] = {}
    for _ in range(min(count, _MOST_KEYS)):
        key = _text(file)
        if key.startswith("tokenizer."):
            break
        found[key] = _value(file, _unpack(file, "I"))
    return found


def _value(file: BinaryIO, kind: int) -> object:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        inner, count = _unpack(file, "I"), _short(_unpack(file, "Q"))
        if inner == _ARRAY:
            raise ValueError("a list of lists")
        return [_value(file, inner) for _ in range(count)]
    if kind not in _VALUES:
        raise ValueError(f"a value of kind {kind}")
    return _unpack(file, _VALUES[kind])


def _text(file: BinaryIO) -> str:
    size = _short(_unpack(file, "Q"))
    return file.read(size).decode("utf-8", "replace")


def _unpack(file: BinaryIO, form: str) -> int:
    size = struct.calcsize(f"<{form}")
    (value,) = struct.unpack(f"<{form}", file.read(size))
    return int(value) if not isinstance(value, float) else 0


def _short(count: int) -> int:
    if count > _LONGEST:
        raise ValueError(f"{count} entries or bytes")
    return count


def readable(size: float) -> str:
    """Bytes as people say them: "1.4 GiB"."""
    unit = "GiB" if size >= 2**30 else "MiB"
    return f"{size / (2**30 if unit == 'GiB' else 2**20):.1f} {unit}"
