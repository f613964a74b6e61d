"""Measure SmolLM2-135M-Instruct before and after training, in llama.cpp.

    python -m scripts.smollm2.measure base --suites FOLDER      # the file as it is
    python -m scripts.smollm2.measure sft --suites FOLDER --adapter adapter.gguf
    python -m scripts.smollm2.measure constrained --suites FOLDER --file MERGED --arm constrained
    scripts/update_readme.py                                    # then fill README's tables

FOLDER holds BFCL v4 (`edgetool eval --suite-root`). Held-out rows are those of
scripts/smollm2/rows.py. Of each of these and of each category the same rows are drawn by a fixed
seed; more --rows keep those and add others. The figures go to models/smollm2/measured. A
measurement that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgetool.calls.types import Example
from edgetool.commands.common import console
from edgetool.commands.eval import Rows, load, run_eval
from edgetool.files import write_text
from edgetool.runtime import Sampling
from scripts.real_model import gguf_file
from scripts.smollm2.rows import ROWS, SEED

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "models" / "smollm2" / "measured"
SOURCES = ("toolrl", "seal-tools", "snips")
SUITES = "bfcl:simple_python,multiple,parallel,irrelevance,live_simple"
LONGEST = 96  # tokens of a completion
KEPT = ("rows", "machine", "versions", "job_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", help="of the file of figures: base, sft, shipped, ...")
    parser.add_argument("--file", type=Path, help="a GGUF file; the base by default")
    parser.add_argument("--adapter", type=Path, help="adapter.gguf to run on top of the file")
    parser.add_argument("--suites", type=Path, required=True, help="where BFCL v4 is")
    parser.add_argument("--rows", type=int, default=16, help="of each category")
    parser.add_argument("--arm", action="append", choices=("free", "constrained"))
    asked = parser.parse_args()
    report = run_eval(
        str(asked.file or gguf_file("smollm2")),
        drawn(asked.suites, asked.rows),
        asked.arm or ["free"],
        console(),
        base=False,
        sampling=Sampling(max_completion_length=LONGEST),
        out=ROOT / "build" / "smollm2" / "measured" / asked.name,
        adapter=asked.adapter,
    )
    keep(asked.name, json.loads(report.read_text(encoding="utf-8")))


def drawn(suites: Path, count: int) -> Rows:
    """`count` rows of each source and each category of BFCL."""
    rows = load(None, [SUITES], suites)
    for source in SOURCES:
        found = load(str(ROWS / f"heldout-{source}.jsonl"), (), None)
        rows.by_category[source] = tuple(found.all)
    for category, examples in rows.by_category.items():
        rows.by_category[category] = some(examples, count)
    return rows


def some(examples: Sequence[Example], count: int) -> tuple[Example, ...]:
    shuffled = random.Random(SEED).sample(examples, len(examples))
    return tuple(shuffled[:count])


def keep(name: str, report: dict[str, Any]) -> None:
    kept = {key: report[key] for key in KEPT}
    kept["rows"] = [{**row, "model": name} for row in kept["rows"]]
    write_text(MEASURED / f"{name}.json", json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
