"""When a user's reward function fails: noted, not fatal, until it happens too often.

A function may raise, return something that is no finite number, or hang. The completion it failed
on, or all it was given at once, gets no reward at all, which is not a reward of 0: it takes no part
in its group's mean or in the loss.
"""

from __future__ import annotations

import math
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from edgetool.calls.syntaxes import Parsed
from edgetool.calls.types import Example
from edgetool.errors import EdgetoolError
from edgetool.rewards import RewardFunction, batch
from edgetool.rewards.batch import Attempt, TrainerState

TIME_LIMIT = 60.0  # seconds for one completion
TOLERATED = 0.2  # of a step's completions


class RewardFault(Exception):
    """What a reward function did wrong, with the traceback when it raised."""


def call_reward(name: str, function: RewardFunction, parsed: Parsed, example: Example) -> float:
    """The function's score. Raises RewardFault whatever it does wrong."""
    where = f"reward '{name}' on row '{example.id}'"
    return _number(where, _guarded(where, TIME_LIMIT, lambda: function(parsed, example)))


def call_batch(
    name: str, function: RewardFunction, attempts: Sequence[Attempt], state: TrainerState
) -> list[float | RewardFault]:
    """The scores of a function with TRL's signature, NaN where it has nothing to say, and a fault
    where a score is no number.

    Raises RewardFault when it fails as a whole.
    """
    where = f"reward '{name}' on {len(attempts)} completions"
    limit = TIME_LIMIT * len(attempts)
    scores = _guarded(where, limit, lambda: batch.call(function, attempts, state))
    return [
        math.nan if value is None else _number_or_fault(name, attempt.example, value)
        for attempt, value in zip(attempts, scores, strict=True)
    ]


def _number_or_fault(name: str, example: Example, value: Any) -> float | RewardFault:
    try:
        return _number(f"reward '{name}' on row '{example.id}'", value)
    except RewardFault as fault:
        return fault


def _guarded(where: str, limit: float, call: Callable[[], Any]) -> Any:
    try:
        with time_limit(limit):
            return call()
    except Exception as error:  # somebody else's code: it may raise anything, or time out
        raise RewardFault(f"{where} raised:\n{traceback.format_exc()}") from error


def _number(where: str, value: Any) -> float:
    """A finite number, also one of NumPy's or a tensor of one."""
    if hasattr(value, "__float__") and getattr(value, "ndim", 0) == 0:
        number = _guarded(where, TIME_LIMIT, lambda: float(value))
        if math.isfinite(number):
            return float(number)
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
