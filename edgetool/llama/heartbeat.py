"""Signs of life between the server and the process its model is in.

The child says every second what it is at: for each of its parts a mark that changes with every step
of the work, or None where the part has nothing to do. A child that says nothing at all is stopped
or holds its interpreter; one whose mark stays the same is caught in a loop. The parent ends both.

It counts its own seconds by the times it looked, not by a clock: where the whole machine was asleep
or too busy, nobody is to blame.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

BEAT_SECONDS = 1.0
# Beats a child may be silent, and may stay at one step. A step is one micro-batch through the
# model; a child that measured a slow one asks for more.
PATIENCE = 10
# Beats for one prompt and its grammar to be made, which no smaller steps can be told of.
PREPARING_PATIENCE = 30
WRITING, PREPARING = "writing", "preparing"
_STEPS = 20  # how many times slower than measured a step may be
_PR_SET_PDEATHSIG = 1

Marks = Mapping[str, Any]


def patience_for(step_seconds: float) -> int:
    """Beats that a step may take which took so many seconds when it was measured."""
    return max(PATIENCE, int(_STEPS * step_seconds / BEAT_SECONDS))


def beat(say: Callable[[dict[str, Any]], None], marks: Callable[[], Marks]) -> None:
    """Have a thread of this process tell `marks` from now on."""

    def go_on() -> None:
        stop = threading.Event()
        while not stop.wait(BEAT_SECONDS):
            say({"alive": marks()})

    threading.Thread(target=go_on, daemon=True).start()


class Watchdog:
    """Tells from what a child says, and does not say, whether it hangs.

    patience   part -> beats that its mark may stay the same
    """

    def __init__(self, patience: Mapping[str, int]) -> None:
        self._patience = patience
        self.begin()

    def begin(self) -> None:
        """Another child, or the same one asked for the first time."""
        self._silent = 0
        self._marks: Marks = {}
        self._same: dict[str, int] = {}

    def heard(self, message: Mapping[str, Any]) -> None:
        self._silent = 0
        if "alive" not in message:
            return
        marks: Marks = message["alive"]
        for part, mark in marks.items():
            stays = mark is not None and mark == self._marks.get(part)
            self._same[part] = self._same.get(part, 0) + 1 if stays else 0
        self._marks = marks

    @property
    def silent(self) -> int:
        """Beats since it said something."""
        return self._silent

    def tick(self) -> str | None:
        """A beat has passed. Returns what is wrong with the child, None where nothing is."""
        self._silent += 1
        if self._silent > PATIENCE:
            return f"it said nothing for {self._silent - 1} s"
        for part, beats in self._same.items():
            if beats >= self._patience.get(part, PATIENCE):
                return f"it was {beats} s at one step of {part}"
        return None


def die_with_parent() -> None:
    """On Linux: when the thread that started this process ends, the kernel ends it, stopped or not.

    Elsewhere the end of the pipe has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
