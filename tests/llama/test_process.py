"""A child that ends before it has said anything: what its user is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgetool.errors import ModelError
from edgetool.llama import heartbeat
from edgetool.llama.process import Child


def told(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> str:
    (folder / "dying.py").write_text(f"import os, signal, sys\nsys.stdin.readline()\n{does}\n")
    monkeypatch.setenv("PYTHONPATH", os.fspath(folder))
    child = Child("dying", {"path": "my.gguf"})
    with pytest.raises(ModelError) as raised:
        child.hello()
    child.stop()
    return str(raised.value)


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV", "SIGFPE"])
def test_a_crash_while_loading_points_at_the_file(tmp_path, monkeypatch, name):
    words = told(tmp_path, monkeypatch, f"os.kill(os.getpid(), signal.{name})")
    assert words.startswith("my.gguf: the engine's process ended with -")
    assert "damaged: compare its sha256 with the original's, or export or copy it again" in words


def test_a_kill_while_loading_points_at_memory_first(tmp_path, monkeypatch):
    words = told(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGKILL)")
    assert words.index("memory runs out") < words.index("--context") < words.index("sha256")


def test_a_child_that_ends_by_itself_says_why_and_nothing_is_guessed(tmp_path, monkeypatch):
    words = told(tmp_path, monkeypatch, "sys.exit('no such library')")
    assert words == "my.gguf: the engine's process ended with 1: no such library"


def start(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> Child:
    """A child with a pulse, whose load does this."""
    program = "import os, signal, time\nfrom edgetool.llama import worker\n\n\n"
    program += f"def work(settings, say, pulse):\n    {does}\n\n\nworker.listen(work)\n"
    (folder / "loading.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", os.fspath(folder))
    monkeypatch.setattr(heartbeat, "PATIENCE", 3)
    monkeypatch.setattr(heartbeat, "STARTING_PATIENCE", 4)
    return Child("loading", {"path": "my.gguf"})


def test_a_child_that_is_stopped_while_it_loads_is_ended_in_seconds(tmp_path, monkeypatch):
    child = start(tmp_path, monkeypatch, "time.sleep(1.5); os.kill(os.getpid(), signal.SIGSTOP)")
    with pytest.raises(ModelError) as raised:
        child.hello()
    child.stop()
    assert str(raised.value) == (
        "my.gguf: the engine's process hung (it said nothing for 3 s) and was ended"
    )


def test_a_load_that_neither_reads_nor_computes_is_ended(tmp_path, monkeypatch):
    child = start(tmp_path, monkeypatch, "time.sleep(600)")
    with pytest.raises(ModelError, match=r"hung \(it was 4 s at one step of loading\)"):
        child.hello()
    child.stop()


def test_a_load_that_computes_may_take_longer_than_a_hung_one(tmp_path, monkeypatch):
    busy = (
        "end = time.monotonic() + 7\n    while time.monotonic() < end: pass\n    say({'ready': 1})"
    )
    child = start(tmp_path, monkeypatch, busy)
    assert child.hello() == {"ready": 1}
    child.stop()


@pytest.mark.slow
def test_a_child_that_nobody_listened_to_for_long_is_no_hung_one(tmp_path, monkeypatch):
    waits = (
        "import sys\n    pulse.marks = lambda: {'writing': 7}\n"
        "    say({'patience': {'writing': 4}})\n    sys.stdin.readline(); time.sleep(2.5)\n"
        "    say({'job': 1})"
    )
    child = start(tmp_path, monkeypatch, waits)
    child.hello()
    time.sleep(7)  # other rows, other processes, the judge
    child.say({"job": 1})
    assert child.hear() == {"job": 1}
    child.stop()
