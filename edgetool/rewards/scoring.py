"""From what the policy wrote to rewards.

A user's reward function may raise, return something that is no finite number, or hang. That is
noted, and ends the run only where it happens too often. The completion it failed on, or all it was
given at once, gets no reward at all, which is not a reward of 0: it takes no part in its group's
mean or in the loss.
"""

from __future__ import annotations

import math
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from edgetool.calls import syntaxes
from edgetool.calls.judge.match import Verdict, judge_example
from edgetool.calls.syntaxes import CallSyntax, Parsed
from edgetool.calls.types import Example
from edgetool.errors import EdgetoolError
from edgetool.rewards import RewardFunction, batch
from edgetool.rewards.batch import Attempt, TrainerState
from edgetool.rewards.named import takes_batches
from edgetool.rewards.schedule import Schedule

TIME_LIMIT = 60.0  # seconds for one completion
TOLERATED = 0.2  # of a step's completions


class RewardFault(Exception):
    """What a reward function did wrong, with the traceback when it raised."""


Found = float | RewardFault  # a score, NaN where there is nothing to say, or what went wrong


@dataclass(frozen=True)
class WeightedReward:
    """A reward function, the name its scores are logged under and its weight in the reward.

    schedule   when the weight changes; None: never
    """

    name: str
    weight: float
    function: RewardFunction
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Scored:
    """One completion, judged.

    scores   one per reward function, in their order; NaN for one that failed or had nothing to say
    reward   the weighted sum of those that had; NaN when one failed, and when none had
    fault    what the first to fail did wrong
    """

    text: str
    verdict: Verdict
    scores: tuple[float, ...]
    reward: float
    fault: str | None = None


def score(
    text: str,
    example: Example,
    syntax: CallSyntax,
    rewards: Sequence[WeightedReward],
    *,
    finished: bool = True,
    weights: Sequence[float] | None = None,
    together: Mapping[str, Found] | None = None,
) -> Scored:
    """Parse, judge and score one completion.

    finished   ended by a stop token; a completion that was cut is not clean, as in evaluation
    weights    those in force, in the order of `rewards`; None: the ones they begin with
    together   what `score_together` found for this completion; None: it is scored by itself

    A reward function that fails is noted in `fault`, whatever it did.
    """
    parsed = syntaxes.read(syntax, text, example.tools, finished=finished)
    if together is None:
        [together] = score_together([Attempt(example, text)], rewards)
    found = [
        together[r.name] if r.name in together else _by_itself(r, parsed, example) for r in rewards
    ]
    faults = [str(entry) for entry in found if isinstance(entry, RewardFault)]
    scores = tuple(math.nan if isinstance(entry, RewardFault) else entry for entry in found)
    in_force = [reward.weight for reward in rewards] if weights is None else weights
    known = [(w, s) for w, s in zip(in_force, scores, strict=True) if not math.isnan(s)]
    total = sum(w * s for w, s in known) if known and not faults else math.nan
    verdict = judge_example(parsed, example)
    return Scored(text, verdict, scores, total, faults[0] if faults else None)


def score_together(
    attempts: Sequence[Attempt],
    rewards: Sequence[WeightedReward],
    state: TrainerState | None = None,
) -> list[dict[str, Found]]:
    """For every completion, by name, what the functions with TRL's signature make of all of them.

    One that fails has failed for all.
    """
    found: list[dict[str, Found]] = [{} for _ in attempts]
    for reward in rewards:
        if not takes_batches(reward.function):
            continue
        scores: Sequence[Found]
        try:
            scores = call_batch(reward.name, reward.function, attempts, state or TrainerState())
        except RewardFault as fault:
            scores = [fault] * len(attempts)
        for entry, value in zip(found, scores, strict=True):
            entry[reward.name] = value
    return found


def _by_itself(reward: WeightedReward, parsed: Parsed, example: Example) -> Found:
    where = f"reward '{reward.name}' on row '{example.id}'"
    try:
        return _number(where, _guarded(where, TIME_LIMIT, lambda: reward.function(parsed, example)))
    except RewardFault as fault:
        return fault


def call_batch(
    name: str, function: RewardFunction, attempts: Sequence[Attempt], state: TrainerState
) -> list[Found]:
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


def _number_or_fault(name: str, example: Example, value: Any) -> Found:
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
