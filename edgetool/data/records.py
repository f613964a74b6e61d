"""JSON objects out of files, folders and the Hugging Face hub, one at a time.

A .jsonl file gives its lines unread, as bytes, so that whoever converts them can do so in another
process. A .json file may hold lines too (BFCL), an array, which is read in blocks, or one object.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from edgetool.data.check import Problem
from edgetool.data.json_text import decode
from edgetool.data.lines import (
    begins_document,
    numbered_lines,
    open_bytes,
    reading,
    require_utf8_mark,
    text_of,
)
from edgetool.errors import DataError, UsageError

SUFFIXES = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")
_HUB_ID = re.compile(r"[\w.\-]+/[\w.\-]+")
_BETWEEN = re.compile(r"[,\s]*")
_BLOCK = 1 << 20  # characters
_FIRST_LINES = 8

# (line or element from 1; a line as bytes, a document as text, or the value)
Record = tuple[int, Any]
_BAD_BYTE = re.compile("[\udc80-\udcff]")


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
    """Whether `source` can only mean a data set on the hub: owner/name, and no such file here.

    A name that ends as a file of rows does, or that begins with a folder, is a mistyped path.
    """
    path = Path(source)
    typed_as_path = source.endswith(SUFFIXES) or path.parent.is_dir()
    return _HUB_ID.fullmatch(source) is not None and not path.exists() and not typed_as_path


def read(path: Path) -> Iterator[Record]:
    """The records of one file. Raises DataError for a file that is no JSON at all."""
    if path.name.endswith(".parquet"):
        yield from _parquet(path)
        return
    if path.name.endswith((".jsonl", ".jsonl.gz")) and not begins_document(path):
        yield from numbered_lines(path)
        return
    with reading(path):
        yield from _json(path)


def read_hub(name: str, config: str | None, split: str) -> Iterator[Record]:
    """The rows of a data set, streamed by `datasets`. A folder's path works as an id does."""
    import datasets

    try:
        rows = datasets.load_dataset(name, config, split=split, streaming=True)
    except datasets.exceptions.DatasetNotFoundError:
        raise UsageError(
            f"{name}: the hub has no such data set, or shows it only to some; check the spelling, "
            "and log in with `hf auth login` where it is private or gated"
        ) from None
    except ConnectionError as error:
        offline = "OfflineMode" in str(error)
        why = "HF_HUB_OFFLINE is set" if offline else str(error).partition("\n")[0]
        remedy = "unset it" if offline else "check the network"
        raise DataError(
            [
                f"{name}: the hub cannot be reached ({why}); {remedy}, or download the files and "
                "give their folder"
            ]
        ) from None
    except (ValueError, OSError) as error:
        raise DataError([f"{name}: cannot be read from the hub: {error}"]) from None
    for number, row in enumerate(rows, start=1):
        yield number, without_empty(row)


def parsed(raw: Any) -> Any:
    """A record's value. Raises Problem when its text is not UTF-8 or not JSON."""
    text = text_of(raw) if isinstance(raw, bytes) else raw
    if not isinstance(text, str):
        return text
    try:
        return decode(text)
    except ValueError as error:
        raise Problem("line", text.strip(), f"is not JSON ({error})") from None


def bad_byte(text: str) -> int | None:
    """The first byte of a document that is not UTF-8, as it was."""
    found = _BAD_BYTE.search(text)
    return None if found is None else ord(found[0]) - 0xDC00


def without_empty(value: Any) -> Any:
    """Without the nulls that Arrow writes where one row's object lacks another row's key."""
    if isinstance(value, dict):
        return {key: without_empty(inner) for key, inner in value.items() if inner is not None}
    return [without_empty(inner) for inner in value] if isinstance(value, list) else value


def _json(path: Path) -> Iterator[Record]:
    """An array's elements, or one object, or one object a line."""
    with open_bytes(path) as raw:
        require_utf8_mark(path, raw)
        # A byte that is not UTF-8 stays visible, as a surrogate, for the row that holds it.
        file = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape")
        start = file.read(_BLOCK)
        if not _is_lines(start):
            if start.lstrip().startswith("["):
                yield from _elements(path, file, start.lstrip()[1:])
            elif start.strip():
                yield 1, start + file.read()
            return
    yield from numbered_lines(path)


def _is_lines(start: str) -> bool:
    """Whether a text holds a JSON value a line, though some of its first lines may be broken."""
    lines = start.strip().split("\n", _FIRST_LINES + 1)
    if len(lines) > 1 and _is_json(lines[0]):
        return True
    return (
        not start.lstrip().startswith("[")
        and any(line.startswith("{") and _is_json(line) for line in lines[:_FIRST_LINES])
        and len(lines) > 1
    )


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
            bad = bad_byte(text[at:end])
            # As bytes it is refused like a line; the other elements go on.
            yield number, text[at:end].encode(errors="surrogateescape") if bad else value
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
        with reading(path), pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield number, without_empty(row)
    except pyarrow.ArrowInvalid as error:
        raise DataError([f"{path}: is no parquet file ({error})"]) from None
