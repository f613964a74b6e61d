"""Where rows come from: the bundled set by name, canonical JSONL, or a BFCL file."""

from __future__ import annotations

from pathlib import Path

from edgetool.calls.types import Example
from edgetool.data import bfcl, demo
from edgetool.data.rows import load_rows

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
