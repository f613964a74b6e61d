"""A whole GGUF file read without trusting it: what is cut short or mutated is refused.

It hands out tensors and every key, which edgetool/gguf_header.py, the quick reader of the first few
keys, does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetool.errors import ModelError
from edgetool.gguf_header import require_gguf

# What the gguf package raises on bytes that make no sense, besides the reader's own refusals.
MALFORMED = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    RecursionError,
    MemoryError,
)


def open_gguf(path: Path) -> Any:
    """The gguf package's reader of a file; tensors are mapped, not read.

    Raises ModelError naming the file and what is wrong with it.
    """
    require_gguf(path)
    try:
        return _bounded_reader()(path)
    except MALFORMED as error:
        reason = str(error).strip("'\"") or type(error).__name__
        raise ModelError(f"{path}: damaged or cut short ({reason}); copy it again") from error


def _bounded_reader() -> Any:
    """gguf's reader takes bytes behind the end of a file for empty, and then loops over counts as
    large as the file claims; here every look beyond the end is refused."""
    from gguf import GGUFReader

    class BoundedReader(GGUFReader):
        def _get(self, offset: Any, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
            import numpy as np

            end = int(offset) + int(count) * np.dtype(dtype).itemsize
            if end > len(self.data):
                raise ValueError(f"{end:,} bytes expected, {len(self.data):,} there")
            return super()._get(int(offset), dtype, int(count), override_order)

    return BoundedReader
