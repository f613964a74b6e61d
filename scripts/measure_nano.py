#!/usr/bin/env python3
"""Measure what README.md and nano's card say of nano: the demo, then its files on other rows.

    scripts/measure_nano.py --suites FOLDER            # about half an hour on two cores
    scripts/measure_nano.py --suites FOLDER --only renamed
    scripts/update_readme.py                           # then fill README's tables

FOLDER holds BFCL v4 (`edgetool eval --suite-root`). A finished demo in runs/demo is used as it is.
The figures go to models/nano/measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgetool.calls.syntaxes import hermes  # noqa: E402
from edgetool.calls.types import Example  # noqa: E402
from edgetool.data import demo  # noqa: E402
from edgetool.data.rows import write_rows  # noqa: E402
from edgetool.files import read_log, write_text  # noqa: E402
from scripts.mask_demo_rows import NAMES, rename  # noqa: E402

RUN = ROOT / "runs" / "demo"
MEASURED = ROOT / "models" / "nano" / "measured"
FILES = {"base": RUN / "base" / "model.Q8_0.gguf", "trained": RUN / "model.Q8_0.gguf"}
PARTS = ("demo", "rest", "renamed", "square", "export", "engines")
ENGINE_STEPS = 30  # of the demo's 60
REPORTED = 300  # held-out rows of the demo's report, the first of 695
OWN = "their own"
SUITES = "bfcl:simple_python,multiple,irrelevance"
SAMPLING = ("sampling/kl", "sampling/importance_sampling_ratio/mean")
KEPT = (
    "training",
    "rows",
    "differences",
    "pairs",
    "squares",
    "fidelity",
    "job_seconds",
    "machine",
    "versions",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--suites", type=Path, required=True, help="where BFCL v4 is")
    parser.add_argument("--only", choices=PARTS)
    asked = parser.parse_args()
    parts = {
        "demo": measure_demo,
        "rest": measure_rest,
        "renamed": measure_renamed,
        "square": lambda work: measure_square(work, asked.suites.resolve()),
        "export": measure_export,
        "engines": measure_engines,
    }
    for name, measure in parts.items():
        if asked.only in (None, name):
            with tempfile.TemporaryDirectory() as work:
                measure(Path(work))


def measure_demo(work: Path) -> None:
    """The main job, or the report of the one that is done."""
    edgetool("demo", "--out", RUN)
    keep("demo", read(RUN / "report.json"))


def measure_rest(work: Path) -> None:
    """Both files on the held-out rows that the demo does not report."""
    keep("rest", both_free(work, demo.examples("validation")[REPORTED:]))


def measure_renamed(work: Path) -> None:
    """Both files on the rows that it does report, under their own names and under others."""
    rows, report, own = [], {}, demo.examples("validation", REPORTED)
    for names in (OWN, *NAMES):
        renamed = own if names == OWN else list(rename(own, names))
        report = both_free(work / names, renamed)
        rows += [{"names": names, **row} for row in report["rows"]]
    keep("renamed", {**report, "rows": rows})


def both_free(work: Path, examples: Sequence[Example]) -> dict[str, Any]:
    """The report of base and trained file, free; `copied` is of the values that they write."""
    data, rows, report = work / "rows.jsonl", [], {}
    write_rows(data, examples)
    for model, file in FILES.items():
        out = work / model
        edgetool("eval", file, "--data", data, "--arm", "free", "--out", out)
        report = read(out / "report.json")
        [written], [measured] = (out / "results").glob("*.jsonl"), report["rows"]
        rows.append({**measured, "model": model, "copied": copied(examples, read_log(written))})
    return {**report, "rows": rows, "differences": [], "fidelity": {}}


def copied(examples: Iterable[Example], completions: Iterable[dict[str, Any]]) -> float:
    """Of all the argument values that were written, how many stand so in their request."""
    said = {example.id: example.messages[-1]["content"] for example in examples}
    found = [
        str(value) in said[completion["id"]]
        for completion in completions
        for call in hermes.parse(completion["text"]).calls
        for value in call.arguments.values()
    ]
    return sum(found) / len(found)


def measure_square(work: Path, suites: Path) -> None:
    """Train x decode on the demo's held-out rows and on BFCL."""
    reports = []
    for model, file in FILES.items():
        link = work / f"{model}.Q8_0.gguf"  # a report calls a file by its name
        link.symlink_to(file)
        rows = RUN / "data" / "validation.jsonl"
        arms = ("--arm", "free", "--arm", "constrained")
        suite = ("--suite", SUITES, "--suite-root", suites)
        edgetool("eval", link, "--data", rows, *suite, *arms, "--out", work / model)
        reports.append(work / model)
    edgetool("compare", *reports, "--out", work / "square")
    keep("square", read(work / "square" / "report.json"))


def measure_export(work: Path) -> None:
    """Q4_K_M of the trained adapter on all held-out rows, without and with an importance matrix."""
    kept: dict[str, Any] = {}
    for name, extra in {"plain": (), "imatrix": ("--imatrix", "demo")}.items():
        options = ("--gguf", "--quant", "Q4_K_M", "--rows", "695", "--merge-into", "auto")
        edgetool("export", RUN, *options, *extra, "--out", work / name)
        receipt = read(work / name / "receipt.json")
        kept[name] = {
            key: receipt[key] for key in ("measured", "merge_choice", "imatrix") if key in receipt
        }
        kept["versions"] = receipt["versions"]
    write_text(MEASURED / "export_q4_k_m.json", json.dumps(kept, indent=1) + "\n")


def measure_engines(work: Path) -> None:
    """Half of the demo's training, its rollouts by torch and by llama.cpp, on the held-out rows."""
    config = ROOT / "edgetool" / "commands" / "demo.yaml"
    training = {}
    for engine in ("torch", "llama"):
        run = work / engine
        changed = (
            f"grpo.max_steps={ENGINE_STEPS}",
            f"rollout.engine={engine}",
            f"output_dir={run}",
        )
        edgetool("train", "--config", config, *(o for c in changed for o in ("--set", c)))
        edgetool("eval", run, "--arm", "free", "--out", work / "reports" / engine)
        rows = read_log(run / "metrics.jsonl")
        training[engine] = {
            name: round(sum(row[name] for row in rows) / len(rows), 6)
            for name in ("step_time", "rollout_time", *SAMPLING)
        }
    reports = [work / "reports" / engine for engine in training]
    edgetool("compare", *reports, "--out", work / "engines")
    report = read(work / "engines" / "report.json")
    for row, engine in zip(report["rows"], training, strict=True):
        row["model"] = engine
    keep("engines", {**report, "training": training})


def edgetool(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "edgetool", *map(str, arguments)], check=True, cwd=ROOT)


def read(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def keep(name: str, report: dict[str, Any]) -> None:
    """The figures of a report, without the ids of rows and the places on this machine."""
    kept = {key: report[key] for key in KEPT if report.get(key)}
    for difference in kept.get("differences", []):
        for part in difference.values():
            if isinstance(part, dict):
                part.pop("flipped_to_right", None)
                part.pop("flipped_to_wrong", None)
    write_text(MEASURED / f"{name}.json", json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
