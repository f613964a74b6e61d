#!/usr/bin/env python3
"""Write the demo's validation rows with every tool and parameter name made meaningless.

    scripts/mask_demo_rows.py masked.jsonl [ROWS]
    edgetool eval model.gguf --data masked.jsonl

Descriptions stay (Hammer, arXiv:2410.04587): what is left to go by is what a tool says of itself.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgetool.calls.types import Example, ExpectedCall
from edgetool.data import demo
from edgetool.data.rows import write_rows
from scripts.nano.rows import mask_names, rename_call, rename_tool


def masked(example: Example, rng: random.Random) -> Example:
    names = mask_names(list(example.tools), rng)
    renamed = [rename_call(call, names) for call in example.calls]
    return replace(
        example,
        tools=tuple(rename_tool(tool, names) for tool in example.tools),
        calls=tuple(ExpectedCall(call.name, call.arguments) for call in renamed),
    )


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    rng = random.Random(0)
    count = int(sys.argv[2]) if len(sys.argv) == 3 else None
    rows = [masked(example, rng) for example in demo.examples("validation", count)]
    write_rows(Path(sys.argv[1]), rows)


if __name__ == "__main__":
    main()
