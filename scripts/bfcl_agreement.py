"""Hold the judge's BFCL rules against BFCL's own checker.

    python scripts/bfcl_agreement.py ../shared/data/bfcl_v4

Every row with answers of the single-turn Python categories is judged by both: calls the answers
accept, and those with one change (scripts/golden/bfcl_mutations.py). Written:

    scripts/golden/measured/bfcl_agreement.json   counts, and every disagreement
    tests/calls/judge/golden/bfcl.jsonl           what the tests hold the judge against: BFCL's
                                                  verdicts on hand-written rows of its dialect, and
                                                  a sample of the above by row id

bfcl-eval gets a venv of its own under build/, without the model vendors' clients it asks for.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import venv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgetool.calls.judge.match import judge_example  # noqa: E402
from edgetool.calls.syntaxes.base import Parsed  # noqa: E402
from edgetool.calls.types import ToolCall  # noqa: E402
from edgetool.data import bfcl  # noqa: E402
from edgetool.files import write_text  # noqa: E402
from scripts.golden.bfcl_mutations import MUTATIONS, accepted_calls, mutate  # noqa: E402
from scripts.golden.bfcl_rows import ROWS  # noqa: E402

BFCL_EVAL = "bfcl-eval==2026.3.23"
PYTHON = ROOT / "build" / "bfcl" / "bin" / "python"
MEASURED = ROOT / "scripts" / "golden" / "measured" / "bfcl_agreement.json"
GOLDEN = ROOT / "tests" / "calls" / "golden" / "bfcl.jsonl"

SEED = 0
DRAWS = 2  # changes of each kind per row
GOLDEN_DRAWS = 3  # for the hand-written rows
GOLDEN_SHARE = 0.01  # of the others

Case = dict[str, Any]


def main(folder: Path) -> int:
    rows = [row for category in categories(folder) for row in read(folder, category)]
    cases = list(cases_of(rows, DRAWS))
    theirs, ours = judged_by_bfcl(cases), [judged_by_us(case) for case in cases]
    report = compared(cases, theirs, ours)
    write_text(MEASURED, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    own_cases = list(cases_of(ROWS, GOLDEN_DRAWS))
    alike = [(c, t) for c, t, o in zip(cases, theirs, ours, strict=True) if t["valid"] == o]
    write_golden(own_cases, judged_by_bfcl(own_cases), alike)
    print(f"{report['agree']} of {report['cases']} calls alike: {report['agreement']:.4%}")
    for reason, count in report["reasons"].items():
        print(f"  {count} {reason}")
    return 0


def categories(folder: Path) -> list[str]:
    found = sorted(path.stem for path in (folder / "possible_answer").glob(f"{bfcl.PREFIX}*.json"))
    return [stem.removeprefix(bfcl.PREFIX) for stem in found]


def read(folder: Path, category: str) -> Iterator[dict[str, Any]]:
    """Rows as BFCL spells them, without edgetool's own reading of them."""
    name = f"{bfcl.PREFIX}{category}.json"
    answers = {row["id"]: row["ground_truth"] for row in _lines(folder / "possible_answer" / name)}
    for row in _lines(folder / name):
        yield {
            "category": category,
            "id": row["id"],
            "functions": row["function"],
            "answers": answers[row["id"]],
        }


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def cases_of(rows: Sequence[dict[str, Any]], draws: int) -> Iterator[Case]:
    for row in rows:
        for kind in MUTATIONS:
            for draw in range(draws):
                rng = random.Random(f"{SEED}/{row['id']}/{kind}/{draw}")
                calls = mutate(kind, row, accepted_calls(row["answers"], rng), rng)
                if calls is not None:
                    # Through JSON, which is how calls arrive: no tuples, no keys but text.
                    yield {**row, "change": kind, "calls": json.loads(json.dumps(calls))}


def judged_by_bfcl(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """BFCL's verdicts, from its own venv."""
    if not PYTHON.exists():
        venv.create(PYTHON.parents[1], with_pip=True)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", BFCL_EVAL]
    subprocess.run([PYTHON, *install], check=True)
    done = subprocess.run(
        [PYTHON, ROOT / "scripts" / "golden" / "bfcl_checker.py"],
        input="".join(json.dumps(case) + "\n" for case in cases),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def judged_by_us(case: Case) -> bool:
    question = [[{"role": "user", "content": "?"}]]
    row = {"id": case["id"], "question": question, "function": case["functions"]}
    made = tuple(ToolCall(name, args) for call in case["calls"] for name, args in call.items())
    return judge_example(Parsed(made), bfcl.example(row, case["answers"])).exact


def compared(
    cases: Sequence[Case], theirs: Sequence[dict[str, Any]], ours: Sequence[bool]
) -> dict[str, Any]:
    both = list(zip(cases, theirs, ours, strict=True))
    differing = [(c, t, o) for c, t, o in both if t["valid"] != o]
    reasons = Counter(reason(case, they) for case, they, _ in differing)
    return {
        "checker": BFCL_EVAL,
        "rows": dict(
            Counter(category for category, _ in sorted({(c["category"], c["id"]) for c in cases}))
        ),
        "changes": dict(Counter(case["change"] for case in cases)),
        "cases": len(cases),
        "accepted_by_bfcl": sum(they["valid"] for they in theirs),
        "raised_in_bfcl": sum(they["error"].startswith("raised") for they in theirs),
        "agree": len(cases) - len(differing),
        "agreement": 1 - len(differing) / len(cases),
        "reasons": dict(reasons),
        "disagreements": [
            {
                "id": case["id"],
                "change": case["change"],
                "calls": case["calls"],
                "answers": case["answers"],
                "bfcl": they,
                "edgetool": we,
                "reason": reason(case, they),
            }
            for case, they, we in differing
        ],
    }


def reason(case: Case, they: dict[str, Any]) -> str:
    """Why ours is kept."""
    if they["error"].startswith("raised"):
        return f"BFCL's checker fails: {they['error']}"
    if they["error"] == "parallel_function_checker_no_order:cannot_find_match":
        return "BFCL gives each answer the first call that fits, so one may be left without"
    return "unexplained"


def write_golden(
    own: Sequence[Case],
    own_verdicts: Sequence[dict[str, Any]],
    others: Sequence[tuple[Case, dict[str, Any]]],
) -> None:
    """`others`: those from which a sample is taken, the listed disagreements left out."""
    by_id: dict[str, Any] = {
        row["id"]: {**{key: row[key] for key in ("id", "functions", "answers")}, "cases": []}
        for row in ROWS
    }
    for case, verdict in zip(own, own_verdicts, strict=True):
        by_id[case["id"]]["cases"].append([case["calls"], verdict["valid"]])
    picked = random.Random(SEED).sample(others, int(GOLDEN_SHARE * len(others)))
    shared = [
        {
            "category": case["category"],
            "id": case["id"],
            "cases": [[case["calls"], verdict["valid"]]],
        }
        for case, verdict in picked
    ]
    lines = [json.dumps(entry, ensure_ascii=False) for entry in (*by_id.values(), *shared)]
    write_text(GOLDEN, "".join(line + "\n" for line in lines))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
