"""Rows of any known data set -> canonical JSONL, with a reason for every row that stays behind.

    read = written + rejected, exactly

What was written is what `edgetool data validate` takes: no two rows have one id. What an importer
leaves out of a row (a thought, a second list of tools) is counted by its name.

A row is one turn to learn from; a record that cannot be taken apart counts as one. Records go to
the converting processes in chunks and come back in their order, so the same input gives the same
bytes with any number of processes, and no more than a few chunks are in memory.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice
from pathlib import Path

from edgetool.calls.json_text import dumps
from edgetool.data import importers, records
from edgetool.data.check import Problem
from edgetool.data.chunks import Chunk, Outcome, convert_chunk
from edgetool.errors import DataError, UsageError
from edgetool.files import building_files

# Records are handed out this many at a time: enough to make a message to a process worth its cost.
_CHUNK = 512
# Below this many bytes of input, starting processes costs more than it saves.
_WORTH_PROCESSES = 1 << 23
# Records looked at to find out whose they are: the first ones may be broken, or a header.
_HEAD = 64
_TOLD = 3  # reasons that are printed where no row could be converted


@dataclass
class Summary:
    """How a conversion went. `skipped` holds (file, reason) of files that were not read.

    renamed    rows that have another id, because an earlier row has theirs
    left_out   rows by what was left out of them
    """

    written: int = 0
    rejected: int = 0
    renamed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
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
    chunks = _chunks(source, options, summary, (out, rejected))
    out.parent.mkdir(parents=True, exist_ok=True)
    rejected.parent.mkdir(parents=True, exist_ok=True)
    jobs = options.jobs if _size(source) >= _WORTH_PROCESSES else 1
    seen: set[int] = set()
    with building_files([out, rejected]) as parts:
        with parts[0].open("wb") as rows, parts[1].open("wb") as reasons:
            for chunk, outcome in converted(chunks, jobs):
                rows.write(_with_own_ids(outcome, seen, summary))
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


def _with_own_ids(outcome: Outcome, seen: set[int], summary: Summary) -> bytes:
    """The chunk's lines; a row whose id an earlier row has gets another one.

    seen   hashes of the ids so far: a million ids as text would take a hundred megabytes
    """
    lines: list[bytes] | None = None
    for place, id_ in enumerate(outcome.ids):
        if hash(id_) in seen:
            lines = outcome.rows.splitlines(keepends=True) if lines is None else lines
            other = next(new for n in count(2) if hash(new := f"{id_}-{n}") not in seen)
            rest = lines[place].removeprefix(_id_text(id_))
            lines[place] = _id_text(other) + rest
            summary.renamed += 1
            id_ = other
        seen.add(hash(id_))
    return outcome.rows if lines is None else b"".join(lines)


def _id_text(id_: str) -> bytes:
    """How a canonical line begins."""
    return f'{{"id": {dumps(id_)}'.encode("utf-8", errors="replace")


def _chunks(
    source: str, options: Options, summary: Summary, written: tuple[Path, ...]
) -> Iterator[Chunk]:
    """The source's records in chunks; files that cannot be read so are noted in the summary.

    written   what this conversion writes: what an earlier one wrote there is no source
    """
    left = options.limit
    ours = {path.resolve() for path in written}
    for path, found in _streams(source, options):
        if path != source and Path(path).resolve() in ours:
            continue
        found = islice(found, left)
        try:
            head = list(islice(found, _HEAD))
            name = options.importer or _recognised(path, head)
            _require_companions(name, path)
        except (UsageError, DataError) as error:
            if len(_all_files(source)) == 1:
                raise
            summary.skipped.append((path, str(error)))
            continue
        found = chain(head, found)
        while some := list(islice(found, _CHUNK)):
            yield Chunk(name, path, _prefix(source, path), some, options.coerce)
            left = None if left is None else left - len(some)


def _require_companions(importer: str, path: str) -> None:
    """Raises UsageError when what the rows of a file refer to is missing or cannot be read."""
    try:
        importers.named(importer).companions(Path(path))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UsageError(
            f"{path}: files beside it that {importer}'s rows refer to cannot be read ({error!r})"
        ) from None


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


def _recognised(path: str, head: list[records.Record]) -> str:
    """The data set that the first record is of that looks like any.

    Raises DataError for a file that is empty or holds no JSON, UsageError for one nobody knows.
    """
    if not head:
        raise DataError([f"{path}: is empty; give a file with one JSON object a line"])
    problems = []
    keys: list[str] = []
    for number, raw in head:
        try:
            record = records.parsed(raw)
        except Problem as problem:
            problems.append(f"{path}:{number}: {problem}")
            continue
        if name := importers.recognise(record):
            return name
        keys = keys or (list(record) if isinstance(record, dict) else [])
    if len(problems) == len(head):
        raise DataError(problems[:3])
    has = f"has the fields {', '.join(map(str, keys[:12]))}" if keys else "is no JSON object"
    if {"messages", "conversations", "prompt"} & set(keys):
        remedy = 'add the tools that were on offer: "tools": [...]'
        raise UsageError(f"{path}: its records hold no tools: the first one {has}; {remedy}")
    raise UsageError(
        f"{path}: no known data set looks like this: its first record {has}; name its data set "
        f"with --from ({', '.join(importers.known())}), or write messages, tools and calls"
    )


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
    summary.left_out += outcome.left_out
    counted = summary.by_importer.get(chunk.importer, 0)
    summary.by_importer[chunk.importer] = counted + outcome.written
    room = _TOLD - len(summary.first_reasons)
    for line in outcome.reasons.splitlines()[:room]:
        rejected = json.loads(line)
        summary.first_reasons.append(f"{rejected['where']}: {rejected['reason']}")


def _why_nothing(source: str, summary: Summary) -> list[str]:
    skipped = [reason for _, reason in summary.skipped]
    nothing = (
        f"{source}: none of its {summary.rejected} rows could be converted; nothing is written"
    )
    return [nothing, *summary.first_reasons, *skipped]
