"""What a command does right now: for a terminal, for the log of slow work, and after Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")
TICK = 0.5  # seconds between two looks at an activity
# A log that has been silent for so long says what is being done; each time it waits twice as long.
QUIET, MOST_QUIET = 3.0, 60.0


@dataclass(frozen=True)
class _Now:
    what: str
    unit: str = ""
    done: int = 0
    limit: int | str = 0


class Activity:
    """One activity at a time. Whoever does the work says so, another thread may read it."""

    def __init__(self) -> None:
        self._now = _Now("starting")  # replaced whole, so that a reader sees one activity

    def begin(self, what: str, unit: str = "", limit: int | str = 0) -> None:
        """what: "step 3: learning"; unit, limit: what is counted in it, and how far."""
        self._now = _Now(what, unit, 0, limit)

    def reach(self, done: int) -> None:
        self._now = replace(self._now, done=done)

    def over(self, items: Sequence[T], what: str, unit: str) -> Iterator[T]:
        """The items, counted as they are taken."""
        self.begin(what, unit, len(items))
        for number, item in enumerate(items, start=1):
            self.reach(number)
            yield item

    @property
    def text(self) -> str:
        """'step 3: writing 64 completions, token 12 of at most 256'."""
        now = self._now
        return f"{now.what}, {now.unit} {now.done} of {now.limit}" if now.done else now.what


class Watch:
    """A context that looks at an activity, and says it where nothing was said for long.

    say       takes a line
    redraw    on a terminal: called at every look, and nothing is said

    It looks from a thread of its own: who does the work is often in one call for seconds.
    """

    def __init__(
        self, activity: Activity, say: Callable[[str], None], redraw: Callable[[], None] | None
    ) -> None:
        self.activity, self._say, self._redraw = activity, say, redraw
        self._over, self._patience = threading.Event(), QUIET
        self._spoken_at = time.monotonic()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def spoken(self, patience: float | None = None) -> None:
        """Something was said elsewhere; patience: seconds of silence to bear from now on."""
        self._spoken_at, self._patience = time.monotonic(), patience or self._patience

    def _look(self) -> None:
        while not self._over.wait(TICK):
            if self._redraw is not None:
                self._redraw()
            elif time.monotonic() - self._spoken_at >= self._patience:
                self.spoken(min(2 * self._patience, MOST_QUIET))
                self._say(f"{self.activity.text} ...")


Working = Callable[[str], AbstractContextManager[Activity]]  # such as `busy` on some console


@contextmanager
def silently(what: str) -> Iterator[Activity]:
    """An activity that nobody looks at."""
    yield Activity()


@contextmanager
def busy(console: Any, what: str) -> Iterator[Activity]:
    """While this is open, rich's `console` shows what is done, or says it where it is a log."""
    activity = Activity()
    activity.begin(what)
    if console.is_terminal:
        with console.status(what) as status:

            def redraw() -> None:
                status.update(activity.text)

            with Watch(activity, print, redraw):
                yield activity
    else:
        with Watch(activity, lambda line: console.print(line, markup=False), None):
            yield activity


def duration(seconds: float) -> str:
    """'42 s', '3 min 05 s', '2 h 10 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
