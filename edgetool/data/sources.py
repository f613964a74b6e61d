"""Where rows come from: the bundled set by name, canonical JSONL, or a BFCL file."""

from __future__ import annotations

from pathlib import Path

from edgetool.calls.types import Example
from edgetool.data import bfcl, demo
from edgetool.data.rows import EVALUATION_ONLY, load_rows
from edgetool.errors import DataError

DEMO = "demo"


def load(source: str, split: str, count: int | None = None) -> list[Example]:
    """Rows of `source`, at most `count` of them.

    source   `demo` (the bundled rows of `split`), a path to JSONL, or a BFCL_v4_<category>.json
             that has its folder possible_answer/ beside it
    """
    if source == DEMO:
        return demo.examples(split, count)
    path = Path(source)
    if path.name.startswith(bfcl.PREFIX) and path.suffix == ".json":
        return bfcl.load(path.parent, path.stem.removeprefix(bfcl.PREFIX))[:count]
    return load_rows(path)[:count]


def load_for_training(source: str, count: int | None = None) -> list[Example]:
    """Rows to train on. Raises DataError when some of them are for evaluation only."""
    rows = load(source, "train", count)
    held = [row for row in rows if row.metadata.get(EVALUATION_ONLY)]
    if held:
        origin = held[0].metadata.get("source", "a benchmark")
        raise DataError(
            [
                f"{source}: {len(held)} of {len(rows)} rows are for evaluation only (the first is "
                f"'{held[0].id}', from {origin}); a model trained on them could no longer be "
                "measured by them: name other rows in data.train"
            ]
        )
    return rows
