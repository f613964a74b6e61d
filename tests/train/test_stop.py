"""Real signals to a real process: what it says, what it finishes and what ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgetool.train.stop import APART

WORK = """
import os, sys, time
from edgetool.train.stop import StopRequest

say = lambda line: os.write(1, f"{line}\\n".encode())  # a signal may come before print returns
save_seconds = float(sys.argv[1])
try:
    with StopRequest(say, lambda: "the rollout of step 3", lambda: "steps 1 to 2") as stop:
        if save_seconds:
            with stop.saving("step 2"):
                say("saving")
                until = time.monotonic() + save_seconds
                while time.monotonic() < until:
                    time.sleep(0.01)
                say("saved")
        say("working")
        until = time.monotonic() + 30
        while time.monotonic() < until and not (stop.wanted and save_seconds):
            time.sleep(0.01)
except KeyboardInterrupt:
    say("ended at once")
"""


class Process:
    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen

    def line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def send(self, number: int = signal.SIGINT) -> None:
        self.popen.send_signal(number)


@contextmanager
def working(save_seconds: float = 0) -> Iterator[Process]:
    command = [sys.executable, "-c", WORK, str(save_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen:
        try:
            yield Process(popen)
        finally:
            popen.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_says_at_once_what_it_waits_for(number: int) -> None:
    with working() as process:
        assert process.line() == "working"
        process.send(number)
        assert process.line().endswith("finished and saved: the rollout of step 3")
        assert process.popen.poll() is None


def test_the_second_says_what_would_be_lost_and_only_the_third_ends() -> None:
    with working() as process:
        process.line()
        process.send()
        process.line()
        time.sleep(APART)
        process.send()
        assert "Ending at once would lose steps 1 to 2; press Ctrl-C again" in process.line()
        assert process.popen.poll() is None
        time.sleep(APART)
        process.send()
        assert process.line() == "ended at once"


def test_one_ctrl_c_that_comes_by_two_roads_is_one() -> None:
    with working() as process:
        process.line()
        process.send(signal.SIGINT)
        process.line()
        for _ in range(3):
            process.send(signal.SIGTERM)
        time.sleep(APART)
        process.send()
        assert "would lose" in process.line()  # the second, not the fifth


def test_nothing_interrupts_a_save() -> None:
    with working(save_seconds=3 * APART + 1) as process:
        assert process.line() == "saving"
        for _ in range(3):
            process.send()
            expected = "saving step 2, which is not interrupted; then the run ends"
            assert process.line() == expected
            time.sleep(APART)
        assert process.line() == "saved"
        assert process.line() == "working"
        assert process.popen.wait(timeout=10) == 0


def test_a_hangup_that_was_to_be_ignored_is() -> None:
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c", WORK, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen:
        process = Process(popen)
        process.line()
        process.send(signal.SIGHUP)
        process.send(signal.SIGTERM)
        assert "stopping: " in process.line()
        popen.kill()
