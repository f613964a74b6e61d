"""This machine's cores, and what long CPU work wants of this process's C libraries.

Call `tune` before the first product, and open models in llama.cpp within `without_amx`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_UP_TO = 2**30


def cores() -> int:
    """Physical cores this process may use; two threads on one of them get in each other's way."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, psutil.cpu_count(logical=False) or allowed or 1))


def tune() -> None:
    """Everything below."""
    keep_freed_memory()
    spread_small_products()


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


def spread_small_products(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """On AMD, have MKL share products of few rows among the cores.

    Left alone it does not. Its reproducible mode does: on two cores products of 8 to 64 rows, a
    decoding step's, then take about a third less time, and larger ones what they took. MKL reads
    the variable at its first product. What the user has set stays.
    """
    if cpuinfo.exists() and "AuthenticAMD" in cpuinfo.read_text(encoding="ascii", errors="replace"):
        os.environ.setdefault("MKL_CBWR", "AUTO")


@contextmanager
def without_amx() -> Iterator[None]:
    """Within: llama-cpp-python opens models that llama.cpp will not multiply with Intel's AMX.

    Built with GCC 12.2 and others, llama.cpp sets the tiles up from stray memory, since the stores
    to their settings are optimised away (GCC bug 114098), and the process dies in its first prompt
    (llama.cpp issue 20824). Weights are not repacked for other instructions then, either.
    llama-cpp-python has no argument for it, but asks for every model's settings by this name.
    """
    from llama_cpp import llama_cpp

    if b"AMX_INT8 = 1" not in llama_cpp.llama_print_system_info():
        yield
        return
    defaults = llama_cpp.llama_model_default_params

    def plain() -> llama_cpp.llama_model_params:
        settings = defaults()
        settings.use_extra_bufts = False
        return settings

    llama_cpp.llama_model_default_params = plain
    try:
        yield
    finally:
        llama_cpp.llama_model_default_params = defaults
