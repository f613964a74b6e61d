#!/usr/bin/env python3
"""Whether the constrained arm kept its promise: every completion clean and inside its schemas.

    scripts/bench/schema_valid.py EVALUATED... [--arm constrained] [--out schema_valid.json]

Reads finished evaluations (see `edgetool eval`) and names every row that is not schema-valid, with
the reason: tools that no grammar can hold, a completion cut at max_completion_length, an engine
that failed. A row left without a reason is a broken promise, and the exit code says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from edgetool.eval.evaluate import ArmResult, RowResult  # noqa: E402
from edgetool.eval.results import open_finished  # noqa: E402
from edgetool.files import write_text  # noqa: E402
from edgetool.runtime import CONSTRAINED  # noqa: E402
from edgetool.system import versions  # noqa: E402

UNEXPLAINED = "unexplained"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("evaluated", nargs="+")
    parser.add_argument("--arm", default=CONSTRAINED)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    arms = [arm for name in asked.evaluated for arm in open_finished(name).arms]
    told = [about(arm) for arm in arms if arm.arm == asked.arm]
    found = {
        "arm": asked.arm,
        "rows": sum(each["rows"] for each in told),
        "schema_valid": sum(each["schema_valid"] for each in told),
        "not_constrained": sum(len(each["not_constrained"]) for each in told),
        "categories": told,
        "versions": versions(),
    }
    print(json.dumps({k: v for k, v in found.items() if k != "versions"}, indent=1))
    if asked.out:
        write_text(asked.out, json.dumps(found, indent=1) + "\n")
    sys.exit(any(UNEXPLAINED in each["exceptions"] for each in told))


def about(arm: ArmResult) -> dict[str, Any]:
    """One category: how many rows hold, and why each of the others does not."""
    broken = [row for row in arm.results if not row.schema_valid]
    free = [row for row in arm.results if row.unconstrained is not None]
    return {
        "category": arm.category or "demo rows",
        "model": arm.model,
        "rows": len(arm.results),
        "schema_valid": len(arm.results) - len(broken),
        "not_constrained": {row.id: _reason(row.unconstrained or "") for row in free},
        "exceptions": dict(Counter(map(why, broken))),
    }


def why(row: RowResult) -> str:
    if row.error is not None:
        return f"the engine failed: {row.error[:80]}"
    if row.unconstrained is not None:
        return "not constrained"
    return "cut at max_completion_length" if row.problem == "cut" else UNEXPLAINED


def _reason(message: str) -> str:
    """The engine's words without the grammar they quote."""
    return message.partition("\n")[0][:160]


if __name__ == "__main__":
    main()
