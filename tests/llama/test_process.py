"""A child that ends before it has said anything: what its user is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgetool.errors import ModelError
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
