"""Write the planner's recommendations and what was measured into the cards of models/.

    python scripts/update_cards.py

Nobody types these: a test holds them equal to the planner and to what scripts/bench/plan_memory.py
wrote down.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgetool import catalogue
from edgetool.commands.plan import recommendation

GPUS_GIB = (8, 12)
MEASURED = Path(__file__).resolve().parent / "bench" / "measured"


def main() -> None:
    for path in sorted(catalogue.folder().glob("*.yaml")):
        card = catalogue.read_card(path)
        if card.shape is not None:
            text = path.read_text(encoding="utf-8")
            text = _put(text, "recommended", recommended_block(card))
            path.write_text(_put(text, "measured", measured_block(card)), encoding="utf-8")


def _put(text: str, key: str, block: str) -> str:
    """The card with another block in place of a key's own."""
    old = re.compile(rf"^{key}:.*\n(?:[ -].*\n)*", re.MULTILINE)
    return old.sub(lambda _: block, text, count=1)


def recommended_block(card: catalogue.Card) -> str:
    """A line for each GPU."""
    lines = ["recommended:"]
    for memory in GPUS_GIB:
        found = recommendation(card.name, memory)
        lines.append(f"  {memory}: " + (_inline(found.model_dump()) if found else "null"))
    return "\n".join(lines) + "\n"


def measured_block(card: catalogue.Card) -> str:
    """A line for each run of scripts/bench/plan_memory.py."""
    rows = measured(card.name)
    if not rows:
        return "measured: not measured\n"
    return "\n".join(["measured:", *(f"  - {_inline(row)}" for row in rows)]) + "\n"


def measured(name: str) -> list[dict[str, Any]]:
    """What the benchmark wrote down of a model, as cards have it."""
    rows = []
    for path in sorted(MEASURED.glob("plan_*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            if row["model"] == name and "measured_mb" in row:
                told = ", ".join(f"{key} {row[key]}" for key in ("P", "C", "G", "B"))
                settings = f"GRPO, random weights, {told}"
                values = {"device": row["device"], "date": row["date"], "settings": settings}
                rows.append({**values, "peak_mb": row["measured_mb"]})
    return rows


def _inline(values: dict[str, Any]) -> str:
    told = {k: json.dumps(v) if isinstance(v, str) else str(v) for k, v in values.items()}
    return "{" + ", ".join(f"{key}: {value}" for key, value in told.items()) + "}"


if __name__ == "__main__":
    main()
