"""Warm start: supervised fine-tuning of the adapter on the rows' own completions.

    loss = - sum over all T completion tokens of the step: log p(token | prompt, tokens before) / T

Prompts carry no loss. The mean is over the whole step, so its gradient is the same whatever the
micro-batches, and however many processes share them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgetool.activity import Activity
from edgetool.calls.types import Example
from edgetool.train.distributed import ALONE, Ranks
from edgetool.train.gradient import (
    add_gradient,
    learning,
    micro_batches_of,
    optimizer_step,
    packed,
    seeded_dropout,
)
from edgetool.train.loop import OnStep, TrainResult, run_steps
from edgetool.train.metrics import memory_metrics
from edgetool.train.oom import Memory
from edgetool.train.packing import Group
from edgetool.train.partial_step import Begun
from edgetool.train.policy import Policy
from edgetool.train.rows import digest, visited
from edgetool.train.settings import SFTSettings
from edgetool.train.supervised import SupervisedRow, prepare_supervised
from edgetool.train.update import completion_logps, entropies, make_optimizer, set_learning_rate


def fine_tune(
    policy: Policy,
    examples: Sequence[Example],
    settings: SFTSettings,
    output_dir: Path,
    *,
    resume: bool = False,
    on_step: OnStep | None = None,
    on_note: Callable[[str], None] | None = None,
    ranks: Ranks = ALONE,
    activity: Activity | None = None,
) -> TrainResult:
    """Train the policy's adapter on the rows' completions and leave it in `output_dir`/adapter.

    Arguments and promises are those of `loop.train`; a stop waits for the end of the step at hand.

    Raises UsageError when the folder holds a run already, ConfigError when a resumed run's settings
    differ, and what `prepare_supervised` raises.
    """
    say = on_note if on_note and ranks.first else lambda _: None
    activity = activity or Activity()
    rows = prepare_supervised(policy, examples, settings, activity)
    if note := rows.note():
        say(note)
    stepper = SFTStepper(policy, rows.rows, settings, say, ranks, activity)
    return run_steps(stepper, rows, output_dir, resume=resume, on_step=on_step, on_note=say)


@dataclass(frozen=True)
class SFTReport:
    """What came out of a step: its number from 1, a metrics row, and the rows it was trained on."""

    step: int
    max_steps: int
    metrics: dict[str, float]
    rows: Sequence[SupervisedRow]


class SFTStepper:
    """Runs steps. All that changes between them: the adapter, the optimizer and `num_tokens`."""

    begun: Begun | None = None  # a step is one pass: there is no middle to go on from

    def __init__(
        self,
        policy: Policy,
        rows: Sequence[SupervisedRow],
        settings: SFTSettings,
        on_note: Callable[[str], None] | None = None,
        ranks: Ranks = ALONE,
        activity: Activity | None = None,
    ) -> None:
        self.policy, self.rows, self.settings, self.ranks = policy, rows, settings, ranks
        self.activity = activity or Activity()
        self.optimizer = make_optimizer(policy, settings)
        self.memory = Memory(on_note, "sft", "max_length")
        self.num_tokens = 0

    def identity(self) -> dict[str, Any]:
        """What beside the settings makes a resumed run the same run."""
        return {"rows": digest(self.rows), "processes": self.ranks.size}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """There is nothing else that changes."""

    def run(self, step: int, stop_wanted: Callable[[], bool] = lambda: False) -> SFTReport:
        """Step 0, 1, ..."""
        started, settings = time.perf_counter(), self.settings
        size = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
        size *= self.ranks.size
        rows = [self.rows[i] for i in visited(step, len(self.rows), size, settings.seed)]
        groups = grouped(rows)
        rate = set_learning_rate(self.optimizer, step, settings)
        with seeded_dropout(self.policy, settings.seed, step, "dropout"):
            trained = self._update(groups, step + 1)
        read = sum(len(group.prompt) + sum(map(len, group.completions)) for group in groups)
        self.num_tokens += read
        seconds = time.perf_counter() - started
        metrics = {
            "step": step + 1,
            **trained,
            "learning_rate": rate,
            "num_tokens": self.num_tokens,
            "step_time": seconds,
            "tokens_per_second": read / seconds,
            **memory_metrics(),
        }
        return SFTReport(step + 1, settings.max_steps, metrics, rows)

    def _update(self, groups: Sequence[Group], number: int) -> dict[str, float]:
        """One optimizer step on all completions, and what is to be said of it."""
        policy, ranks = self.policy, self.ranks
        tokens = sum(len(ids) for group in groups for ids in group.completions)
        sums = torch.zeros(3, dtype=torch.float64)  # loss, entropy, tokens right

        def accumulate(part: list[Group]) -> None:
            batch = packed(policy, part)
            logps, seen = completion_logps(policy.network, batch, 1.0, entropy_and_right)
            loss = -logps.sum() / tokens
            add_gradient(policy, loss)
            sums.add_(torch.tensor([float(loss.detach()), *seen.sum(dim=0).tolist()]))

        with learning(policy, self.optimizer):
            parts = micro_batches_of(policy, groups, self.settings, ranks)
            for part in self.activity.over(parts, f"step {number}: learning", "pass"):
                self.memory.fit(part, accumulate)
            norm = optimizer_step(policy, self.optimizer, self.settings, ranks)
        loss, entropy, right = ranks.sum(sums).tolist()
        applied = math.isfinite(norm)
        return {
            "loss": loss if math.isfinite(loss) else 0.0,
            "grad_norm": norm if applied else 0.0,
            "skipped_updates": int(not applied),
            "mean_token_accuracy": right / tokens,
            "entropy": entropy / tokens,
        }


def grouped(rows: Sequence[SupervisedRow]) -> list[Group]:
    """Rows of the same prompt share it."""
    places: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        places.setdefault(row.prompt, []).append(number)
    return [
        Group(prompt, [rows[number].completion for number in numbers], numbers)
        for prompt, numbers in places.items()
    ]


def entropy_and_right(logps: Tensor, targets: Tensor) -> Tensor:
    """float32 [t, 2]: entropy in nats, and 1 where the target is the most probable token."""
    right = logps.argmax(dim=-1) == targets
    return torch.stack([entropies(logps, targets), right.float()], dim=-1)
