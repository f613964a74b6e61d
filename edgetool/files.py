"""Files and folders that appear under their final name only when they are whole.

Everything is built beside its target under a hidden `.part` name, flushed to disk and renamed. A
crash leaves at most that `.part`, which the next attempt overwrites.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from edgetool.errors import EdgetoolError

# Room for what an estimate does not see: metadata, the receipt, the file system's own needs.
HEADROOM = 1.2


def part_path(target: Path) -> Path:
    """The name a file or folder carries while it is being built."""
    return target.with_name(f".{target.name}.part")


@contextmanager
def building_files(targets: Iterable[Path]) -> Iterator[list[Path]]:
    """Yields a path to build each target at; renames them all on success, removes them on error."""
    targets = list(targets)
    parts = [part_path(target) for target in targets]
    try:
        yield parts
        for part in parts:
            flush(part)
        for part, target in zip(parts, targets, strict=True):
            part.replace(target)
        for folder in {target.parent for target in targets}:
            flush(folder)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def publish(part: Path, target: Path) -> None:
    """Give a file that is whole its final name."""
    flush(part)
    part.replace(target)
    flush(target.parent)


def publish_sealed(files: Mapping[Path, Path], seal: tuple[Path, Path]) -> None:
    """Give whole files their final names, and last of all `seal`, which speaks of the others.

    files, seal   part and target
    Several renames are several moments. An earlier seal goes first, so that whenever a crash comes
    a seal speaks of files that are there; without one, each is still whole, old or new.
    """
    part, target = seal
    for whole in [*files, part]:
        flush(whole)
    target.unlink(missing_ok=True)
    flush(target.parent)
    for whole, final in files.items():
        whole.replace(final)
    for folder in {final.parent for final in files.values()}:
        flush(folder)  # names reach the disk in no order but this one
    part.replace(target)
    flush(target.parent)


@contextmanager
def building_folder(target: Path) -> Iterator[Path]:
    """Yields an empty folder beside `target`; on success it takes `target`'s place."""
    part, old = part_path(target), target.with_name(f".{target.name}.old")
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        flush_tree(part)
        if target.exists():
            target.replace(old)
        part.replace(target)
        flush(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """`target` holds `text`, or what it held before. Missing folders are made.

    A lone surrogate, which JSON can spell and a model can write, becomes "?".
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with building_files([target]) as (part,):
        part.write_bytes(text.encode("utf-8", errors="replace"))


def open_text(path: Path) -> TextIO:
    """A new UTF-8 file to write to; a lone surrogate becomes "?"."""
    return path.open("w", encoding="utf-8", errors="replace")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines log, none without the file; what a crash cut off is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [row for line in lines if isinstance(row := _json_or_none(line), dict)]


def _json_or_none(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def flush_tree(folder: Path) -> None:
    """Force every file and folder below to disk."""
    for path in [*folder.rglob("*"), folder]:
        flush(path)


def require_space(folder: Path, estimate: int) -> None:
    """Raises EdgetoolError unless `folder`'s disk has 1.2 times `estimate` bytes free."""
    free, needed = shutil.disk_usage(folder).free, int(estimate * HEADROOM)
    if free < needed:
        raise EdgetoolError(
            f"{folder}: not enough disk: {_megabytes(needed)} needed, {_megabytes(free)} free; "
            "free some space or name another folder with --out"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def flush(path: Path) -> None:
    """Force one file, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
