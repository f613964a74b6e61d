#!/usr/bin/env python3
"""Put measured figures into README.md: copies reports to models/nano/measured and fills the tables.

    scripts/update_readme.py                             # fill the tables again
    scripts/update_readme.py demo=runs/demo/report.json  # take in a new report first

Nothing between the markers in README.md is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgetool.eval.tables import markdown_table  # noqa: E402
from edgetool.files import write_text  # noqa: E402

MEASURED = ROOT / "models" / "nano" / "measured"
KEPT = ("rows", "differences", "fidelity", "job_seconds", "machine", "versions", "config")
TITLES = {
    "demo": "`edgetool demo`: held-out demo rows",
    "masked": "The same rows with every tool and parameter name made meaningless",
    "bfcl_simple_python": "BFCL v4 simple_python (never trained on)",
    "bfcl_irrelevance": "BFCL v4 irrelevance (no call is right)",
}


def main() -> None:
    for argument in sys.argv[1:]:
        name, _, path = argument.partition("=")
        if name not in TITLES or not path:
            sys.exit(f"{argument}: expected NAME=report.json, NAME one of {', '.join(TITLES)}")
        take_in(name, Path(path))
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    block = "<!-- measured -->\n" + sections() + "<!-- /measured -->"
    filled = re.sub(r"<!-- measured -->.*<!-- /measured -->", lambda _: block, text, flags=re.S)
    write_text(readme, filled)


def take_in(name: str, path: Path) -> None:
    report = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: report[key] for key in KEPT if key in report}
    for difference in kept.get("differences", []):  # row ids are in the report itself
        for part in difference.values():
            if isinstance(part, dict):
                part.pop("flipped_to_right", None)
                part.pop("flipped_to_wrong", None)
    config = kept.get("config", {})
    for key in ("data", "target"):  # names, not places on the machine that measured
        if isinstance(config.get(key), str):
            config[key] = Path(config[key]).name
    write_text(MEASURED / f"{name}.json", json.dumps(kept, indent=1) + "\n")


def sections() -> str:
    parts = []
    for name, title in TITLES.items():
        path = MEASURED / f"{name}.json"
        if path.is_file():
            report = json.loads(path.read_text(encoding="utf-8"))
            parts.append(f"\n**{title}**\n\n{markdown_table(report['rows'])}{remarks(report)}")
    return "".join(parts) + "\n"


def remarks(report: dict[str, Any]) -> str:
    machine = report["machine"]
    lines = [f"\nMeasured on {machine['cpu']}, {machine['cores']} cores, greedy decoding."]
    for found in report.get("differences", []):
        exact, (low, high) = found["exact_match"]["points"], found["exact_match"]["ci95"]
        where = f"{found['runtime']}, {found['arm']}"
        lines.append(f"- trained − base, {where}: {exact:+.1f} points [{low:+.1f}, {high:+.1f}]")
    fidelity = report.get("fidelity", {}).get("F16")
    if fidelity:
        lines.append(
            f"- F16 GGUF in llama.cpp against the merged model in transformers: largest |Δ logit| "
            f"{fidelity['max_abs_delta']:.4f} of a range of {fidelity['logit_range']:.1f}; greedy "
            f"completions agree on {100 * fidelity['greedy_agreement']:.1f} % of "
            f"{fidelity['rows']} rows; prompt ids on {100 * fidelity['prompt_parity']:.1f} %"
        )
        peak = report["fidelity"]["peak_resident_mb"] / 1024
        lines.append(f"- whole job: {report['job_seconds']:.0f} s, at most {peak:.1f} GiB resident")
    return "\n".join([lines[0], "", *lines[1:]]).rstrip() + "\n"


if __name__ == "__main__":
    main()
