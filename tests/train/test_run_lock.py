"""Two runs in one folder, told apart from one that died: real processes, killed and alive."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgetool.errors import EdgetoolError, UsageError
from edgetool.train.run_lock import NAME, RunLock, boot_id

HOLD = """
import sys
from pathlib import Path
from edgetool.train.run_lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains in `folder`."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def claim(folder: Path, **changes: object) -> None:
    """A lock that a process of some machine has left."""
    folder.mkdir(exist_ok=True)
    value = {"pid": 4242, "host": os.uname().nodename, "boot": boot_id(), "command": "edgetool x"}
    (folder / NAME).write_text(json.dumps(value | changes))


def test_a_folder_in_use_is_refused_with_the_pid_and_what_to_type(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(UsageError) as refused, RunLock(tmp_path):
            pass
        for part in (f"process {process.pid} (", f"kill {process.pid}", "--set output_dir=FOLDER"):
            assert part in str(refused.value)
        assert (tmp_path / NAME).is_file()


def test_a_killed_run_s_lock_holds_nobody_up_and_is_said(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    notes: list[str] = []
    with RunLock(tmp_path, notes.append):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    [note] = notes
    assert str(process.pid) in note


def test_a_lock_is_gone_after_the_run_and_so_is_a_folder_that_stayed_empty(tmp_path: Path) -> None:
    with RunLock(tmp_path / "runs" / "my"):
        pass
    assert list(tmp_path.iterdir()) == []
    with RunLock(tmp_path / "runs" / "my"):
        (tmp_path / "runs" / "my" / "made").touch()
    assert [path.name for path in (tmp_path / "runs" / "my").iterdir()] == ["made"]


def test_one_that_is_refused_removes_nobody_s_lock(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        with pytest.raises(UsageError), RunLock(tmp_path):
            pass
        assert (tmp_path / NAME).is_file()


def test_a_lock_from_before_a_reboot_is_taken_over(tmp_path: Path) -> None:
    claim(tmp_path, boot="an earlier one", pid=os.getpid())
    with RunLock(tmp_path):
        pass


def test_a_lock_of_another_container_on_this_kernel_is_taken_over(tmp_path: Path) -> None:
    claim(tmp_path, host="a-container")
    with RunLock(tmp_path):
        pass


def test_a_lock_of_another_machine_is_refused_with_the_file_to_remove(tmp_path: Path) -> None:
    claim(tmp_path, host="gpu-7", boot="its own")
    with pytest.raises(UsageError, match=r"process 4242 on gpu-7 .*type `rm .*run\.lock`"):
        RunLock(tmp_path).__enter__()
    (tmp_path / NAME).unlink()
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lock_that_was_cut_off_holds_nobody_up(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with RunLock(tmp_path):
        pass


def test_where_the_file_system_has_no_locks_the_pid_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    claim(tmp_path, pid=os.getpid())
    with pytest.raises(UsageError, match=f"process {os.getpid()} "):
        RunLock(tmp_path).__enter__()
    claim(tmp_path, pid=2**22 + 1)  # beyond the largest pid of Linux
    with RunLock(tmp_path):
        pass


def test_the_ranks_of_one_job_share_the_first_one_s_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunLock(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with pytest.raises(UsageError):  # the variable is left from something else: one process
            RunLock(tmp_path).__enter__()
        monkeypatch.setenv("WORLD_SIZE", "2")
        with RunLock(tmp_path):
            pass
        assert (tmp_path / NAME).is_file()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EdgetoolError, match=r"file/my: could not be written: a file stands"):
        RunLock(tmp_path / "file" / "my").__enter__()


def test_a_lock_that_is_removed_while_another_waits_is_not_mistaken_for_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a's open and its lock, the file it opened loses its name."""
    real, opened = fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not opened:
            opened.append(handle)
            (tmp_path / NAME).unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with RunLock(tmp_path):
        monkeypatch.setattr(fcntl, "flock", real)
        with pytest.raises(UsageError), RunLock(tmp_path):
            pass
