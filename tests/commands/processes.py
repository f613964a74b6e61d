"""edgetool as a process of its own that trains nano, whose lines a test waits for."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

EDGETOOL = ("-m", "edgetool")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    grpo = {"num_generations": 2, "prompts_per_step": 1, "max_steps": 1000, "save_steps": 3}
    values = {
        "model": "nano",
        "output_dir": str(tmp_path / "my"),
        "data": {"train": "demo", "train_rows": 20},
        "grpo": {**grpo, "max_completion_length": 16},
        "sft": {"max_steps": 1000, "per_device_train_batch_size": 1},
    }
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


class Run:
    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen, self.lines = popen, []

    def until(self, *parts: str) -> str:
        """The next line that holds one of the parts."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line)
            if any(part in line for part in parts):
                return line.strip()
        raise AssertionError(f"{parts} never came:\n{''.join(self.lines)}")

    def interrupt(self, number: int = signal.SIGINT) -> None:
        self.popen.send_signal(number)


@contextmanager
def started(*command: object, python: tuple[str, ...] = EDGETOOL) -> Iterator[Run]:
    words = [sys.executable, "-u", *python, *map(str, command)]
    out = subprocess.PIPE
    with subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, text=True) as popen:
        too_long = threading.Timer(120, popen.kill)
        too_long.start()
        try:
            yield Run(popen)
        finally:
            too_long.cancel()
            popen.kill()
