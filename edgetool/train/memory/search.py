"""The largest settings that a card has room for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgetool.train.memory.estimate import Machine, Plan, plan
from edgetool.train.memory.model_shape import Shape
from edgetool.train.settings import GRPOSettings, LoraSettings

GIB = 2**30
# A desktop draws on the same card, and an estimate is one.
USABLE = 0.95

# Groups of 8 come first, because the advantages of a small group are noise; then long prompts and
# completions; then prompts in one rollout, since gradient_accumulation_steps makes up for them.
GENERATIONS = (8, 4, 2)
LENGTHS = ((2048, 512), (1024, 256), (512, 128))
PROMPTS = (8, 4, 2, 1)
PACKED = (16384, 8192, 4096, 2048)
# What `edgetool plan` tabulates: for these lengths the largest of these groups.
TABLE_LENGTHS = ((4096, 1024), *LENGTHS)
TABLE_GENERATIONS = (64, 32, 16, 8, 4, 2)


@dataclass(frozen=True)
class Fit:
    """Settings that fit, and what they take."""

    grpo: GRPOSettings
    plan: Plan


@dataclass(frozen=True)
class Setup:
    """What is trained on what: a model's shape, the adapter, and a GPU of `memory` bytes."""

    shape: Shape
    lora: LoraSettings
    machine: Machine
    memory: float

    def plan(self, grpo: GRPOSettings, prompt: int | None = None) -> Plan:
        return plan(self.shape, grpo, self.lora, self.machine, prompt)

    def holds(self, planned: Plan) -> bool:
        return planned.total <= USABLE * self.memory


def largest_fit(setup: Setup, base: GRPOSettings | None = None) -> Fit | None:
    """The most useful settings that fit; None when none do. `base` gives all the others."""
    for grpo in _candidates(setup.shape.context, base or GRPOSettings()):
        if setup.holds(planned := setup.plan(grpo)):
            return Fit(grpo, planned)
    return None


def largest_groups(setup: Setup, base: GRPOSettings | None = None) -> list[tuple[int, int, int]]:
    """(prompt, completion, most completions a group) with one prompt a rollout; 0: none fits."""
    base = base or GRPOSettings()

    def most(prompt: int, completion: int) -> int:
        for size in TABLE_GENERATIONS:
            if setup.holds(setup.plan(_settings(base, size, prompt, completion))):
                return size
        return 0

    return [
        (prompt, completion, most(prompt, completion))
        for prompt, completion in TABLE_LENGTHS
        if prompt + completion <= setup.shape.context
    ]


def _candidates(context: int, base: GRPOSettings) -> Iterator[GRPOSettings]:
    choices = itertools.product(GENERATIONS, LENGTHS, PROMPTS, PACKED)
    for size, (prompt, completion), prompts, packed in choices:
        if prompt + completion <= context:
            yield _settings(base, size, prompt, completion, prompts, packed)


def _settings(
    base: GRPOSettings,
    size: int,
    prompt: int,
    completion: int,
    prompts: int = 1,
    packed: int = PACKED[-1],
) -> GRPOSettings:
    return replace(
        base,
        num_generations=size,
        prompts_per_step=prompts,
        gradient_accumulation_steps=PROMPTS[0] // prompts,
        max_prompt_length=prompt,
        max_completion_length=completion,
        packed_tokens=packed,
        gradient_checkpointing=True,
    )
