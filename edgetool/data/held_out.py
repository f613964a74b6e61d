"""Which rows a model is measured on, when only those to train on were named.

A sibling from `edgetool data split` is taken; else a share is split off by utterance, by the same
rule. Rows that are trained on measure what was learned by heart, so they are the last resort, and
the sentence that goes with them says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgetool.data.lines import numbered_lines
from edgetool.data.rows import require_rows, stream_rows
from edgetool.data.sources import DEMO, explaining
from edgetool.data.split import normalised, split
from edgetool.files import writing

# What people and hubs call the part to measure on, the one `data split` writes first.
PARTS = ("validation", "valid", "val", "dev", "eval", "test")
TRAIN = "train"
# Below this many utterances a part of them says nothing, and training needs them all.
FEWEST = 20
# Rows that are worth holding back, and between which shares.
_WANTED = 200
_SHARES = (0.1, 0.3)


@dataclass(frozen=True)
class RowSources:
    """Sources of rows to train on and to measure on, and a sentence that says where from."""

    train: str
    validation: str
    sentence: str


def hold_out(train: str) -> RowSources:
    """The rows to measure on that belong to `train`; writes files where it must split them.

    Raises UsageError when there is no such file, DataError for rows that cannot be used.
    """
    if train == DEMO:
        return RowSources(DEMO, DEMO, "rows: the demo's, with its own validation rows")
    path = Path(train)
    require_rows(path)
    with explaining(path):
        utterances, rows = _utterances(path)
    for sibling in _siblings(path):
        if any(numbered_lines(sibling)):  # a share of few rows may have got none
            theirs, count = _utterances(sibling)
            shared = len(utterances & theirs)
            leak = f"; {shared} of its utterances are trained on as well" if shared else ""
            sentence = f"validation rows: {sibling} ({count} rows, beside {train}{leak})"
            return RowSources(train, str(sibling), sentence)
    if len(utterances) < FEWEST:
        return RowSources(train, train, _too_few(train, f"{len(utterances)} utterances"))
    share = min(max(_WANTED / rows, _SHARES[0]), _SHARES[1])
    return _split(path, share)


def _split(path: Path, share: float) -> RowSources:
    folder = path.with_name(f"{path.name.removesuffix('.jsonl')}-split")
    validation = PARTS[0]
    with writing(folder, f"`edgetool data split {path} --out`"):
        summary = split(path, folder, {TRAIN: 1 - share, validation: share})
    train, held = (folder / f"{part}.jsonl" for part in (TRAIN, validation))
    counts = summary.rows
    if not counts[TRAIN] or not counts[validation]:
        return RowSources(str(path), str(path), _too_few(str(path), "rows that say the same"))
    sentence = (
        f"validation rows: {counts[validation]} of {counts.total()} rows of {path} are held out by "
        f"utterance, in {held}; {counts[TRAIN]} are trained on, in {train}"
    )
    return RowSources(str(train), str(held), sentence)


def _too_few(train: str, what: str) -> str:
    return (
        f"validation rows: {train} has too few ({what}) to hold some out, so figures will be of "
        "rows that are trained on; name others in data.validation"
    )


def _utterances(path: Path) -> tuple[set[int], int]:
    """Hashes of what the rows ask, and how many rows there are."""
    found: set[int] = set()
    count = 0
    for row in stream_rows(path):
        found.add(hash(normalised(row.utterance)))
        count += 1
    return found, count


def _siblings(path: Path) -> Iterator[Path]:
    """Files beside it whose names say that they are the other part of the same rows."""
    stem = path.name.removesuffix(".jsonl")
    for part in PARTS:
        names = [stem.replace(TRAIN, part)] if TRAIN in stem else _beside(stem, part)
        for name in names:
            sibling = path.with_name(f"{name}.jsonl")
            if sibling.is_file() and sibling != path:
                yield sibling


def _beside(stem: str, part: str) -> list[str]:
    return [f"{stem}{joint}{part}" for joint in ("-", "_", ".")]
