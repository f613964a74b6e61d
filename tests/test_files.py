from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from edgetool.errors import EdgetoolError, UsageError
from edgetool.files import (
    building_files,
    building_folder,
    part_path,
    publish_sealed,
    read_log,
    require_writable,
    sweep,
    write_error,
    write_text,
    writing,
)


def test_a_log_that_is_not_there_has_no_rows(tmp_path):
    assert read_log(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("torn", ['{"step": 3, "rew', '{"step"', "[1", "3"])
def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path, torn):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n' + torn)
    assert read_log(log) == [{"step": 1}, {"step": 2}]


class Cut(BaseException):
    """Stands for a crash: nothing catches it."""


def sealed(folder: Path) -> bool:
    """Is there a seal? It must be true of the files beside it."""
    seal = folder / "seal"
    if not seal.exists():
        return False
    said = json.loads(seal.read_text())
    assert said == {name: (folder / name).read_text() for name in said}
    return True


@pytest.mark.parametrize("earlier", [[], ["a"], ["a", "b"]])
@pytest.mark.parametrize("moment", range(5))
def test_a_seal_is_true_of_the_files_beside_it_after_any_crash(
    tmp_path, monkeypatch, earlier, moment
):
    """Cut before the first, second, ... of four changes of names, and after all of them."""
    for name in earlier:
        (tmp_path / name).write_text("old")
    if earlier:
        (tmp_path / "seal").write_text(json.dumps(dict.fromkeys(earlier, "old")))
    for name in ("a", "b"):
        (tmp_path / f"{name}.part").write_text("new")
    (tmp_path / "seal.part").write_text(json.dumps({"a": "new", "b": "new"}))
    left = [moment]

    def counted(change):
        def cut(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Cut
            return change(*args, **options)

        return cut

    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    parts = {tmp_path / f"{name}.part": tmp_path / name for name in ("a", "b")}
    try:
        publish_sealed(parts, (tmp_path / "seal.part", tmp_path / "seal"))
    except Cut:
        # four changes: the old seal goes, a, b, the new seal comes
        assert sealed(tmp_path) == (moment == 0 and bool(earlier))
        assert all((tmp_path / name).read_text() in ("old", "new") for name in earlier)
    else:
        assert moment == 4 and sealed(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "seal"]


# Builds two targets of argv[1] for ever, after saying so.
BUILDER = """
import sys, time
from pathlib import Path
from edgetool.files import building_files, building_folder
here = Path(sys.argv[1])
with building_files([here / "a.gguf"]) as (part,), building_folder(here / "merged") as folder:
    part.write_text("half")
    (folder / "x").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def builder(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    yield child
    child.kill()
    child.wait()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


HALF = [".a.gguf.part", ".merged.part"]


def test_what_a_killed_process_left_is_swept(builder, tmp_path):
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert names(tmp_path) == HALF
    assert sweep(tmp_path, "*.gguf", "merged") == ["a.gguf", "merged"]
    assert names(tmp_path) == []


def test_what_a_living_process_builds_stays(builder, tmp_path):
    assert sweep(tmp_path, "*") == []
    assert names(tmp_path) == HALF


def test_two_processes_do_not_build_one_file(builder, tmp_path):
    for build in (
        lambda: building_files([tmp_path / "a.gguf"]),
        lambda: building_folder(tmp_path / "merged"),
    ):
        with pytest.raises(EdgetoolError, match="another process is building it"), build():
            pass
    assert names(tmp_path) == HALF
    assert (tmp_path / ".a.gguf.part").read_text() == "half"


def test_a_lock_that_ends_at_once_is_waited_for(tmp_path):
    """Whoever sweeps holds one for a moment."""
    import fcntl
    import threading

    part = part_path(tmp_path / "a")
    with part.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.03, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        write_text(tmp_path / "a", "ours")
    assert (tmp_path / "a").read_text() == "ours"


def test_only_files_of_the_names_that_are_given_are_swept(tmp_path):
    for name in (".theirs.iso.part", "a.gguf.part", ".a.gguf", ".b.gguf.part"):
        (tmp_path / name).write_text("x")
    assert sweep(tmp_path, "*.gguf") == ["b.gguf"]
    assert names(tmp_path) == [".a.gguf", ".theirs.iso.part", "a.gguf.part"]


def test_nothing_is_swept_where_there_is_no_folder(tmp_path):
    assert sweep(tmp_path / "none", "*") == []


def test_a_folder_that_was_to_be_replaced_comes_back_after_a_kill(tmp_path):
    """Killed between the two renames: the old one has another name, the new one has none yet."""
    for name in (".merged.old", ".merged.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    sweep(tmp_path, "merged")
    assert names(tmp_path) == ["merged"]
    assert (tmp_path / "merged" / "x").read_text() == ".merged.old"


def test_a_folder_is_recovered_before_it_is_built_again(tmp_path):
    (tmp_path / ".merged.old").mkdir()
    with suppress(KeyError), building_folder(tmp_path / "merged"):
        raise KeyError
    assert names(tmp_path) == ["merged"]


def test_leftovers_are_not_part_of_what_is_built(tmp_path):
    part_path(tmp_path / "merged").mkdir()
    (part_path(tmp_path / "merged") / "stale").touch()
    part_path(tmp_path / "a").write_text("longer than what comes")
    with building_folder(tmp_path / "merged") as folder, building_files([tmp_path / "a"]) as (a,):
        with a.open("r+") as file:
            file.write("new")
        (folder / "x").touch()
    assert names(tmp_path / "merged") == ["x"]
    assert (tmp_path / "a").read_text() == "new"


def test_a_link_in_the_place_of_a_part_is_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    part_path(tmp_path / "a").symlink_to(tmp_path / "theirs")
    write_text(tmp_path / "a", "ours")
    assert ((tmp_path / "a").read_text(), (tmp_path / "theirs").read_text()) == ("ours", "theirs")


@pytest.mark.parametrize(
    ("number", "said", "code"),
    [
        (errno.ENOSPC, "the disk is full; free some space or name another place with --out", 1),
        (errno.EDQUOT, "quota", 1),
        (errno.EROFS, "read-only", 1),
        (errno.EACCES, "permission denied; change its permissions", 1),
        (errno.EIO, "the disk reports an error", 1),
        (errno.ENOTDIR, "a file stands where a folder is needed", 2),
        (errno.EISDIR, "a folder stands where a file is needed", 2),
        (errno.ENAMETOOLONG, "too long", 2),
    ],
)
def test_an_error_of_the_disk_is_one_line(number, said, code):
    with pytest.raises(EdgetoolError) as caught, writing(Path("place")):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith("place: could not be written: ")
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.exit_code == code


def test_the_errors_own_path_counts_more(tmp_path):
    """What was not asked to be written was perhaps only read, and no option names another."""
    with pytest.raises(EdgetoolError) as caught, writing(tmp_path):
        raise OSError(errno.EACCES, "", "/elsewhere/x")
    assert str(caught.value).startswith("/elsewhere/x: could not be opened: permission denied")
    assert "--out" not in str(caught.value)


def test_a_path_without_a_name_yet_is_told_by_its_folder(tmp_path):
    with pytest.raises(EdgetoolError, match=r"/below: could not be written"), writing(tmp_path):
        raise OSError(errno.EACCES, "", str(tmp_path / "below" / ".x.gguf.part"))


# A write beyond the limit fails as one on a full disk does, whoever writes.
LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from edgetool.errors import EdgetoolError
from edgetool.files import write_text, writing
here, values = Path(sys.argv[1]), np.zeros(9999)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for write in (
    lambda: write_text(here / "a", "x" * 999),
    lambda: values.tofile(here / "b"),
    lambda: save_file({"x": values}, here / "c"),
):
    try:
        with writing(here):
            write()
    except EdgetoolError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_a_full_disk_is_told_whoever_writes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    told = done.stdout.splitlines()
    assert len(told) == 3
    assert all(line.startswith(f"{tmp_path}: could not be written: the ") for line in told)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "", "x"),
        ValueError("x"),
        EdgetoolError("x"),
        BrokenPipeError(errno.EPIPE, ""),
    ],
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, writing(Path("place")):
        raise error
    assert caught.value is error


def test_a_place_is_tried_out_and_left_as_it_was(tmp_path):
    require_writable(tmp_path / "new" / "folder")
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_place_of_a_folder_is_a_wrong_option(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: could not .* folder is needed.*--set output_dir"):
        require_writable(tmp_path / place, "--set output_dir=")


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_a_place_where_nothing_can_be_made_is_refused():
    with pytest.raises(EdgetoolError, match="permission denied"):
        require_writable(Path("/proc/edgetool"))


def test_where_nobody_knows_what_was_written_the_error_itself_says_it():
    full = write_error(OSError(errno.ENOSPC, "", "/x/y"))
    assert (
        str(full)
        == "/x/y: could not be written: the disk is full; free some space or use another place"
    )
    assert "could not be opened: permission denied" in str(
        write_error(OSError(errno.EACCES, "", "/x"))
    )
    assert write_error(OSError(errno.ENOENT, "", "/x")) is None
