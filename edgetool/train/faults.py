"""When a user's reward function fails: noted, not fatal, until it happens too often.

A function may raise, return something that is no finite number, or hang. The completion it failed
on gets no reward at all, which is not a reward of 0: it takes no part in its group's mean or in the
loss.
"""

from __future__ import annotations

import math
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from edgetool.calls.formats import Parsed
from edgetool.calls.types import Example
from edgetool.errors import EdgetoolError
from edgetool.rewards import RewardFunction

TIME_LIMIT = 60.0  # seconds for one completion
TOLERATED = 0.2  # of a step's completions


class RewardFault(Exception):
    """What a reward function did wrong, with the traceback when it raised."""


def call_reward(name: str, function: RewardFunction, parsed: Parsed, example: Example) -> float:
    """The function's score. Raises RewardFault whatever it does wrong."""
    where = f"reward '{name}' on row '{example.id}'"
    try:
        with time_limit(TIME_LIMIT):
            value: Any = function(parsed, example)
    except Exception as error:  # somebody else's code: it may raise anything, or time out
        raise RewardFault(f"{where} raised:\n{traceback.format_exc()}") from error
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    raise RewardFault(f"{where} returned {value!r}; it must return a finite number")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block after so long. Signals work in the main thread only;
    elsewhere, and in C code that does not come back, there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no result within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def require_few(faults: Sequence[str], completions: int) -> None:
    """Raises EdgetoolError when more than TOLERATED of a step's completions have no reward."""
    if len(faults) > TOLERATED * completions:
        raise EdgetoolError(
            f"reward functions failed on {len(faults)} of {completions} completions of a step; "
            f"mend them and go on with --resume. The first: {faults[0]}"
        )
