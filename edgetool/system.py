"""The machine and what is installed on it: memory and package versions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

MIB = 2**20


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


def version(package: str) -> str | None:
    """The installed version; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package that is installed."""
    return {name: found for name in packages if (found := version(name)) is not None}
