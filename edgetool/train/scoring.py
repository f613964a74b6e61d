"""From what the policy wrote to rewards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetool.calls import formats
from edgetool.calls.formats import CallSyntax
from edgetool.calls.match import Verdict, judge
from edgetool.calls.types import Example
from edgetool.errors import EdgetoolError
from edgetool.rewards import RewardFunction


@dataclass(frozen=True)
class WeightedReward:
    """A reward function, the name its scores are logged under and its weight in the reward."""

    name: str
    weight: float
    function: RewardFunction


@dataclass(frozen=True)
class Scored:
    """One completion, judged.

    scores   one per reward function, in their order
    reward   their weighted sum
    """

    text: str
    verdict: Verdict
    scores: tuple[float, ...]
    reward: float


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

    Raises EdgetoolError when a reward function returns NaN or infinity; whatever the model wrote,
    that is the function's fault.
    """
    parsed = formats.read(syntax, text, finished=finished)
    scores = tuple(_finite(reward, reward.function(parsed, example), example) for reward in rewards)
    total = sum(r.weight * value for r, value in zip(rewards, scores, strict=True))
    return Scored(text, judge(parsed, example.calls), scores, total)


def _finite(reward: WeightedReward, value: float, example: Example) -> float:
    if not math.isfinite(value):
        raise EdgetoolError(
            f"reward '{reward.name}' returned {value} for row '{example.id}'; "
            "a reward function must return a finite number"
        )
    return float(value)
