"""Rows of any known data set -> canonical JSONL, with a reason for every row that stays behind.

    read = written + rejected, exactly

A row is one turn to learn from; a record that cannot be taken apart counts as one. Records go to
the converting processes in chunks and come back in their order, so the same input gives the same
bytes with any number of processes, and no more than a few chunks are in memory.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from edgetool.calls.formats.base import dumps
from edgetool.calls.types import Example
from edgetool.data import importers, records
from edgetool.data.check import Problem, mapping
from edgetool.data.draft import Draft, finish
from edgetool.data.rows import EVALUATION_ONLY, line_of
from edgetool.errors import DataError, UsageError
from edgetool.files import building_files

# Records are handed out this many at a time: enough to make a message to a process worth its cost.
_CHUNK = 512
# Below this many bytes of input, starting processes costs more than it saves.
_WORTH_PROCESSES = 1 << 23
_SHOWN = 2000


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
    """

    written: int
    rejected: int
    rows: bytes
    reasons: bytes


@dataclass
class Summary:
    """How a conversion went. `skipped` holds (file, reason) of files that were not read."""

    written: int = 0
    rejected: int = 0
    by_importer: dict[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    first_reasons: list[str] = field(default_factory=list)

    @property
    def read(self) -> int:
        return self.written + self.rejected


@dataclass(frozen=True)
class Options:
    """importer: its name, or None to recognise each file. jobs: processes, 1 for none besides."""

    importer: str | None = None
    config: str | None = None  # of a hub data set
    split: str = "train"
    coerce: bool = False
    jobs: int = 1
    limit: int | None = None  # records


def convert(source: str, out: Path, rejected: Path, options: Options) -> Summary:
    """Convert a file, a folder or a hub id. Both files appear whole or not at all.

    Raises UsageError for a source that is not there or not recognised, DataError for a file that
    is no JSON. `rejected` is not left behind when it would be empty.
    """
    summary = Summary()
    chunks = _chunks(source, options, summary)
    out.parent.mkdir(parents=True, exist_ok=True)
    rejected.parent.mkdir(parents=True, exist_ok=True)
    jobs = options.jobs if _size(source) >= _WORTH_PROCESSES else 1
    with building_files([out, rejected]) as parts:
        with parts[0].open("wb") as rows, parts[1].open("wb") as reasons:
            for chunk, outcome in converted(chunks, jobs):
                rows.write(outcome.rows)
                reasons.write(outcome.reasons)
                _count(summary, chunk, outcome)
        if not summary.written:
            raise DataError(_why_nothing(source, summary))
    if not summary.rejected:
        rejected.unlink()
    return summary


def converted(chunks: Iterable[Chunk], jobs: int) -> Iterator[tuple[Chunk, Outcome]]:
    """Each chunk, without its records, and its outcome, in order, by `jobs` processes."""
    if jobs <= 1:
        yield from ((_emptied(chunk), convert_chunk(chunk)) for chunk in chunks)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting: deque[tuple[Chunk, Future[Outcome]]] = deque()
        for chunk in chunks:
            waiting.append((_emptied(chunk), pool.submit(convert_chunk, chunk)))
            if len(waiting) > 2 * jobs:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def convert_chunk(chunk: Chunk) -> Outcome:
    """Every row of the chunk's records, written or rejected."""
    importer = importers.named(chunk.importer)
    companions = _companions(chunk.importer, chunk.path)
    rows: list[str] = []
    reasons: list[str] = []
    for number, raw in chunk.records:
        _convert_record(chunk, importer, companions, number, raw, rows, reasons)
    return Outcome(len(rows), len(reasons), _bytes(rows), _bytes(reasons))


def _bytes(lines: list[str]) -> bytes:
    return "".join(lines).encode("utf-8", errors="replace")


def _convert_record(
    chunk: Chunk,
    importer: importers.Importer,
    companions: Any,
    number: int,
    raw: Any,
    rows: list[str],
    reasons: list[str],
) -> None:
    where, turn = f"{chunk.path}:{number}", 0
    try:
        drafts = importer.drafts(mapping("record", records.parsed(raw)), companions)
        for turn, draft in enumerate(drafts, start=1):
            try:
                example = _example(draft, chunk)
            except Problem as problem:
                reasons.append(_reason(where, turn, problem, raw, draft))
            else:
                id_ = f"{chunk.prefix}-{number}" + (f"-{turn}" if turn > 1 else "")
                rows.append(line_of(_named(example, importer, id_)))
    except Problem as problem:
        reasons.append(_reason(where, turn + 1, problem, raw))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        # The record does not have the shape its data set's records have.
        shape = Problem("record", None, f"is not shaped like {importer.NAME}'s: {error!r}")
        reasons.append(_reason(where, turn + 1, shape, raw))


def _example(draft: Draft | Example, chunk: Chunk) -> Example:
    return finish(draft, coerce=chunk.coerce) if isinstance(draft, Draft) else draft


def _named(example: Example, importer: importers.Importer, id_: str) -> Example:
    """With an id that no other row of this conversion has, and where the row is from.

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
    shown = row if isinstance(row, str) else dumps(row)
    if len(shown) > _SHOWN:
        row = shown[:_SHOWN] + "…"
    return dumps({"where": where, "turn": turn, "reason": str(problem), "row": row}) + "\n"


@lru_cache(maxsize=4)
def _companions(importer: str, path: str) -> Any:
    return importers.named(importer).companions(Path(path))


def _chunks(source: str, options: Options, summary: Summary) -> Iterator[Chunk]:
    """The source's records in chunks; files that cannot be read so are noted in the summary."""
    left = options.limit
    for path, found in _streams(source, options):
        found = islice(found, left)
        try:
            head = list(islice(found, 1))
            name = options.importer or _recognised(head)
            if name is None:
                raise UsageError(
                    f"{path}: no known data set looks like this; name one with --from "
                    f"({', '.join(importers.known())})"
                )
            importers.named(name).companions(Path(path))
        except UsageError as error:
            if len(_all_files(source)) == 1:
                raise
            summary.skipped.append((path, str(error)))
            continue
        found = chain(head, found)
        while some := list(islice(found, _CHUNK)):
            yield Chunk(name, path, _prefix(source, path), some, options.coerce)
            left = None if left is None else left - len(some)


def _streams(source: str, options: Options) -> Iterator[tuple[str, Iterator[records.Record]]]:
    if records.is_hub_id(source):
        yield source, records.read_hub(source, options.config, options.split)
        return
    chosen = options.importer
    asked = [importers.named(chosen)] if chosen else list(importers.known().values())
    for path in _all_files(source):
        if path == Path(source) or not any(one.is_companion(path) for one in asked):
            yield str(path), records.read(path)


def _all_files(source: str) -> list[Path]:
    return [Path(source)] if records.is_hub_id(source) else records.files_of(source)


def _recognised(head: list[records.Record]) -> str | None:
    if not head:
        return None
    try:
        return importers.recognise(records.parsed(head[0][1]))
    except Problem:
        return None


def _prefix(source: str, path: str) -> str:
    """The file's name inside the source, without its suffix: ids with it are unique."""
    if records.is_hub_id(source):
        return source
    inside = Path(path).relative_to(source) if Path(source).is_dir() else Path(Path(path).name)
    name = inside.as_posix()
    longest_first = sorted(records.SUFFIXES, key=len, reverse=True)
    suffix = next((end for end in longest_first if name.endswith(end)), "")
    return name.removesuffix(suffix)


def _size(source: str) -> int:
    if records.is_hub_id(source):
        return _WORTH_PROCESSES
    return sum(path.stat().st_size for path in records.files_of(source))


def _emptied(chunk: Chunk) -> Chunk:
    return replace(chunk, records=[])


def _count(summary: Summary, chunk: Chunk, outcome: Outcome) -> None:
    summary.written += outcome.written
    summary.rejected += outcome.rejected
    counted = summary.by_importer.get(chunk.importer, 0)
    summary.by_importer[chunk.importer] = counted + outcome.written
    if len(summary.first_reasons) < 3:
        summary.first_reasons += outcome.reasons.decode("utf-8").splitlines()[:3]


def _why_nothing(source: str, summary: Summary) -> list[str]:
    skipped = [reason for _, reason in summary.skipped]
    nothing = (
        f"{source}: none of its {summary.rejected} rows could be converted; nothing is written"
    )
    return [nothing, *summary.first_reasons[:3], *skipped]
