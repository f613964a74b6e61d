"""Ctrl-C and a second run beside a first one, as a user meets them: real processes on nano."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgetool.train import checkpoint
from edgetool.train.stop import APART
from tests.commands.processes import EDGETOOL, config, started

__all__ = ["config"]  # a fixture

pytestmark = pytest.mark.slow

# The same, with a disk that takes seconds to write a checkpoint.
SLOW_DISK = """
import time
from edgetool.train import checkpoint
real = checkpoint.flush_tree
def slow(folder):
    print("writing", flush=True)
    time.sleep(5)
    real(folder)
checkpoint.flush_tree = slow
from edgetool.cli import main
main()
"""

# The same, with a model that takes seconds to write a token.
SLOW_MODEL = """
import time
from edgetool.train import rollout
real = rollout._Batch._forward
def slow(self, position):
    until = time.monotonic() + 4
    while time.monotonic() < until:
        time.sleep(0.05)
    real(self, position)
rollout._Batch._forward = slow
from edgetool.cli import main
main()
"""


def refused(*command: object) -> str:
    words = [sys.executable, *EDGETOOL, *map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("verb", ["train", "sft"])
def test_a_run_beside_a_live_one_is_refused_and_the_live_one_is_unharmed(
    config: Path, tmp_path: Path, verb: str
) -> None:
    with started(verb, "--config", config) as run:
        run.until("step 4/")
        for second in (["train"], ["sft"], [verb, "--resume"]):
            said = refused(*second, "--config", config)
            assert f"in use by process {run.popen.pid} (" in said
            assert f"kill {run.popen.pid}" in said and "--set output_dir=" in said
        run.interrupt(signal.SIGTERM)
        line = run.until("stopping: ", "then the run ends")  # the latter within a save
        assert "step " in line
        again = run.until("go on with: ").partition("go on with: edgetool ")[2]
        assert run.popen.wait(timeout=60) == 130
    assert not (tmp_path / "my" / "run.lock").exists()
    with started(*again.split()) as run:
        run.until("going on after step ")


def test_insisting_ends_at_once_and_says_what_was_lost_and_what_is_left(
    config: Path, tmp_path: Path
) -> None:
    with started("train", "--config", config, python=("-c", SLOW_MODEL)) as run:
        run.until("step 1: writing 2 completions, token ")
        run.interrupt()
        assert "finished and saved: step 1: writing 2 completions" in run.until("stopping: ")
        time.sleep(APART)
        run.interrupt()
        assert "lose what is done of step 1" in run.until("Ending at once would")
        time.sleep(APART)
        run.interrupt()
        run.until("ended at once, before anything was saved")
        assert run.popen.wait(timeout=60) == 130
    assert "Traceback" not in "".join(run.lines)
    assert not (tmp_path / "my" / "run.lock").exists()


def test_a_checkpoint_is_whole_however_often_one_insists(config: Path, tmp_path: Path) -> None:
    with started("train", "--config", config, python=("-c", SLOW_DISK)) as run:
        run.until("writing")
        for _ in range(3):
            run.interrupt()
            run.until("saving the checkpoint of step 3, which is not interrupted")
            time.sleep(APART)
        run.until("go on with: ")
        assert run.popen.wait(timeout=60) == 130
    [kept] = checkpoint.complete(tmp_path / "my" / "checkpoints")
    assert kept.name == "step-000003" and checkpoint.damage(kept) is None
