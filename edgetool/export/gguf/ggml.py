"""ggml's quantizers and their inverses, called in the shared library that llama-cpp-python ships.

No external binary and no numpy re-implementation: the bytes are those llama.cpp's own tool writes.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetool.errors import EngineError
from edgetool.export.safetensors_io import Floats
from edgetool.gguf_base.reader import TYPES as GGML_TYPES

TYPES = {name: number for number, (name, _, _) in GGML_TYPES.items()}
LIBRARY_NAMES = ("libggml-base.so", "libggml-base.dylib", "ggml-base.dll", "libggml-base.dll")

# Below this many values a thread costs more than it saves.
VALUES_PER_THREAD = 1 << 18


def block_size(kind: str) -> int:
    """How many neighbouring values of a row are quantized together."""
    return _library().ggml_blck_size(TYPES[kind])


def tensor_bytes(kind: str, shape: tuple[int, ...]) -> int:
    """Size of a tensor of this type. Its last dimension must be a multiple of the block size."""
    rows = int(np.prod(shape[:-1], dtype=np.int64))
    return rows * _library().ggml_row_size(TYPES[kind], shape[-1])


def quantize(
    values: Floats, kind: str, threads: int = 0, importance: Floats | None = None
) -> NDArray[np.uint8]:
    """float32 [..., columns] -> its bytes in type `kind`, rows shared out over threads.

    threads      0: as many as the machine has processors
    importance   float32 [columns], how much an error in each column matters; None: all alike
    Raises EngineError when ggml reports another size than it promised.
    """
    values = np.ascontiguousarray(values, dtype=np.float32)
    if kind == "F32":
        return values.reshape(-1).view(np.uint8)
    out = np.empty(tensor_bytes(kind, values.shape), dtype=np.uint8)
    rows = values.size // values.shape[-1]
    workers = min(threads or os.cpu_count() or 1, max(1, values.size // VALUES_PER_THREAD), rows)
    edges = [rows * part // workers for part in range(workers + 1)]
    weights = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32)
    with ThreadPoolExecutor(workers) as pool:
        written = pool.map(
            lambda a, b: _chunk(values, out, kind, a, b, weights), edges[:-1], edges[1:]
        )
        if sum(written) != out.nbytes:
            raise EngineError(f"ggml_quantize_chunk wrote another size than {kind} should have")
    return out


def dequantize(packed: NDArray[np.uint8], kind: str) -> Floats:
    """The bytes of whole blocks of type `kind` -> their values, float32 [values]."""
    if kind == "F32":
        return packed.view(np.float32)
    values = packed.size // tensor_bytes(kind, (block_size(kind),)) * block_size(kind)
    out = np.empty(values, dtype=np.float32)
    expand = _library().ggml_get_type_traits(TYPES[kind]).contents.to_float
    expand(packed.ctypes.data, out.ctypes.data, values)
    return out


def _chunk(
    values: Floats,
    out: NDArray[np.uint8],
    kind: str,
    first: int,
    last: int,
    importance: Floats | None,
) -> int:
    """Rows [first, last). ctypes frees the interpreter lock meanwhile: chunks run in parallel."""
    columns = values.shape[-1]
    source, target = values.ctypes.data, out.ctypes.data
    weights = None if importance is None else importance.ctypes.data
    return _library().ggml_quantize_chunk(
        TYPES[kind], source, target, first * columns, last - first, columns, weights
    )


class _TypeTraits(ctypes.Structure):
    """struct ggml_type_traits (ggml.h)."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    )


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_find_library()))
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_blck_size.argtypes = [ctypes.c_int]
    library.ggml_row_size.restype = ctypes.c_size_t
    library.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    library.ggml_quantize_init.restype = None
    library.ggml_quantize_init.argtypes = [ctypes.c_int]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,  # type
        ctypes.c_void_p,  # const float * src
        ctypes.c_void_p,  # void * dst
        ctypes.c_int64,  # first value
        ctypes.c_int64,  # rows
        ctypes.c_int64,  # values per row
        ctypes.c_void_p,  # const float * importance matrix, one weight per column, or null
    ]
    library.ggml_get_type_traits.restype = ctypes.POINTER(_TypeTraits)
    library.ggml_get_type_traits.argtypes = [ctypes.c_int]
    for number in TYPES.values():
        library.ggml_quantize_init(number)
    return library


def _find_library() -> Path:
    """Beside the llama_cpp package, found without importing it, which would start the engine."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        raise EngineError("llama-cpp-python is not installed; type: pip install llama-cpp-python")
    folders = [Path(place) / "lib" for place in spec.submodule_search_locations]
    if override := os.environ.get("LLAMA_CPP_LIB_PATH"):  # llama-cpp-python's own variable
        folders.insert(0, Path(override))
    for folder in folders:
        for name in LIBRARY_NAMES:
            if (folder / name).exists():
                return folder / name
    raise EngineError(
        f"no libggml-base in {', '.join(map(str, folders))}; reinstall llama-cpp-python >= 0.3.16"
    )
