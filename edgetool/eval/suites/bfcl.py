"""Berkeley Function Calling Leaderboard v4, single-turn categories (Patil et al., ICML 2025).

Scored by our judge under BFCL's rules, category by category: there is no overall score here, since
the leaderboard's own is made of parts that one turn does not have.
"""

from __future__ import annotations

from pathlib import Path

from edgetool.calls.types import Example
from edgetool.data import bfcl
from edgetool.eval.suites.base import Loaded

NAME = "bfcl"
FOLDERS = ("bfcl_v4", "bfcl")
_NO_CALL = ("irrelevance", "live_irrelevance")


def categories(folder: Path) -> tuple[str, ...]:
    return bfcl.categories(folder)


def load(folder: Path, category: str) -> Loaded:
    rows = bfcl.load(folder, category)
    reasons = {row.id: reason for row in rows if (reason := _missing(row, category))}
    scorable = tuple(row for row in rows if row.id not in reasons)
    return Loaded(scorable, tuple(f"{name}: {reason}" for name, reason in reasons.items()))


def _missing(row: Example, category: str) -> str | None:
    if not row.tools:
        return "no tools on offer"
    return None if row.calls or category in _NO_CALL else "no right answer"
