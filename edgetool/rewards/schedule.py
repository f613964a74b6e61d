"""Weights that fall once what they pay for has been learned.

A reward for the easy part of a task leads a small model to the hard part, and then drowns it out.
arXiv:2509.04518 pays 0.5 for valid JSON at first and 0.125 once the model writes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Schedule:
    """The weight is `then` once the reward's mean over the last `window` steps reaches `until`, and
    stays so whatever comes after."""

    until: float
    then: float
    window: int = 10


class RewardWeights:
    """The weights in force, in the order of the rewards. `observe` and `restore` change them."""

    def __init__(self, weights: Sequence[float], schedules: Sequence[Schedule | None]) -> None:
        self._first, self._schedules = tuple(weights), tuple(schedules)
        self._recent: list[list[float]] = [[] for _ in weights]  # means of the last steps
        self._fallen = [False] * len(self._first)

    @property
    def now(self) -> tuple[float, ...]:
        return tuple(
            schedule.then if schedule and fallen else first
            for first, schedule, fallen in zip(
                self._first, self._schedules, self._fallen, strict=True
            )
        )

    def observe(self, scores: Sequence[Sequence[float]]) -> None:
        """Take note of a step's scores [N, rewards]; NaN where a reward had nothing to say.

        A step in which it had nothing to say at all does not count.
        """
        for i, schedule in enumerate(self._schedules):
            known = [row[i] for row in scores if not math.isnan(row[i])]
            if schedule is None or self._fallen[i] or not known:
                continue
            recent = [*self._recent[i], math.fsum(known) / len(known)][-schedule.window :]
            full = len(recent) == schedule.window
            self._fallen[i] = full and math.fsum(recent) / len(recent) >= schedule.until
            self._recent[i] = [] if self._fallen[i] else recent

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: JSON values that `restore` takes back bit for bit."""
        return {"recent": self._recent, "fallen": self._fallen}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._recent = [list(means) for means in state["recent"]]
        self._fallen = list(state["fallen"])
