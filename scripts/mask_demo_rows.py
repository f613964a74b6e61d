#!/usr/bin/env python3
"""Write the demo's validation rows with every tool and parameter name made meaningless.

    scripts/mask_demo_rows.py masked.jsonl [ROWS]
    edgetool eval model.gguf --data masked.jsonl

Descriptions stay (Hammer, arXiv:2410.04587): what is left to go by is what a tool says of itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgetool.data import demo
from edgetool.data.mask import mask_rows
from edgetool.data.rows import write_rows


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    count = int(sys.argv[2]) if len(sys.argv) == 3 else None
    write_rows(Path(sys.argv[1]), mask_rows(demo.examples("validation", count), rate=1.0, seed=0))


if __name__ == "__main__":
    main()
