"""The tables of SmolLM2's figures, for scripts/update_readme.py."""

from __future__ import annotations

import json
from typing import Any

from edgetool.eval.report.tables import exact_match, markdown_lines, markdown_table, percent
from scripts.smollm2.measure import MEASURED

# The file of figures -> what its column is called, in the order of the training.
STAGES = {"base": "before", "sft": "after sft", "grpo": "after GRPO"}
ROWS = {
    "toolrl": "ToolRL, held out",
    "seal-tools": "Seal-Tools, held out",
    "snips": "Snips, held out",
    "bfcl:simple_python": "BFCL simple_python",
    "bfcl:multiple": "BFCL multiple",
    "bfcl:parallel": "BFCL parallel",
    "bfcl:live_simple": "BFCL live_simple",
    "bfcl:irrelevance": "BFCL irrelevance",
}


def brief() -> str:
    """Rows exactly right without a grammar, one line for each set of rows."""
    figures = {name: _free(name) for name in _there()}
    rows = []
    for category, label in ROWS.items():
        found = [figures[name].get(category) for name in figures]
        counts = {row["n"] for row in found if row}
        cells = [exact_match(row) if row else "–" for row in found]
        rows.append([f"{label}, {'/'.join(map(str, sorted(counts)))}", *cells])
    head = ["exactly right [95 % CI]", *(STAGES[name] for name in figures)]
    return markdown_lines(head, rows, texts=1)


def everything() -> str:
    """Every figure of every file."""
    rows = [row for name in (*STAGES, "shipped") if _exists(name) for row in _read(name)["rows"]]
    return markdown_table(rows)


def held() -> str:
    """Valid calls without and with the grammar."""
    rows = []
    for name in _there():
        for arm in ("free", "constrained"):
            some = [row for row in _read(name)["rows"] if row["arm"] == arm]
            if some:
                total = sum(row["n"] for row in some)
                cells = [sum(row["n"] * row[key] for row in some) / total for key in _SHARES]
                rows.append([STAGES[name], arm, str(total), *map(percent, cells)])
    head = ["", "arm", "rows", "exactly right", "right tool", "valid"]
    return markdown_lines(head, rows, texts=2)


_SHARES = ("exact_match", "right_tool", "valid")


def _there() -> list[str]:
    return [name for name in STAGES if _exists(name)]


def _exists(name: str) -> bool:
    return (MEASURED / f"{name}.json").is_file()


def _free(name: str) -> dict[str, Any]:
    return {row["category"]: row for row in _read(name)["rows"] if row["arm"] == "free"}


def _read(name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))
    return report
