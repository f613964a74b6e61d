"""What most data sets have: rows that refer to nothing else, and may be trained on."""

from __future__ import annotations

from pathlib import Path

EVALUATION_ONLY = False


def is_companion(path: Path) -> bool:
    return False


def companions(path: Path) -> None:
    return None
