"""safetensors files read and written tensor by tensor with numpy alone.

A file is 8 bytes (little-endian length of the header), a JSON header {name: {dtype, shape,
data_offsets}} and the tensors' bytes (https://github.com/huggingface/safetensors#format). Reading
by blocks and writing in a stream keep a piece of a tensor in memory instead of a model, read
bfloat16, which numpy lacks, and spare an export the seconds that importing torch takes. Nothing is
mapped: the pages of a map count as resident, a whole tensor of them beside its float32 copy.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetool.errors import ModelError

Floats = NDArray[np.float32]

MAX_HEADER = 100_000_000  # the reference reader's own limit
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
NUMPY_NAMES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
STORAGE = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
BLOCK_VALUES = 1 << 24  # 64 MiB in float32


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: dtype as safetensors spells it, bytes [start, end) of `file`."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    def read(self) -> Floats:
        """The tensor in float32. Raises ModelError when it holds NaN or infinity."""
        values = np.empty(self._count, dtype=np.float32)
        for first in range(0, values.size, BLOCK_VALUES):
            values[first : first + BLOCK_VALUES] = self._values(first, BLOCK_VALUES)
        return values.reshape(self.shape)

    def blocks(self) -> Iterator[Floats]:
        """The same by blocks [rows, ...] of whole rows: BLOCK_VALUES or, if longer, one row."""
        columns = int(np.prod(self.shape[1:], dtype=np.int64))
        rows = max(1, BLOCK_VALUES // columns)
        for first in range(0, self._count, rows * columns):
            yield self._values(first, rows * columns).reshape(-1, *self.shape[1:])

    def _values(self, first: int, count: int) -> Floats:
        """At most `count` values from number `first` on, in float32."""
        values = self._raw(first, min(count, self._count - first))
        if not np.isfinite(values).all():
            raise ModelError(f"{self.file}: tensor '{self.name}' holds NaN or infinite values")
        return values

    def _raw(self, first: int, count: int) -> Floats:
        offset = self.start + first * ITEM_BYTES[self.dtype]
        raw = np.fromfile(self.file, NUMPY_NAMES[self.dtype], count, offset=offset)
        if raw.size != count:  # it was whole when its header was read
            raise ModelError(f"{self.file}: truncated inside tensor '{self.name}'")
        return _as_float32(raw, self.dtype)

    @property
    def _count(self) -> int:
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, StoredTensor]:
    """Every tensor of a safetensors file by name; its bytes are not read.

    Raises ModelError naming the file, and the tensor, when either is truncated or malformed.
    """
    size = file.stat().st_size
    header, data_start = _header(file, size)
    return {
        name: _stored(file, name, entry, data_start, size)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _header(file: Path, size: int) -> tuple[dict[str, Any], int]:
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > min(MAX_HEADER, size - 8):
            raise ModelError(f"{file}: not a whole safetensors file; copy or download it again")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise ModelError(f"{file}: the safetensors header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ModelError(f"{file}: the safetensors header is not a JSON object")
    return header, 8 + length


def _stored(file: Path, name: str, entry: Any, data_start: int, size: int) -> StoredTensor:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
        start, end = (int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file}: the header of tensor '{name}' is malformed") from error
    if dtype not in ITEM_BYTES:
        raise ModelError(
            f"{file}: tensor '{name}' is stored as {dtype}; known: {', '.join(ITEM_BYTES)}. "
            "Start from the model's unquantized weights"
        )
    count = int(np.prod(shape, dtype=np.int64))
    if min(shape, default=1) < 1 or start < 0 or end - start != count * ITEM_BYTES[dtype]:
        raise ModelError(f"{file}: tensor '{name}' has {end - start} bytes for shape {shape}")
    if data_start + end > size:
        raise ModelError(f"{file}: truncated inside tensor '{name}'; copy or download it again")
    return StoredTensor(name, file, dtype, shape, data_start + start, data_start + end)


def _as_float32(raw: NDArray[Any], dtype: str) -> Floats:
    if dtype != "BF16":
        return raw.astype(np.float32, copy=False)
    bits = raw.astype(np.uint32)  # bfloat16 is the upper half of a float32
    bits <<= 16
    return bits.view(np.float32)


def write_stream(
    file: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Iterable[Floats], dtype: str
) -> None:
    """Writes `tensors`, in the order of `shapes`, to a safetensors file of one dtype.

    dtype   float32 | float16 | bfloat16
    Raises ModelError when a value does not fit dtype.
    """
    with file.open("wb") as stream:
        stream.write(_encode_header(shapes, STORAGE[dtype]))
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            if tensor.shape != shape:
                raise ValueError(f"tensor '{name}' has shape {tensor.shape}, announced {shape}")
            stream.write(_encode(name, tensor, dtype))


def _encode_header(shapes: Mapping[str, tuple[int, ...]], stored: str) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers asks for the format
    for name, start, end in _offsets(shapes, ITEM_BYTES[stored]):
        header[name] = {"dtype": stored, "shape": shapes[name], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    return struct.pack("<Q", len(text)) + text


def _offsets(
    shapes: Mapping[str, tuple[int, ...]], item_bytes: int
) -> Iterator[tuple[str, int, int]]:
    start = 0
    for name, shape in shapes.items():
        end = start + int(np.prod(shape, dtype=np.int64)) * item_bytes
        yield name, start, end
        start = end


def _encode(name: str, tensor: Floats, dtype: str) -> bytes:
    if dtype == "bfloat16":
        return to_bfloat16(tensor).tobytes()
    if dtype == "float16":
        require_float16(name, tensor)
    return np.ascontiguousarray(tensor, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()


def require_float16(name: str, tensor: Floats) -> None:
    """Raises ModelError when a value would become infinite in float16."""
    largest = max(float(tensor.max(initial=0.0)), -float(tensor.min(initial=0.0)))
    if largest > float(np.finfo(np.float16).max):
        raise ModelError(
            f"tensor '{name}' holds {largest:g}, beyond float16's 65504; use bfloat16 or float32"
        )


def to_bfloat16(tensor: Floats) -> NDArray[np.uint16]:
    """The upper halves of finite float32 values, rounded to nearest even."""
    bits = np.ascontiguousarray(tensor, dtype=np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype("<u2")
