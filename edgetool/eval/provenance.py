"""Where the numbers came from: the machine, without its name, and the versions of what ran."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgetool.system import installed

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


def machine() -> dict[str, Any]:
    """CPU model, cores this process may use, memory in GB, platform. No host name."""
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_gb": _memory_gb(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def today() -> str:
    """The date in UTC, as ISO 8601 has it: "2026-11-30"."""
    return datetime.now(timezone.utc).date().isoformat()


def versions() -> dict[str, str]:
    """Python and every package of PACKAGES that is installed."""
    return {"python": platform.python_version(), **installed(PACKAGES)}


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None
