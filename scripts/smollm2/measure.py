"""Measure SmolLM2-135M-Instruct before and after training, in llama.cpp.

    python -m scripts.smollm2.measure base --suites FOLDER      # the file as it is
    python -m scripts.smollm2.measure sft  --suites FOLDER --adapter runs/smollm2/sft
    scripts/update_readme.py                                    # then fill README's tables

FOLDER holds BFCL v4 (`edgetool eval --suite-root`). Held-out rows are those of
scripts/smollm2/rows.py. The figures go to models/smollm2/measured; a measurement that was stopped
goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgetool.files import write_text
from scripts.real_model import gguf_file
from scripts.smollm2.rows import ROWS

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "models" / "smollm2" / "measured"
SOURCES = ("toolrl", "seal-tools", "snips")
SUITES = "bfcl:simple_python,multiple,parallel,irrelevance,live_simple"
LONGEST = "96"  # tokens of a completion
SHARED = ("machine", "versions")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="base, sft, grpo, ...: the file of figures is called so")
    parser.add_argument("--file", type=Path, help="a GGUF file; the base by default")
    parser.add_argument("--adapter", type=Path, help="adapter.gguf to run on top of the file")
    parser.add_argument("--suites", type=Path, required=True, help="where BFCL v4 is")
    parser.add_argument("--rows", type=int, default=40, help="of each category, the first")
    parser.add_argument("--arm", action="append", choices=("free", "constrained"))
    asked = parser.parse_args()
    command = [str(asked.file or gguf_file("smollm2")), "--rows", str(asked.rows)]
    command += ["--max-completion-length", LONGEST]
    command += ["--adapter", str(asked.adapter)] if asked.adapter else []
    command += [word for arm in asked.arm or ("free", "constrained") for word in ("--arm", arm)]
    measure(asked.name, command, asked.suites)


def measure(name: str, command: list[str], suites: Path) -> None:
    """Evaluate on each source and on BFCL, and keep the rows of every report in one file."""
    work = ROOT / "build" / "smollm2" / "measured" / name
    reports = {}
    for source in SOURCES:
        data = ["--data", str(ROWS / f"heldout-{source}.jsonl")]
        reports[source] = evaluated(command, data, work / source)
    suite = ["--suite", SUITES, "--suite-root", str(suites)]
    reports["bfcl"] = evaluated(command, suite, work / "bfcl")
    keep(name, reports)


def evaluated(command: list[str], data: list[str], out: Path) -> dict[str, Any]:
    eval_ = [sys.executable, "-m", "edgetool", "eval", *command, *data, "--out", str(out)]
    subprocess.run(eval_, check=True, cwd=ROOT)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def keep(name: str, reports: dict[str, dict[str, Any]]) -> None:
    """The figures, each row under its source's name or its category's."""
    rows = [
        {**row, "model": name, "category": row.get("category") or source}
        for source, report in reports.items()
        for row in report["rows"]
    ]
    facts = {key: value for key, value in reports["bfcl"].items() if key in SHARED}
    facts["job_seconds"] = sum(report["job_seconds"] for report in reports.values())
    write_text(MEASURED / f"{name}.json", json.dumps({"rows": rows, **facts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
