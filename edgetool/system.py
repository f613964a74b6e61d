"""The machine and what is installed on it: cores, memory, versions, and libraries kept in hand.

Call `tune` before the first product, and open models in llama.cpp within `without_amx`.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

MIB = 2**20
# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_UP_TO = 2**30
# What a report says the version of.
PACKAGES = (
    "edgetool",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "llama-cpp-python",
    "gguf",
    "llguidance",
    "outlines",
)


def cores() -> int:
    """Physical cores this process may use; two threads on one of them get in each other's way."""
    import psutil

    allowed = _allowed_cores()
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _allowed_cores() -> int:
    """Logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def tune() -> None:
    """The next three."""
    keep_freed_memory()
    spread_small_products()
    forget_old_shapes()


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


def forget_old_shapes() -> None:
    """Keep few of the programs that oneDNN makes for each shape of a bfloat16 product.

    A packed row has another length in every step, so that its cache of 1,024 fills with programs
    that never run again: nano's training grew by 80 MiB a step on a CPU with AVX512-BF16. oneDNN
    reads the variable at its first product. What the user has set stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")


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


def resident_mb() -> float:
    """Resident set size of this process in MiB; its peak where the system tells only that."""
    status = Path("/proc/self/statm")
    if status.exists():
        pages = int(status.read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB
    return peak_resident_mb()


def peak_resident_mb() -> float:
    """The most this process ever had resident, in MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def available_mb() -> float:
    """MiB that processes can still take without swapping; 0 where the system does not tell."""
    table = Path("/proc/meminfo")
    if not table.exists():
        return 0.0
    for line in table.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    return 0.0


def device_mb(device: str) -> float:
    """Peak memory torch took on a CUDA device in MiB; 0 for the CPU."""
    if not device.startswith("cuda"):
        return 0.0
    import torch

    return torch.cuda.max_memory_allocated(device) / MIB


def machine() -> dict[str, Any]:
    """CPU model, cores this process may use, memory in GB, platform. No host name."""
    return {
        "cpu": _cpu_model(),
        "cores": _allowed_cores(),
        "memory_gb": _memory_gb(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None


def versions() -> dict[str, str]:
    """Python and every package of PACKAGES that is installed."""
    return {"python": platform.python_version(), **installed(PACKAGES)}


def version(package: str) -> str | None:
    """The installed version; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package that is installed."""
    return {name: found for name in packages if (found := version(name)) is not None}


@contextmanager
def quiet_loading() -> Iterator[None]:
    """transformers draws no bar while it loads weights: it takes seconds and tears our tables."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def quiet_bitsandbytes() -> None:
    """On CPUs with AVX512-BF16 it advises a package that fetches compiled code from a hub; call
    this before its first import."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
