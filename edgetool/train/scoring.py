"""From what the policy wrote to rewards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetool.calls import formats
from edgetool.calls.formats import CallSyntax
from edgetool.calls.match import Verdict, judge
from edgetool.calls.types import Example
from edgetool.rewards import RewardFunction
from edgetool.train.faults import RewardFault, call_reward


@dataclass(frozen=True)
class WeightedReward:
    """A reward function, the name its scores are logged under and its weight in the reward."""

    name: str
    weight: float
    function: RewardFunction


@dataclass(frozen=True)
class Scored:
    """One completion, judged.

    scores   one per reward function, in their order; NaN for one that failed
    reward   their weighted sum, NaN when one failed
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
) -> Scored:
    """Parse, judge and score one completion.

    finished   ended by a stop token; a completion that was cut is not clean, as in evaluation

    A reward function that fails is noted in `fault`, whatever it did.
    """
    parsed = formats.read(syntax, text, example.tools, finished=finished)
    scores, faults = [], []
    for reward in rewards:
        try:
            scores.append(call_reward(reward.name, reward.function, parsed, example))
        except RewardFault as fault:
            scores.append(math.nan)
            faults.append(str(fault))
    total = sum(r.weight * value for r, value in zip(rewards, scores, strict=True))
    verdict = judge(parsed, example.calls)
    return Scored(text, verdict, tuple(scores), total, faults[0] if faults else None)
