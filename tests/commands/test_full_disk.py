"""A disk that fills up under a run, and places that cannot be written: real ones."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetool.train import checkpoint
from edgetool.train.metrics import MetricsFile
from tests.commands.processes import config, started

__all__ = ["config"]  # a fixture


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; tests that need it skip where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            return filler


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "sft"])
def test_a_disk_that_fills_up_is_one_line_and_the_run_goes_on_when_there_is_room(
    config: Path, small_disk: Path, verb: str
) -> None:
    run = small_disk / "my"
    options = ["--config", config, "--set", f"output_dir={run}", "--set", "sft.save_steps=3"]
    with started(verb, *options) as process:
        process.until("step 4/")
        filler = fill(small_disk)
        said = process.until("edgetool: ")
        assert process.popen.wait(timeout=60) == 1
    assert "Traceback" not in "".join(process.lines)
    assert "could not be written: the disk is full" in said and "--resume goes on after it" in said
    kept = checkpoint.newest(run / "checkpoints")
    assert kept is not None and str(kept) in said and checkpoint.damage(kept) is None
    assert not list(run.rglob(".*"))  # nothing half-written
    filler.unlink()
    with started(verb, *options, "--resume") as process:
        process.until(f"going on after step {int(kept.name[5:11])} ")
        process.until("step ")


@pytest.mark.slow
def test_what_a_killed_save_left_is_swept_and_said_at_the_next_start(
    config: Path, tmp_path: Path
) -> None:
    slow = """
import time
from edgetool.train import checkpoint
checkpoint.flush_tree = lambda folder: (print("writing", flush=True), time.sleep(60))
from edgetool.cli import main
main()
"""
    with started("train", "--config", config, python=("-c", slow)) as process:
        process.until("writing")
        process.interrupt(signal.SIGKILL)
        process.popen.wait()
    checkpoints = tmp_path / "my" / "checkpoints"
    assert list(checkpoints.glob(".staging-*"))
    with started("train", "--config", config, "--resume") as process:
        process.until("removed what was left unfinished (1 in checkpoints)")
        process.until("step 1/")
    assert not list(checkpoints.glob(".staging-*"))


@pytest.mark.slow
def test_a_read_only_place_is_one_line_before_anything_is_loaded(
    config: Path, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with started("train", "--config", config, "--set", f"output_dir={small_disk}/my") as process:
        said = process.until("edgetool: ")
        assert process.popen.wait(timeout=60) == 1
    assert "could not be written: it is read-only" in said and "--set output_dir=" in said
    assert not any("loading" in line for line in process.lines)


def test_a_line_of_metrics_is_there_whole_or_not_at_all(small_disk: Path) -> None:
    metrics = MetricsFile(small_disk / "metrics.jsonl")
    metrics.append({"step": 1})
    filler = fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        for step in range(2, 1000):
            metrics.append({"step": step, **{f"rewards/{i}": 0.125 for i in range(100)}})
    text = metrics.path.read_text()
    assert text.endswith("}\n") and text.startswith('{"step": 1}\n')
    filler.unlink()
    metrics.append({"step": 7})
    assert metrics.path.read_text() == text + '{"step": 7}\n'
