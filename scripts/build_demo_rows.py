#!/usr/bin/env python3
"""Make edgetool/data/demo/utterances.jsonl.gz from the Snips NLU benchmark (CC0-1.0).

    scripts/build_demo_rows.py FOLDER      # train_<Intent>_full.json and validate_<Intent>.json

Every utterance becomes {"split", "tool", "pieces"}; a piece is [text] or [text, argument].
Left out, and counted: utterances that name a slot twice, lack a required argument, hold undecodable
bytes, or repeat an earlier utterance in any case. Validation is Snips' own and comes first, so
nothing in it can also be in train or pretrain. `pretrain` is what nano was made from; the demo
never trains on it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parent.parent / "edgetool" / "data" / "demo"
TRAIN_PER_TOOL = 500
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    catalogue = json.loads((DEMO / "tools.json").read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    validation = read_split(folder, catalogue, "validate_{}.json", seen, counts)
    train = read_split(folder, catalogue, "train_{}_full.json", seen, counts)
    rows = [{"split": "validation", **row} for row in validation] + label_train(train)
    counts.update(row["split"] for row in rows)
    write(rows)
    print(dict(counts))


def read_split(
    folder: Path,
    catalogue: list[dict[str, Any]],
    pattern: str,
    seen: set[str],
    counts: Counter[str],
) -> list[dict[str, Any]]:
    rows = []
    for entry in catalogue:
        intent = entry["snips_intent"]
        raw = (folder / pattern.format(intent)).read_bytes().decode("utf-8", errors="replace")
        for source in json.loads(raw)[intent]:
            row = convert(source["data"], entry)
            key = text_of(row).casefold() if isinstance(row, dict) else ""
            if isinstance(row, str):
                counts[row] += 1
            elif key in seen:
                counts["repeated utterance"] += 1
            else:
                seen.add(key)
                rows.append(row)
    return rows


def convert(data: list[dict[str, str]], entry: dict[str, Any]) -> dict[str, Any] | str:
    """One Snips utterance -> a row, or the reason why it is left out."""
    if any("\ufffd" in piece["text"] for piece in data):
        return "undecodable bytes"
    pieces = tidy([[piece["text"], entry["slots"].get(piece.get("entity"))] for piece in data])
    named = [name for _, name in pieces if name]
    if len(set(named)) < len(named):
        return "slot named twice"
    if not set(entry["tool"]["parameters"]["required"]) <= set(named):
        return "required argument missing"
    return {"tool": entry["tool"]["name"], "pieces": [[t, n] if n else [t] for t, n in pieces]}


def text_of(row: dict[str, Any]) -> str:
    return "".join(piece[0] for piece in row["pieces"])


def tidy(pieces: list[list[Any]]) -> list[list[Any]]:
    """Single spaces, none at the ends, and none at the ends of a value."""
    marked = [(char, name) for text, name in pieces for char in text]
    kept: list[list[Any]] = []
    for i, (char, name) in enumerate(marked):
        if char.isspace():
            before = kept[-1][0] if kept else " "
            rest = [c for c, n in marked[i:] if not c.isspace()]
            if before.endswith(" ") or not rest:
                continue
            inside = name is not None and kept[-1][1] == name and _goes_on(marked, i, name)
            char, name = " ", name if inside else None
        if kept and kept[-1][1] == name:
            kept[-1][0] += char
        else:
            kept.append([char, name])
    return kept


def _goes_on(marked: list[tuple[str, Any]], start: int, name: str) -> bool:
    """Whether the value still has a letter after the white space at `start`."""
    following = next(((c, n) for c, n in marked[start:] if not c.isspace()), None)
    return following is not None and following[1] == name


def label_train(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first TRAIN_PER_TOOL of each tool after a seeded shuffle are train, the rest pretrain."""
    random.Random(SEED).shuffle(rows)
    taken: Counter[str] = Counter()
    labelled = []
    for row in rows:
        split = "train" if taken[row["tool"]] < TRAIN_PER_TOOL else "pretrain"
        taken[row["tool"]] += 1
        labelled.append({"split": split, **row})
    return labelled


def write(rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # mtime=0: the same rows give the same bytes, whenever they are packed
    (DEMO / "utterances.jsonl.gz").write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


if __name__ == "__main__":
    main()
