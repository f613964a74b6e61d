"""Signs of life from the process that a model is in.

The child says every second what it is at: for each of its parts a mark that changes with every step
of the work, or None where the part has nothing to do. A child that says nothing at all is stopped
or holds its interpreter; one whose mark stays the same is caught in a loop. The parent ends both.
While a model is loaded the mark is what the process read and computed, so a slow disk is no hang.

It counts its own seconds by the times it looked, not by a clock: where the whole machine was asleep
or too busy, nobody is to blame.
"""

from __future__ import annotations

import ctypes
import resource
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
WRITING, PREPARING, LOADING = "writing", "preparing", "loading"
# Beats until a child first says something (Python's imports come before it), and for a load that
# neither reads nor computes. An evaluation's child, which measured no step, may take as long.
STARTING_PATIENCE = 60
_STEPS = 20  # how many times slower than measured a step may be
_PR_SET_PDEATHSIG = 1

Marks = Mapping[str, Any]


def patience_for(step_seconds: float) -> int:
    """Beats that a step may take which took so many seconds when it was measured."""
    return max(PATIENCE, int(_STEPS * step_seconds / BEAT_SECONDS))


class Pulse:
    """A thread that tells what this process is at, from the start of the process.

    marks   what it tells; set anew once the model is loaded
    """

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        self._say = say
        self.marks: Callable[[], Marks] = _loading
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        stop = threading.Event()
        while not stop.wait(BEAT_SECONDS):
            self._say({"alive": self.marks()})


def _loading() -> Marks:
    """What this process has read and computed; the thread that tells it takes next to nothing."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    tenths = int(10 * (used.ru_utime + used.ru_stime))
    return {LOADING: [used.ru_majflt, used.ru_inblock, tenths]}


class Watchdog:
    """Tells from what a child says, and does not say, whether it hangs.

    patience   part -> beats that its mark may stay the same
    starting   beats until its first word, where that may take longer than any later one
    """

    def __init__(self, patience: Mapping[str, int], starting: int = 0) -> None:
        self._patience = {LOADING: STARTING_PATIENCE, **patience}
        self._starting = starting
        self.begin()

    def begin(self) -> None:
        """Another child, or the same one asked for the first time."""
        self._silent = 0
        self._said: Marks = {}  # since the last beat; of many that piled up, the newest
        self._marks: Marks = {}
        self._same: dict[str, int] = {}

    def heard(self, message: Mapping[str, Any]) -> None:
        self._silent = self._starting = 0
        self._said = message.get("alive", self._said)

    @property
    def silent(self) -> int:
        """Beats since it said something."""
        return self._silent

    def tick(self) -> str | None:
        """A beat has passed. Returns what is wrong with the child, None where nothing is."""
        self._silent += 1
        self._look()
        if self._silent > max(PATIENCE, self._starting):
            return f"it said nothing for {self._silent - 1} s"
        for part, beats in self._same.items():
            if beats >= self._patience.get(part, PATIENCE):
                return f"it was {beats} s at one step of {part}"
        return None

    def _look(self) -> None:
        """Count the parts that are where they were a beat ago; silence is counted elsewhere."""
        said, self._said = self._said, {}
        for part, mark in said.items():
            stays = mark is not None and mark == self._marks.get(part)
            self._same[part] = self._same.get(part, 0) + 1 if stays else 0
        self._marks = said or self._marks


def die_with_parent() -> None:
    """On Linux: when the thread that started this process ends, the kernel ends it, stopped or not.

    Elsewhere the end of the pipe has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
