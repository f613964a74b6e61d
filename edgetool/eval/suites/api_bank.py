"""API-Bank (arXiv:2304.08244), levels 1 to 3, in the form ToolRL prepared them."""

from __future__ import annotations

import json
from pathlib import Path

from edgetool.data.draft import Draft
from edgetool.data.importers import toolrl
from edgetool.eval.suites.base import Loaded, Row, Unscorable, collect

NAME = "api-bank"
FOLDERS = ("toolrl", "api-bank", "apibank")
_FILE = "apibank_{}-api_processed.json"
_CATEGORIES = ("level-1", "level-2", "level-3")


def categories(folder: Path) -> tuple[str, ...]:
    return tuple(name for name in _CATEGORIES if (folder / _FILE.format(name)).is_file())


def load(folder: Path, category: str) -> Loaded:
    rows = json.loads((folder / _FILE.format(category)).read_text(encoding="utf-8"))
    named = [(f"{category}-{number}", row) for number, row in enumerate(rows)]
    return collect(named, _draft)


def _draft(_: str, row: Row) -> Draft:
    if not row["answer"]:
        raise Unscorable("no right answer")
    return next(toolrl.drafts(dict(row), None))
