"""The policy as a Runtime, so that it is evaluated like any other engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from edgetool.calls.types import Example
from edgetool.errors import UsageError
from edgetool.runtime import ARMS, FREE, Completion, Constraint, Sampling, row_seed
from edgetool.system import device_mb, peak_resident_mb
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion, rollout

ConstraintFactory = Callable[[Example, str], Constraint | None]


class PolicyRuntime:
    """Completions from a torch policy, in batches of prompts of like length.

    constraint    makes the constraint of an example's completion in an arm; given by the caller,
                  because the engines of constraints live in `serve`
    arms          those that `constraint` knows
    fingerprint   names the weights, by the caller too: a policy may be anything by now
    """

    def __init__(
        self,
        policy: Policy,
        *,
        name: str = "policy",
        constraint: ConstraintFactory | None = None,
        arms: Sequence[str] = (FREE,),
        fingerprint: str = "",
        batch_size: int = 64,
    ) -> None:
        self.policy, self.name, self.batch_size = policy, name, batch_size
        self.syntax = policy.prompter.syntax
        self._constraint = constraint
        self.arms, self.fingerprint = tuple(arms), fingerprint

    @property
    def peak_mb(self) -> float:
        """The most memory so far in MiB: torch's on a GPU, else all that is resident here."""
        return device_mb(str(self.policy.device)) or peak_resident_mb()

    def prompt_ids(self, example: Example) -> list[int]:
        """Token ids [P] of the example's prompt."""
        return self.policy.prompter.ids(example.messages, example.tools)

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, arm: str = FREE
    ) -> Iterator[tuple[int, Completion]]:
        """One completion per example, a batch at a time; a batch shares its time evenly.

        Raises UsageError for an arm that is not offered.
        """
        if arm not in self.arms:
            known = ", ".join(name for name in ARMS if name in self.arms)
            raise UsageError(f"{self.name}: arm '{arm}' is not offered here; choose of: {known}")
        prompts = [self.prompt_ids(example) for example in examples]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            picked = [(examples[i], prompts[i]) for i in batch]
            yield from zip(batch, self._batch(picked, sampling, arm), strict=True)

    def _batch(
        self, rows: Sequence[tuple[Example, Sequence[int]]], sampling: Sampling, arm: str
    ) -> list[Completion]:
        started = time.perf_counter()
        constraints = [self._held(example, arm) for example, _ in rows]
        held = [constraint for constraint in constraints if constraint is not None]
        seeds = [[row_seed(sampling.seed, example.id)] for example, _ in rows]
        prompts = [prompt for _, prompt in rows]
        written = rollout(self.policy, prompts, sampling, seeds, held or None)
        share = (time.perf_counter() - started) / len(rows)
        return [
            _completion(one, constraint, share, (one.first_at - started) / len(rows))
            for [one], constraint in zip(written, constraints, strict=True)
        ]

    def _held(self, example: Example, arm: str) -> Constraint | None:
        return self._constraint(example, arm) if self._constraint and arm != FREE else None


def _completion(
    written: RolloutCompletion, held: Constraint | None, seconds: float, first_seconds: float
) -> Completion:
    found = Completion(
        written.text, written.token_ids, written.finished, seconds, first_seconds=first_seconds
    )
    if held is None:
        return found
    cut = None if held.cut is None else held.cut / max(1, len(written.token_ids))
    return replace(
        found,
        shortened=held.shortened,
        forced=held.forced,
        cut_mass=cut,
        unconstrained=held.unconstrained,
    )
