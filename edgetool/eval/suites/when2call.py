"""When2Call (arXiv:2504.18851): whether to call, to ask back or to say that it cannot be done.

The 300 rows of the test set for judges. A row is right when the expected call is made, or, where
asking back or declining is right, when no call is made; what is said instead is not judged.
"""

from __future__ import annotations

import json
from pathlib import Path

from edgetool.data.draft import Draft
from edgetool.data.importers import when2call
from edgetool.eval.suites.base import Loaded, Row, collect

NAME = "when2call"
FOLDERS = ("when2call",)
FILE = "when2call_test_llm_judge.jsonl"
_CATEGORIES = ("tool_call", "request_for_info", "cannot_answer")


def categories(folder: Path) -> tuple[str, ...]:
    return _CATEGORIES if (folder / FILE).is_file() else ()


def load(folder: Path, category: str) -> Loaded:
    lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row.get("correct_answer") == category]
    return collect([(row["uuid"], row) for row in rows], _draft)


def _draft(_: str, row: Row) -> Draft:
    return next(when2call.drafts(dict(row), None))
