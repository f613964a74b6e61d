"""Lines of a file of rows: bytes -> text. A byte that is not UTF-8 is named, never replaced.

A byte order mark, which Windows tools write and joined files hold in the middle, is no part of a
line.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from edgetool.data.check import Problem
from edgetool.errors import DataError

# A line no row of ours comes near: a file that is not rows must not fill the memory.
LONGEST = 1 << 26
# The longer mark first: UTF-32's begins with UTF-16's.
_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


# How JSON begins in UTF-16 without a mark.
_UNMARKED = {
    **dict.fromkeys((b"{\0", b"[\0"), "UTF-16LE"),
    **dict.fromkeys((b"\0{", b"\0["), "UTF-16BE"),
}
_GZIP = b"\x1f\x8b"


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line) of every line that is not blank. `.gz` files are unpacked.

    Raises DataError for a file in UTF-16 or UTF-32, and for one that cannot be read or unpacked.
    """
    with reading(path), open_bytes(path) as file:
        require_utf8_mark(path, file)
        for number, line in enumerate(iter(lambda: file.readline(LONGEST), b""), start=1):
            if line.removeprefix(codecs.BOM_UTF8).strip():
                yield number, line


def row_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """`numbered_lines` of a file of rows.

    Raises DataError for a file that holds rows in another form, with the command that converts it.
    """
    lines = numbered_lines(path)
    first = list(islice(lines, 2))
    if first and (what := _other_form(*(line for _, line in first))):
        name = f"{path.name.partition('.')[0]}-rows.jsonl"
        command = f"edgetool data convert {path} --out {name}"
        raise DataError([f"{path}: is {what}; rows are one object a line: type `{command}`"])
    yield from chain(first, lines)


def _other_form(first: bytes, second: bytes = b"") -> str | None:
    """What a file is whose first lines show that it holds no row a line."""
    head = first.removeprefix(codecs.BOM_UTF8).strip()
    if head.startswith(b"PAR1"):
        return "a parquet file"
    if head == b"[" or head.startswith(b"[{"):
        return "a JSON array"
    if head == b"{" and second.lstrip().startswith(b'"'):
        return "one JSON document on many lines"
    return None


def begins_document(path: Path) -> bool:
    """Whether a file begins as a JSON array or as one object on many lines."""
    with reading(path), open_bytes(path) as file:
        head = file.read(1 << 12)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return text.startswith(b"[") or (text.partition(b"\n")[0].strip() == b"{")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors of the disk and of a packed file become a DataError that names the file."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        remedy = "download or pack it again"
        raise DataError([f"{path}: cannot be unpacked ({error}); {remedy}"]) from None
    except OSError as error:
        why = error.strerror or error
        raise DataError([f"{path}: cannot be read ({why}); check its permissions"]) from None


def open_bytes(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def require_utf8_mark(path: Path, file: BinaryIO) -> None:
    """Raises DataError for a file whose first bytes say that it is in another encoding."""
    head = file.read(4)
    file.seek(0)
    name = next((name for mark, name in _OTHER_MARKS.items() if head.startswith(mark)), None)
    name = name or _UNMARKED.get(head[:2])
    if head.startswith(_GZIP):
        remedy = f"type `mv {path} {path}.gz` and give that file"
        raise DataError([f"{path}: is packed with gzip, which its name does not say; {remedy}"])
    if name is not None:
        raise DataError(
            [
                f"{path}: is written in {name}; rows are read as UTF-8: save it again as UTF-8, or "
                f"type `iconv -f {name} -t UTF-8 {path} > utf8-{path.name}`"
            ]
        )


def text_of(line: bytes) -> str:
    """The text of a line, without a byte order mark. Raises Problem naming the first bad byte."""
    try:
        return line.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        shown = line.decode(errors="replace").strip()
        marked = len(codecs.BOM_UTF8) * line.startswith(codecs.BOM_UTF8)
        raise Problem(
            "line", shown, not_utf8(error.start + marked, error.object[error.start])
        ) from None


def not_utf8(position: int, byte: int) -> str:
    """What is wrong with a byte. position: from 0, shown from 1."""
    return f"is not UTF-8: byte {position + 1} is 0x{byte:02x}; save the file as UTF-8"


def read_document(path: Path) -> str:
    """The text of a file that is one document. Raises DataError for one that is not UTF-8."""
    with reading(path), open_bytes(path) as file:
        require_utf8_mark(path, file)
        raw = file.read()
    try:
        return raw.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n") - 1
        raise DataError([f"{path}:{line}: {not_utf8(column, error.object[error.start])}"]) from None
