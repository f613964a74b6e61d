"""Files and folders that appear under their final name only when they are whole.

Everything is built beside its target under a hidden `.part` name, flushed to disk and renamed. The
process that builds holds a lock on the `.part`. What a killed process left has no lock any more:
the next attempt overwrites it, and `sweep` removes it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TextIO

from edgetool.errors import EdgetoolError, ModelError, UsageError

# Room for what an estimate does not see: metadata, the receipt, the file system's own needs.
HEADROOM = 1.2
CLAIMS, CLAIM_PAUSE = 5, 0.02  # tries to get a lock, and seconds between them


def part_path(target: Path) -> Path:
    """The name a file or folder carries while it is being built."""
    return target.with_name(f".{target.name}.part")


@contextmanager
def building_files(targets: Iterable[Path]) -> Iterator[list[Path]]:
    """Yields a path to build each target at; renames them all on success, removes them on error.

    Raises EdgetoolError when another process builds one of them.
    """
    targets = list(targets)
    parts = [part_path(target) for target in targets]
    with claiming(*parts):
        yield parts
        for part in parts:
            flush(part)
        for part, target in zip(parts, targets, strict=True):
            part.replace(target)
        for folder in {target.parent for target in targets}:
            flush(folder)


@contextmanager
def claiming(*parts: Path, folders: bool = False) -> Iterator[None]:
    """Empty files to build at, held against other processes; those not renamed are removed.

    folders   empty folders to build in, instead
    Raises EdgetoolError when another process builds one of them.
    """
    with ExitStack() as claims:
        for part in parts:
            claims.callback(os.close, _claim(part, folders))  # which ends the lock
            claims.callback(_remove, part)
        yield


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
    """Yields an empty folder beside `target`; on success it takes `target`'s place.

    Raises EdgetoolError when another process builds it.
    """
    part, old = part_path(target), _old_path(target)
    part.parent.mkdir(parents=True, exist_ok=True)
    with claiming(part, folders=True):
        _recover(target)
        yield part
        flush_tree(part)
        if target.exists():
            target.replace(old)
        part.replace(target)
        flush(target.parent)
        _remove(old)


def _old_path(target: Path) -> Path:
    """The name of what a folder replaces, for the moment between two renames."""
    return target.with_name(f".{target.name}.old")


def _recover(target: Path) -> None:
    """Undo what a kill between the two renames of `building_folder` left."""
    old = _old_path(target)
    if old.exists() and not target.exists():
        old.replace(target)
    _remove(old)


def _claim(part: Path, folder: bool) -> int:
    """An empty file or folder with a lock of ours; closing the handle ends it."""
    for _ in range(CLAIMS):
        handle = _open_part(part, folder)
        locked = try_lock(handle)
        # Between opening and locking it may have been swept; who sweeps holds a lock for a moment.
        if locked is not False and is_at(handle, part):
            for leftover in part.iterdir() if folder else ():
                _remove(leftover)
            if not folder:
                os.ftruncate(handle, 0)
            return handle
        os.close(handle)
        time.sleep(CLAIM_PAUSE)
    raise EdgetoolError(
        f"{part}: another process is building it; wait until it is done, or write to another folder"
    )


def _open_part(part: Path, folder: bool) -> int:
    if part.is_symlink():
        part.unlink()  # writing would follow it
    if folder:
        part.mkdir(exist_ok=True)
    return os.open(part, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o666)


def try_lock(handle: int) -> bool | None:
    """Lock an open file or folder. False: another process has it; None: it cannot be locked."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    """Remove a file or folder; what cannot be removed must not hide why it was tried."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sweep(folder: Path, *names: str) -> list[str]:
    """Remove what killed processes left of files and folders that were to get these names.

    names   glob patterns of final names, such as "*.gguf"
    Returns the final names, sorted. What a living process builds stays, and so does everything on
    a file system that has no locks to tell the two apart.
    """
    if not folder.is_dir():
        return []
    swept = set()
    for part in folder.glob(".*.part"):
        target = part.name.removeprefix(".").removesuffix(".part")
        if any(fnmatch(target, name) for name in names) and _sweep(part):
            swept.add(target)
    for old in folder.glob(".*.old"):
        target = old.name.removeprefix(".").removesuffix(".old")
        named = any(fnmatch(target, name) for name in names)
        if named and not part_path(folder / target).exists():
            _recover(folder / target)
            swept.add(target)
    return sorted(swept)


def _sweep(part: Path) -> bool:
    """Remove a leftover unless somebody holds it."""
    try:
        handle = os.open(part, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        if try_lock(handle):
            _remove(part)
        return not part.exists()
    finally:
        os.close(handle)


# Why a place cannot be written, by the number of the error.
_FULL = "the disk is full"
_DENIED = "permission denied"
_NO_FOLDER = "a file stands where a folder is needed"
REASONS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than allowed here",
    errno.EROFS: "it is read-only",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EISDIR: "a folder stands where a file is needed",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the disk reports an error",
}
_WHILE_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # never while reading
# Numbers that say that the option itself is wrong.
_MISNAMED = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")  # safetensors and tokenizers write with Rust
_SHORT_WRITE = re.compile(r"^\d+ requested and \d+ written$")  # numpy says nothing more


@contextmanager
def writing(place: Path, option: str | None = "--out") -> Iterator[None]:
    """A place that cannot be written is one line that says where, why and what to type.

    place    named where the error itself names no path
    option   what the user names another place with, such as "--set output_dir="
    Raises EdgetoolError, and UsageError where the named place can never be written. Other errors
    pass.
    """
    try:
        yield
    except Exception as error:
        found = write_error(error, place, option)
        if found is None:
            raise
        raise found from error


def write_error(
    error: Exception, place: Path | None = None, option: str | None = None
) -> EdgetoolError | None:
    """The error to show for one of the disk's; None for any other. See `writing`.

    place   None: it is not known what was being written, or whether anything was
    """
    number = _number(error)
    if number is None:
        return None
    named = getattr(error, "filename", None)
    where = _named(Path(named or place or "."))
    ours = place is not None and (not named or where.absolute().is_relative_to(place.absolute()))
    ours = ours or (place is not None and place.absolute().is_relative_to(where.absolute()))
    reason = REASONS[number]
    elsewhere = f"name another place with {option}" if ours and option else "use another place"
    remedy = f"free some space or {elsewhere}" if reason == _FULL else elsewhere
    if reason == _DENIED:
        remedy = f"change its permissions (chmod) or {elsewhere}"
    kind = UsageError if ours and option and number in _MISNAMED else EdgetoolError
    done = "written" if ours or number in _WHILE_WRITING else "opened"
    return kind(f"{where}: could not be {done}: {reason}; {remedy}")


def _number(error: Exception) -> int | None:
    """The number of a disk's error, also where it is told in words; None for other errors."""
    if isinstance(error, EdgetoolError):
        return None
    number = error.errno if isinstance(error, OSError) else None
    if rust := _RUST_ERROR.search(str(error)):
        number = int(rust[1])
    elif _SHORT_WRITE.search(str(error)):
        number = errno.ENOSPC
    return number if number in REASONS else None


def _named(path: Path) -> Path:
    """A place as the user knows it: the folder of a file that has no name yet."""
    return path.parent if path.name.startswith(".") and path.suffix == ".part" else path


def require_writable(folder: Path, option: str | None = "--out") -> None:
    """Try out, before any work, whether files can be made in `folder`; nothing is left there.

    Raises what `writing` raises.
    """
    with writing(folder, option):
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "", str(there))
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:  # it names the file; /proc and its like say that there is none
            number = errno.EPERM if error.errno == errno.ENOENT else error.errno
            raise OSError(number, "", str(there)) from error


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


def read_json_object(file: Path) -> dict[str, Any]:
    """The JSON object that one of a model's files holds. Raises ModelError for anything else."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file}: must hold a JSON object, holds a {type(value).__name__}")
    return value


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


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
