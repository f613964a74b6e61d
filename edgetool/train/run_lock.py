"""One run at a time in an output folder: `run.lock` in it, locked by the kernel while a run lives.

    {"pid": 4242, "host": "gpu-1", "boot": "the kernel's boot id", "command": "edgetool train"}

The kernel drops its lock when the process ends, however it ends, so nothing has to guess whether
the pid is still the same process. What the file says matters where the kernel's lock does not
reach: on a folder that two machines share. Under torchrun the first rank holds it for all.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgetool.errors import UsageError
from edgetool.files import is_at, try_lock, writing

NAME = "run.lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ELSEWHERE = "or choose another output folder with --set output_dir=FOLDER"


@dataclass(frozen=True)
class Holder:
    """Who trains in a folder.

    boot   the kernel's id since it started: the same in every container on it, another after a
           reboot; empty where the system has none
    """

    pid: int
    host: str
    boot: str
    command: str

    @classmethod
    def this_process(cls) -> Holder:
        words = [Path(sys.argv[0]).name.replace("__main__.py", "edgetool"), *sys.argv[1:]]
        return cls(os.getpid(), socket.gethostname(), boot_id(), " ".join(words))

    @classmethod
    def read(cls, path: Path) -> Holder | None:
        """None for a file that says nothing: its writer was killed while it wrote."""
        try:
            value: Any = json.loads(path.read_text(encoding="utf-8"))
            return cls(int(value["pid"]), str(value["host"]), value["boot"], str(value["command"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def elsewhere(self) -> bool:
        """On another machine. One host name with another boot id was started anew since."""
        return self.boot != boot_id() and self.host != socket.gethostname()

    def lives_here(self) -> bool:
        return self.boot == boot_id() and Path(f"/proc/{self.pid}").exists()


def boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def is_first_rank() -> bool:
    """Whether this process speaks and writes for all that a launcher has started."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return not several or os.environ.get("RANK", "0") == "0"


class RunLock:
    """A context in which this process alone trains in `folder`, which is made where it is missing.

    on_note   is told when a run that died left its lock

    Raises UsageError naming who trains there, and what `writing` raises where it is not allowed. A
    folder that this made and nobody has filled is removed in the end.
    """

    def __init__(self, folder: Path, on_note: Callable[[str], None] = lambda _: None) -> None:
        self.folder, self.path, self.on_note = folder, folder / NAME, on_note
        self._handle: int | None = None
        self._made: list[Path] = []

    def __enter__(self) -> RunLock:
        if not is_first_rank():
            return self
        try:
            with writing(self.folder, "--set output_dir=FOLDER"):
                self._made = _make(self.folder)
                self._take()
        except BaseException:
            self._remove_made()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is None:
            return
        self.path.unlink(missing_ok=True)  # while it is locked: nobody else's can be meant
        os.close(self._handle)
        self._handle = None
        self._remove_made()

    def _take(self) -> None:
        while self._handle is None:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                locked = try_lock(handle)
                if locked is False:
                    raise UsageError(self._taken())
                if is_at(handle, self.path):  # otherwise its owner has just removed it
                    self._take_over(bool(locked))
                    _write(handle, json.dumps(asdict(Holder.this_process())) + "\n")
                    self._handle = handle
            finally:
                if self._handle is None:
                    os.close(handle)

    def _take_over(self, locked: bool) -> None:
        """What the file says is of a run that died, or of one that this kernel cannot see.

        locked   the file system has locks, and this is ours
        """
        earlier = Holder.read(self.path)
        if earlier is None:
            return
        if not locked and earlier.lives_here():
            raise UsageError(self._taken())
        if earlier.elsewhere():
            raise UsageError(
                f"{self.folder} is in use by process {earlier.pid} on {earlier.host} "
                f"({earlier.command}); if nothing trains there any more, type `rm {self.path}`, "
                f"{_ELSEWHERE}"
            )
        self.on_note(f"{self.folder}: the run of process {earlier.pid} ended without a word")

    def _taken(self) -> str:
        holder = Holder.read(self.path)
        if holder is None:
            return f"{self.folder} is in use by another run; wait for it, {_ELSEWHERE}"
        where = "" if holder.host == socket.gethostname() else f" on {holder.host}"
        return (
            f"{self.folder} is in use by process {holder.pid}{where} ({holder.command}); wait for "
            f"it, stop it with `kill {holder.pid}` (it saves first), {_ELSEWHERE}"
        )

    def _remove_made(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # something is in it
                return


def _make(folder: Path) -> list[Path]:
    """Make a folder; returns it and the parents that were missing, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, text.encode(), 0)
