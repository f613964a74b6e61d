#!/usr/bin/env python3
"""Fill the tables of README.md and docs/measured.md from the files that scripts wrote.

Nothing between `<!-- measured: NAME -->` and `<!-- /measured -->` is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgetool.eval.report.tables import (  # noqa: E402
    exact_match,
    markdown_lines,
    markdown_table,
    percent,
)
from edgetool.files import write_text  # noqa: E402
from scripts.smollm2 import tables as smollm2  # noqa: E402

README, FIGURES = ROOT / "README.md", ROOT / "docs" / "measured.md"
PAGES = (README, FIGURES)
MEASURED = ROOT / "models" / "nano" / "measured"
BENCH = ROOT / "scripts" / "bench" / "measured"
PLACE = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- /measured -->)", re.S)


def main() -> None:
    for page in PAGES:
        write_text(page, filled(page.read_text(encoding="utf-8")))


def filled(text: str) -> str:
    """The page with every table as its figures say."""
    return PLACE.sub(lambda place: place[1] + TABLES[place[2]]() + place[3], text)


def brief() -> str:
    """The shipped Q8_0 file before and after training, in five rows."""
    report = _read("demo")
    found = {(row["model"], row["arm"]): row for row in report["rows"] if row["runtime"] == SHIPPED}
    free, held = ([found[model, arm] for model in MODELS] for arm in ("free", "constrained"))
    rows = [
        ["rows exactly right", *(percent(row["exact_match"]) for row in free)],
        ["right tool", *(percent(row["right_tool"]) for row in free)],
        ["requests declined that no tool fits", *(percent(row["irrelevance"]) for row in free)],
        ["valid calls", *(percent(row["valid"]) for row in free)],
        ["valid calls under the tools' grammar", *(percent(row["valid"]) for row in held)],
    ]
    head = [f"{free[0]['n']} rows it never saw, Q8_0 file", "before", "after GRPO"]
    return markdown_lines(head, rows, texts=1)


def gguf_base() -> str:
    """torch on a GGUF file's weights against llama.cpp on the file."""
    rows = [
        [
            row["model"],
            ", ".join(row["types"]),
            f"{row['max_abs_delta']:.3f} of {row['logit_range']:.1f}",
            percent(row["argmax_agreement"]),
            percent(row["same_next_token"]),
        ]
        for row in json.loads((BENCH / "gguf_base.json").read_text(encoding="utf-8"))
    ]
    head = ["model", "types", "largest difference of a logit", "same next token", "of the prompt"]
    return markdown_lines(head, rows, texts=2)


def peers() -> str:
    """edgetool beside its peers; the figures are of one step behind 800 tokens."""
    steps = json.loads((BENCH / "train_step.json").read_text(encoding="utf-8"))
    shape = {"P": 800, "C": 60, "G": 8}
    (step,) = [step for step in steps if step["shape"] == shape]
    ours, trl = (
        f"{step[f'{side}_s']:.1f} s, {step[f'{side}_rss_mb'] / 1024:.1f} GiB"
        for side in ("ours", "trl")
    )
    rows = [
        [f"GRPO step on a CPU: {shape['P']} tokens, {shape['G']} completions", ours, trl, "–", "–"],
        *PEERS,
    ]
    return markdown_lines(["", "edgetool", "TRL", "Unsloth", "llama.cpp"], rows, texts=5)


def demo() -> str:
    report = _read("demo")
    return markdown_table(report["rows"]) + "\n" + _measured_on(report) + _remarks(report)


def renamed() -> str:
    rows = [
        [
            row["names"].replace("ordinary-", "ordinary, only "),
            row["model"],
            exact_match(row),
            percent(row["right_tool"]),
            percent(row["irrelevance"]),
            percent(row["copied"]),
        ]
        for row in _read("renamed")["rows"]
    ]
    head = ["names", "model", "exact match [95 % CI]", "right tool", "abstention", "values copied"]
    return markdown_lines(head, rows, texts=2)


def bfcl() -> str:
    """The trained file on BFCL, one line per category and arm."""
    rows = [
        row for row in _read("square")["rows"] if row["model"] == "trained" and row.get("category")
    ]
    return markdown_table(rows)


def square() -> str:
    rows = []
    for found in _read("square")["squares"]:
        cells = found["cells"]
        pairs = [
            f"{percent(cells[f'{m}/free'])} → {percent(cells[f'{m}/constrained'])}" for m in MODELS
        ]
        low, high = found["ci95"]
        where = found.get("category") or "demo, held out"
        change = f"{found['points']:+.1f} [{low:+.1f}, {high:+.1f}]"
        rows.append([f"{where}, {found['n']}", *pairs, change])
    return markdown_lines(["rows", *MODELS, "interaction, points [95 % CI]"], rows, texts=1)


def export() -> str:
    report = _read("export_q4_k_m")
    rows = [[step["step"], *_step(step)] for step in report["plain"]["measured"]]
    last = report["imatrix"]["measured"][-1]
    rows.append([f"{last['step']}, importance matrix", *_step(last)])
    return markdown_lines(
        ["step", "exact match [95 % CI]", "lost", "gained", "prompts"], rows, texts=1
    )


MODELS = ("base", "trained")
SHIPPED = "gguf:Q8_0"
# What each project's documentation said in November 2026.
PEERS = (
    ["GRPO with LoRA on a 4-bit base", "GPU or CPU", "GPU", "GPU", "no"],
    ["a group's prompt is computed once", "yes, exact to 1e-5", "no", "yes", "–"],
    ["GGUF files", "no converter, no compiler", "no", "builds llama.cpp", "its own scripts"],
    ["every file measured on your own rows", "yes, a receipt", "no", "no", "no"],
    ["`tool_choice: required` is held", "yes", "–", "–", "no"],
)
TABLES: dict[str, Callable[[], str]] = {
    "smollm2": smollm2.brief,
    "smollm2_all": smollm2.everything,
    "smollm2_training": smollm2.training,
    "brief": brief,
    "peers": peers,
    "demo": demo,
    "renamed": renamed,
    "bfcl": bfcl,
    "square": square,
    "export": export,
    "gguf_base": gguf_base,
}


def _read(name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))
    return report


def _step(step: dict[str, Any]) -> list[str]:
    return [
        exact_match(step),
        str(step["lost"]),
        str(step["gained"]),
        percent(step["prompt_parity"]),
    ]


def _measured_on(report: dict[str, Any]) -> str:
    machine = report["machine"]
    return f"Measured on {machine['cpu']}, {machine['cores']} cores, greedy decoding.\n\n"


def _remarks(report: dict[str, Any]) -> str:
    lines = []
    for found in report["differences"]:
        exact, (low, high) = found["exact_match"]["points"], found["exact_match"]["ci95"]
        where = f"{found['runtime']}, {found['arm']}"
        lines.append(f"- trained − base, {where}: {exact:+.1f} points [{low:+.1f}, {high:+.1f}]")
    fidelity = report["fidelity"]["F16"]
    lines.append(
        f"- F16 GGUF in llama.cpp against the merged model in transformers: largest |Δ logit| "
        f"{fidelity['max_abs_delta']:.4f} of a range of {fidelity['logit_range']:.1f}; greedy "
        f"completions agree on {100 * fidelity['greedy_agreement']:.1f} % of "
        f"{fidelity['rows']} rows; prompt ids on {100 * fidelity['prompt_parity']:.1f} %"
    )
    peak = report["fidelity"]["peak_resident_mb"] / 1024
    lines.append(f"- whole job: {report['job_seconds']:.0f} s, at most {peak:.1f} GiB resident")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
