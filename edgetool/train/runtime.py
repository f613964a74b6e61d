"""The policy as a Runtime, so that it is evaluated like any other engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from edgetool.calls.runtime import Completion, Constraint, Sampling
from edgetool.calls.types import Example
from edgetool.errors import UsageError
from edgetool.train.policy import Policy
from edgetool.train.rollout import completion_seed, rollout

ConstraintFactory = Callable[[Example], Constraint]


class PolicyRuntime:
    """Completions from a torch policy, in batches of prompts of like length.

    constraint   makes the constraint of an example's completion, for the constrained arm; given by
                 the caller, because the engines of constraints live in `serve`
    """

    def __init__(
        self,
        policy: Policy,
        *,
        name: str = "policy",
        constraint: ConstraintFactory | None = None,
        batch_size: int = 64,
    ) -> None:
        self.policy, self.name, self.batch_size = policy, name, batch_size
        self.syntax = policy.prompter.syntax
        self._constraint = constraint

    def prompt_ids(self, example: Example) -> list[int]:
        """Token ids [P] of the example's prompt."""
        return self.policy.prompter.ids(example.messages, example.tools)

    def generate(
        self, examples: Sequence[Example], sampling: Sampling, *, constrained: bool
    ) -> Iterator[Completion]:
        """One completion per example, in order; a batch shares its time evenly.

        Raises UsageError for constrained=True on a runtime without a constraint.
        """
        if constrained and self._constraint is None:
            raise UsageError(f"{self.name}: the constrained arm needs a constraint engine")
        prompts = [self.prompt_ids(example) for example in examples]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        done: dict[int, Completion] = {}
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            picked = [examples[i] for i in batch]
            written = self._batch(batch, picked, prompts, sampling, constrained)
            done.update(zip(batch, written, strict=True))
        for number in range(len(prompts)):
            yield done[number]

    def _batch(
        self,
        numbers: Sequence[int],
        examples: Sequence[Example],
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        constrained: bool,
    ) -> list[Completion]:
        started = time.perf_counter()
        make = self._constraint if constrained else None
        constraints = [make(example) for example in examples] if make else None
        seeds = [[completion_seed(sampling.seed, number)] for number in numbers]
        written = rollout(self.policy, [prompts[i] for i in numbers], sampling, seeds, constraints)
        seconds = (time.perf_counter() - started) / len(numbers)
        shortened = [c.shortened for c in constraints] if constraints else [False] * len(written)
        return [
            Completion(w.text, w.token_ids, w.finished, seconds, early)
            for [w], early in zip(written, shortened, strict=True)
        ]
