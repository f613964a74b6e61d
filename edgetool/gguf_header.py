"""Whether a file is GGUF, and the head of it: a few dozen keys, up to the tokenizer's tokens.

The process that asks holds the server, and cannot wait for a vocabulary of 150,000. The whole
vocabulary and the tensors are read by gguf_base/reader.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import BinaryIO, TypeVar

from edgetool.errors import ModelError, NoSuchModel

T = TypeVar("T")
MAGIC = b"GGUF"
TOKENS = "tokenizer.ggml.tokens"
SUFFIX = ".gguf"

# enum gguf_metadata_value_type: number -> name, and how struct spells it
NUMBERS = {
    0: ("uint8", "B"), 1: ("int8", "b"), 2: ("uint16", "H"), 3: ("int16", "h"), 4: ("uint32", "I"),
    5: ("int32", "i"), 6: ("float32", "f"), 7: ("bool", "?"), 10: ("uint64", "Q"),
    11: ("int64", "q"), 12: ("float64", "d"),
}  # fmt: skip
STRING, ARRAY = 8, 9
_LONGEST = 2**20  # bytes of a text, entries of an array; those before the tokenizer's are short
_MOST_KEYS = 1_000


def is_gguf(model: str | Path) -> bool:
    """Does a model's name mean a GGUF file?"""
    return Path(model).suffix == SUFFIX


def require_gguf(path: Path) -> None:
    """Raises NoSuchModel where there is no such file, and ModelError for another kind of file."""
    if not path.is_file():
        raise NoSuchModel(f"{path}: no such file; `edgetool export` writes GGUF files")
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
    if magic != MAGIC:
        begins = f"begins with {magic!r}" if magic else "is empty"
        raise ModelError(f"{path}: not a GGUF file, it {begins}; give a .gguf file")


def once_a_file(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """`read` of a GGUF file, done anew only where the file is another or has changed.

    Raises as `require_gguf`, and what `read` raises, each time.
    """

    @lru_cache(maxsize=2)
    def known(path: Path, size: int, changed: int) -> T:
        return read(path)

    @wraps(read)
    def reading(path: Path) -> T:
        require_gguf(path)
        found = path.stat()
        return known(path, found.st_size, found.st_mtime_ns)

    return reading


def read_header(path: Path) -> dict[str, object]:
    """Keys up to the tokens, for which their number stands; none where the head makes no sense.

    Values are ints (of floats, 0), texts and lists of these.
    """
    try:
        with path.open("rb") as file:
            return _header(file)
    except (struct.error, ValueError, EOFError):
        return {}


def _header(file: BinaryIO) -> dict[str, object]:
    """As `read_header`. Raises ValueError, EOFError or struct.error."""
    magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != MAGIC or version < 2:
        raise ValueError("no GGUF header")
    found: dict[str, object] = {}
    for _ in range(min(count, _MOST_KEYS)):
        key, kind = _text(file), _unpack(file, "I")
        if kind == ARRAY and key.startswith("tokenizer."):
            if key == TOKENS:
                found[key] = struct.unpack("<IQ", file.read(12))[1]
            break
        found[key] = _value(file, kind)
    return found


def _value(file: BinaryIO, kind: int) -> object:
    if kind == STRING:
        return _text(file)
    if kind == ARRAY:
        inner, count = _unpack(file, "I"), _short(_unpack(file, "Q"))
        if inner == ARRAY:
            raise ValueError("a list of lists")
        return [_value(file, inner) for _ in range(count)]
    if kind not in NUMBERS:
        raise ValueError(f"a value of kind {kind}")
    return _unpack(file, NUMBERS[kind][1])


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
