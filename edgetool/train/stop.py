"""Ctrl-C, SIGTERM and SIGHUP ask a run to stop at the next safe point; only insisting ends it.

    first    the run stops when what is at hand is done and saved; what that is is said at once
    second   what ending at once would lose is said
    third    within CONFIRM seconds of that: KeyboardInterrupt, nothing more is saved

A save is never interrupted, whatever comes while it is written.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One Ctrl-C may come by two roads: the terminal's, and a launcher's such as torchrun.
APART = 1.0
CONFIRM = 30.0


class StopRequest:
    """A context in which signals ask to stop instead of ending the process.

    say          prints a line; called from the signal handler
    waiting_for  what is at hand and will be finished
    at_stake     what ending at once would lose

    Signals can be caught in the main thread only; elsewhere nothing is caught. A signal that is
    ignored, as nohup does with SIGHUP, stays ignored.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda _: None,
        waiting_for: Callable[[], str] = lambda: "the step at hand",
        at_stake: Callable[[], str] = lambda: "the work since the newest checkpoint",
    ) -> None:
        self.wanted = False
        self._say, self._waiting_for, self._at_stake = say, waiting_for, at_stake
        self._saving = ""
        self._last_at = self._warned_at = -float("inf")
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                ignored = signal.getsignal(number) == signal.SIG_IGN
                if not (ignored and number == signal.SIGHUP):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def saving(self, what: str) -> Iterator[None]:
        """While this is open no signal interrupts; what: "step 12"."""
        self._saving = what
        try:
            yield
        finally:
            self._saving = ""

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last_at < APART:
            return
        self._last_at, first, self.wanted = now, not self.wanted, True
        if self._saving:
            self._tell(f"saving {self._saving}, which is not interrupted; then the run ends")
        elif first:
            self._tell(f"stopping: first this is finished and saved: {self._waiting_for()}")
        elif now - self._warned_at > CONFIRM:
            self._warned_at = now
            self._tell(
                f"still at it: {self._waiting_for()}. Ending at once would lose "
                f"{self._at_stake()}; press Ctrl-C again within {CONFIRM:.0f} s to do that"
            )
        else:
            raise KeyboardInterrupt

    def _tell(self, line: str) -> None:
        """The handler may have cut into a write to the same stream, or the terminal may be gone."""
        try:
            self._say(line)
        except RuntimeError:
            with suppress(OSError):
                os.write(2, f"\n{line}\n".encode())
        except OSError:
            pass
