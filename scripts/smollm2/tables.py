"""The tables of SmolLM2's figures, for scripts/update_readme.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgetool.eval.report.tables import exact_match, markdown_lines, markdown_table
from scripts.smollm2.measure import MEASURED

# The file of figures -> what its column is called, in the order of the training.
STAGES = {
    "base": "before",
    "sft": "after sft",
    "shipped": "merged, Q8_0",
    "constrained": "and the grammar",
}
# The log of each training -> what a step of it was.
RUNS = {
    "sft.jsonl": "12 rows",
    "earlier/grpo_collapsed.jsonl": "6 prompts, 8 completions each",
}
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
    """Rows exactly right, one line for each set of rows."""
    figures = {name: _by_category(name) for name in _there()}
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
    return markdown_table([row for name in _there() for row in _read(name)["rows"]])


def training() -> str:
    """What the two trainings took, out of their metrics.jsonl."""
    rows = []
    for name, part in RUNS.items():
        lines = (MEASURED / name).read_text(encoding="utf-8").splitlines()
        steps = [json.loads(line) for line in lines]
        minutes = sum(step["step_time"] for step in steps) / 60
        memory = max(step["rss_mb"] for step in steps) / 1024
        tokens = steps[-1]["num_tokens"]
        count = f"{len(steps)} of {part}"
        rows.append([Path(name).stem, count, f"{tokens:,}", f"{minutes:.0f}", f"{memory:.1f}"])
    return markdown_lines(["", "steps", "tokens", "minutes", "GiB resident"], rows, texts=2)


def _there() -> list[str]:
    return [name for name in STAGES if (MEASURED / f"{name}.json").is_file()]


def _by_category(name: str) -> dict[str, Any]:
    return {row["category"]: row for row in _read(name)["rows"]}


def _read(name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))
    return report
