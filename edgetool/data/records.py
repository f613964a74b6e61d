"""JSON objects out of files, folders and the Hugging Face hub, one at a time.

A .jsonl file gives its lines unread, so that whoever converts them can do so in another process. A
.json file may hold lines too (BFCL), an array, which is read in blocks, or one object.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from edgetool.data.check import Problem
from edgetool.data.json_text import decode
from edgetool.errors import DataError, UsageError

SUFFIXES = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")
_HUB_ID = re.compile(r"[\w.\-]+/[\w.\-]+")
_BETWEEN = re.compile(r"[,\s]*")
_BLOCK = 1 << 20  # characters
# A line no row of ours comes near: a file that is not rows must not fill the memory.
_LONGEST = 1 << 26

Record = tuple[int, Any]  # (line or element from 1, a line's text or the object)


def files_of(source: str) -> list[Path]:
    """The data files that `source`, a file or a folder, stands for, in a fixed order.

    Raises UsageError when there are none.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    found = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name.endswith(SUFFIXES)]
    if not found:
        missing = "holds no rows" if path.is_dir() else "is neither a file nor a folder"
        raise UsageError(f"{source} {missing}; give {', '.join(SUFFIXES)}, or a hub id owner/name")
    return found


def is_hub_id(source: str) -> bool:
    """Whether `source` can only mean a data set on the hub: owner/name, and no such file here."""
    return _HUB_ID.fullmatch(source) is not None and not Path(source).exists()


def read(path: Path) -> Iterator[Record]:
    """The records of one file. Raises DataError for a file that is no JSON at all."""
    if path.name.endswith(".parquet"):
        yield from _parquet(path)
        return
    with _open(path) as file:
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            yield from _lines(file)
        else:
            yield from _json(path, file)


def read_hub(name: str, config: str | None, split: str) -> Iterator[Record]:
    """The rows of a data set, streamed by `datasets`. A folder's path works as an id does."""
    import datasets

    try:
        rows = datasets.load_dataset(name, config, split=split, streaming=True)
    except (ValueError, OSError) as error:
        raise DataError([f"{name}: cannot be read from the hub: {error}"]) from None
    for number, row in enumerate(rows, start=1):
        yield number, without_empty(row)


def parsed(raw: Any) -> Any:
    """A record's value. Raises Problem when its text is not JSON."""
    if not isinstance(raw, str):
        return raw
    try:
        return decode(raw)
    except ValueError as error:
        raise Problem("line", raw.strip(), f"is not JSON ({error})") from None


def without_empty(value: Any) -> Any:
    """Without the nulls that Arrow writes where one row's object lacks another row's key."""
    if isinstance(value, dict):
        return {key: without_empty(inner) for key, inner in value.items() if inner is not None}
    return [without_empty(inner) for inner in value] if isinstance(value, list) else value


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _lines(file: IO[str]) -> Iterator[Record]:
    for number, line in enumerate(iter(lambda: file.readline(_LONGEST), ""), start=1):
        if not line.isspace():
            yield number, line


def _json(path: Path, file: IO[str]) -> Iterator[Record]:
    """An array's elements, or one object, or one object a line."""
    start = file.read(_BLOCK)
    if start.lstrip().startswith("["):
        yield from _elements(path, file, start.lstrip()[1:])
        return
    first, newline, _ = start.partition("\n")
    file.seek(0)
    if newline and _is_json(first):
        yield from _lines(file)
    else:
        yield 1, file.read()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _elements(path: Path, file: IO[str], text: str) -> Iterator[Record]:
    """The elements of an array whose bracket is behind us, read a block at a time."""
    decoder, number, at = json.JSONDecoder(), 1, 0
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # matches nothing, too
        if text.startswith("]", at):
            return
        try:
            value, end = decoder.raw_decode(text, at)
            problem = "cut short"
        except (ValueError, RecursionError) as error:
            end, problem = len(text), str(error)
        if end < len(text):  # what ends with the block might go on in the next
            yield number, value
            number, at = number + 1, end
            continue
        block = file.read(max(_BLOCK, len(text) - at))
        if not block:
            raise DataError([f"{path}: element {number} is not JSON ({problem})"])
        text, at = text[at:] + block, 0


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield number, without_empty(row)
    except pyarrow.ArrowInvalid as error:
        raise DataError([f"{path}: is no parquet file ({error})"]) from None
