"""What a run does right now: for the panel, for the log of a slow first step, and after Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

T = TypeVar("T")


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


def duration(seconds: float) -> str:
    """'42 s', '3 min 05 s', '2 h 10 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
