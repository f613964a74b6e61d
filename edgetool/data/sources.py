"""Where rows come from: the bundled set by name, canonical JSONL, or a BFCL file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from edgetool.calls.types import Example
from edgetool.data import bfcl, demo, importers
from edgetool.data.check import Problem
from edgetool.data.json_text import decode
from edgetool.data.lines import numbered_lines, text_of
from edgetool.data.rows import EVALUATION_ONLY, load_rows
from edgetool.errors import DataError

DEMO = "demo"
_FIRST = 8  # lines
_OURS = ("edgetool", "openai")  # forms that are read as they are


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
    with explaining(path):
        return load_rows(path)[:count]


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Rows that cannot be read because they are another data set's say so, and what to type."""
    try:
        yield
    except DataError as error:
        hint = foreign_rows(path)
        if hint is None:
            raise
        raise DataError([hint, *error.problems]) from None


def foreign_rows(path: Path) -> str | None:
    """What to do with a file whose first rows are in another data set's form; None for ours."""
    for _, line in islice(numbered_lines(path), _FIRST):
        try:
            name = importers.recognise(decode(text_of(line)))
        except (Problem, ValueError):
            continue
        if name in (None, *_OURS):
            return None
        command = f"edgetool data convert {path} --out rows.jsonl"
        return f"{path}: these look like rows of {name}: type `{command}` and use rows.jsonl"
    return None


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
