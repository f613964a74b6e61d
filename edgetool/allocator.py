"""The C allocator's settings for long CPU work."""

from __future__ import annotations

import ctypes
import sys

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_UP_TO = 2**30


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks instead of returning each one to the system.

    Tensors of a step are freed and taken again thousands of times; without this every one of them
    is paged in anew, which costs 20-50 % of a CPU step. Elsewhere than on glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEEP_UP_TO)
        mallopt(_M_TRIM_THRESHOLD, 2 * _KEEP_UP_TO - 1)
