"""A whole GGUF header read without trusting it: what is cut short or mutated is refused.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Tensors are described, not read.
edgetool/gguf_header.py reads only the first few keys, for a process that cannot wait.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetool.errors import ModelError
from edgetool.gguf_header import ARRAY, NUMBERS, STRING, once_a_file

# enum ggml_type: number -> name, values of a block, bytes of a block
TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}  # fmt: skip
BLOCKS = {name: (values, size) for name, values, size in TYPES.values()}

_VERSIONS, _ALIGNMENT, _DIMENSIONS = (2, 3), 32, 4


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies. shape: numpy order, rows last; start, size: bytes of the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class GgufHeader:
    """A file's keys and tensors. arrays: the element type of every key that holds a list."""

    path: Path
    fields: dict[str, Any] = field(repr=False)
    arrays: dict[str, str] = field(repr=False)
    tensors: dict[str, GgufTensor] = field(repr=False)


@once_a_file
def read_gguf(path: Path) -> GgufHeader:
    """The header of a whole file. Raises ModelError naming the file and what is wrong with it."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Cursor(data, len(data)).header(path)
    except (ValueError, struct.error) as error:
        raise ModelError(f"{path}: damaged or cut short ({error}); copy it again") from error


@dataclass
class _Cursor:
    """A place in a file; every look beyond its end raises ValueError."""

    data: mmap.mmap
    size: int
    at: int = 4  # behind the magic

    def header(self, path: Path) -> GgufHeader:
        (version,) = self.numbers("I")
        if version not in _VERSIONS:
            raise ValueError(f"version {version} is not known")
        tensors, keys = self.numbers("QQ")
        fields: dict[str, Any] = {}
        arrays: dict[str, str] = {}
        for _ in range(keys):
            key, (kind,) = self.text(), self.numbers("I")
            if key in fields:
                raise ValueError(f"the key {key} is there twice")
            if kind == ARRAY:
                arrays[key], fields[key] = self.array()
            else:
                fields[key] = self.value(kind)
        return GgufHeader(path, fields, arrays, self.tensors(tensors, fields))

    def tensors(self, count: int, fields: dict[str, Any]) -> dict[str, GgufTensor]:
        named = [self.tensor() for _ in range(self._fitting(count, 24))]
        alignment = fields.get("general.alignment", _ALIGNMENT)
        if type(alignment) is not int or alignment < 1:
            raise ValueError(f"general.alignment is {alignment!r}")
        first = math.ceil(self.at / alignment) * alignment
        found: dict[str, GgufTensor] = {}
        for name, kind, shape, offset in named:
            label, values, size = TYPES[kind]
            nbytes = math.prod(shape) // values * size
            if name in found:
                raise ValueError(f"the tensor {name} is there twice")
            if first + offset + nbytes > self.size:
                raise ValueError(f"the tensor {name} lies beyond the end of the file")
            found[name] = GgufTensor(name, label, shape, first + offset, nbytes)
        return found

    def tensor(self) -> tuple[str, int, tuple[int, ...], int]:
        name, (dimensions,) = self.text(), self.numbers("I")
        if dimensions > _DIMENSIONS:
            raise ValueError(f"the tensor {name} has {dimensions} dimensions")
        shape, (kind, offset) = self.numbers("Q" * dimensions)[::-1], self.numbers("IQ")
        if kind not in TYPES:
            raise ValueError(f"the tensor {name} has type {kind}, which is not known")
        if min(shape, default=1) < 1 or (shape[-1:] and shape[-1] % TYPES[kind][1]):
            raise ValueError(f"the tensor {name} has shape {shape}")
        return name, kind, shape, offset

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind not in NUMBERS:
            raise ValueError(f"a value of type {kind}")
        return self.numbers(NUMBERS[kind][1])[0]

    def array(self) -> tuple[str, list[Any]]:
        kind, count = self.numbers("IQ")
        if kind == STRING:
            return "string", [self.text() for _ in range(self._fitting(count, 8))]
        if kind not in NUMBERS:
            raise ValueError(f"a list of values of type {kind}")
        name, form = NUMBERS[kind]
        return name, list(self.numbers(f"{self._fitting(count, struct.calcsize(form))}{form}"))

    def text(self) -> str:
        (length,) = self.numbers("Q")
        self._fitting(length, 1)
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")

    def numbers(self, form: str) -> tuple[Any, ...]:
        form = f"<{form}"
        self._fitting(1, struct.calcsize(form))
        found = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found

    def _fitting(self, count: int, size: int) -> int:
        """`count` things of at least `size` bytes, which must lie before the end of the file."""
        if self.at + count * size > self.size:
            raise ValueError(f"{count:,} x {size} bytes expected, {self.size - self.at:,} there")
        return int(count)
