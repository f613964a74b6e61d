"""Write the planner's recommendations into the cards of models/; a test holds them equal.

python scripts/update_cards.py
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgetool import catalogue
from edgetool.verbs.planning import recommendation

GPUS_GIB = (8, 12)
BLOCK = re.compile(r"^recommended:.*\n(?:[ ].*\n)*", re.MULTILINE)


def main() -> None:
    for path in sorted(catalogue.folder().glob("*.yaml")):
        card = catalogue.read_card(path)
        if card.shape is not None:
            text = path.read_text(encoding="utf-8")
            path.write_text(BLOCK.sub(block(card), text, count=1), encoding="utf-8")


def block(card: catalogue.Card) -> str:
    """The key `recommended` as YAML, a line for each GPU."""
    lines = ["recommended:"]
    for memory in GPUS_GIB:
        found = recommendation(card.name, memory)
        values = ", ".join(f"{k}: {v}" for k, v in found.model_dump().items()) if found else ""
        lines.append(f"  {memory}: " + (f"{{{values}}}" if found else "null"))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
