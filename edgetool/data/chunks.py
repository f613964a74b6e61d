"""A chunk of records -> canonical lines and reasons. Runs in a process of its own, or in ours."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgetool.calls.json_text import dumps
from edgetool.calls.types import Example
from edgetool.data import importers, records
from edgetool.data.check import Problem, mapping
from edgetool.data.draft import Draft, finish
from edgetool.data.rows import EVALUATION_ONLY, line_of

_SHOWN = 2000
# JSON can spell half of a character that takes two; no text can hold it.
_HALF = re.compile("[\ud800-\udfff]")
_HALVES = 'halves of characters, each of which is now "?"'


@dataclass(frozen=True)
class Chunk:
    """Some records of one file, and what is needed to convert them elsewhere."""

    importer: str
    path: str  # of the file, or the hub id
    prefix: str  # of the ids of its rows
    records: list[records.Record]
    coerce: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a chunk: canonical lines, lines for rejected.jsonl, and how many of each.

    Bytes, because one process hands them to another that only writes them down.
    ids        of the rows, in their order
    left_out   rows by what an importer left out of them
    """

    rows: bytes
    ids: tuple[str, ...]
    reasons: bytes
    rejected: int
    left_out: Counter[str]

    @property
    def written(self) -> int:
        return len(self.ids)


@dataclass
class _Lines:
    """What a chunk's rows have become so far."""

    rows: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def convert_chunk(chunk: Chunk) -> Outcome:
    """Every row of the chunk's records, written or rejected."""
    importer = importers.named(chunk.importer)
    companions = _companions(chunk.importer, chunk.path)
    lines = _Lines()
    for number, raw in chunk.records:
        _convert_record(chunk, importer, companions, number, raw, lines)
    rows = _bytes(lines.rows)
    if halved := sum(map(_holds_half, lines.rows)) if b"?" in rows else 0:
        lines.left_out[_HALVES] += halved
    return Outcome(
        rows,
        tuple(lines.ids),
        _bytes(lines.reasons),
        len(lines.reasons),
        lines.left_out,
    )


def _holds_half(line: str) -> bool:
    return not line.isascii() and _HALF.search(line) is not None


def _bytes(lines: list[str]) -> bytes:
    return "".join(lines).encode("utf-8", errors="replace")


def _convert_record(
    chunk: Chunk,
    importer: importers.Importer,
    companions: Any,
    number: int,
    raw: Any,
    lines: _Lines,
) -> None:
    where, turn = f"{chunk.path}:{number}", 0
    try:
        drafts = importer.drafts(mapping("record", records.parsed(raw)), companions)
        for turn, draft in enumerate(drafts, start=1):
            id_ = f"{chunk.prefix}-{number}" + (f"-{turn}" if turn > 1 else "")
            try:
                example = _named(_example(draft, chunk), importer, id_)
                line = _line(example, raw)
            except Problem as problem:
                lines.reasons.append(_reason(where, turn, problem, raw, draft))
            else:
                lines.rows.append(line)
                lines.ids.append(example.id)
                lines.left_out.update(draft.left_out if isinstance(draft, Draft) else ())
    except Problem as problem:
        lines.reasons.append(_reason(where, turn + 1, problem, raw))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        # The record does not have the shape its data set's records have.
        shape = Problem("record", None, f"is not shaped like {importer.NAME}'s: {error!r}")
        lines.reasons.append(_reason(where, turn + 1, shape, raw))


def _example(draft: Draft | Example, chunk: Chunk) -> Example:
    return finish(draft, coerce=chunk.coerce) if isinstance(draft, Draft) else draft


def _line(example: Example, raw: Any) -> str:
    """The canonical line. Raises Problem for a row of a document that has a byte not in UTF-8."""
    line = line_of(example)
    byte = records.bad_byte(line) if isinstance(raw, str) else None
    if byte is not None:
        remedy = f"holds the byte 0x{byte:02x}, which is not UTF-8; save the file as UTF-8"
        raise Problem("row", example.utterance, remedy)
    return line


def _named(example: Example, importer: importers.Importer, id_: str) -> Example:
    """With an id of its place in the file, and where the row is from.

    A row that has its id, as edgetool's own have, stays as it is.
    """
    if example.id:
        return example
    metadata = {key: value for key, value in example.metadata.items() if value is not None}
    metadata = {"source": importer.NAME, **metadata}
    if importer.EVALUATION_ONLY:
        metadata[EVALUATION_ONLY] = True
    # Not replace(), which reads every field's name anew: this runs for each of a million rows.
    return Example(
        id_,
        example.messages,
        example.tools,
        example.calls,
        example.completion,
        example.rules,
        metadata,
    )


def _reason(
    where: str, turn: int, problem: Problem, raw: Any, draft: Draft | Example | None = None
) -> str:
    row = draft.as_json() if isinstance(draft, Draft) else raw
    row = row.decode(errors="replace").strip() if isinstance(row, bytes) else row
    shown = row if isinstance(row, str) else dumps(row)
    if len(shown) > _SHOWN:
        row = shown[:_SHOWN] + "…"
    return dumps({"where": where, "turn": turn, "reason": str(problem), "row": row}) + "\n"


@lru_cache(maxsize=4)
def _companions(importer: str, path: str) -> Any:
    return importers.named(importer).companions(Path(path))
