"""From what the policy wrote to rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgetool.calls import syntaxes
from edgetool.calls.judge.match import Verdict, judge_example
from edgetool.calls.syntaxes import CallSyntax, Parsed
from edgetool.calls.types import Example
from edgetool.rewards import RewardFunction
from edgetool.rewards.batch import Attempt, TrainerState
from edgetool.rewards.faults import RewardFault, call_batch, call_reward
from edgetool.rewards.named import takes_batches
from edgetool.rewards.schedule import Schedule


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


Found = float | RewardFault  # a score, NaN where there is nothing to say, or what went wrong


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
    said = [(w, s) for w, s in zip(in_force, scores, strict=True) if not math.isnan(s)]
    total = sum(w * s for w, s in said) if said and not faults else math.nan
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
    try:
        return call_reward(reward.name, reward.function, parsed, example)
    except RewardFault as fault:
        return fault
