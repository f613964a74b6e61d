"""One step: prompts -> completions -> scores -> advantages -> update -> metrics."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from edgetool.calls.runtime import Sampling
from edgetool.train import grpo
from edgetool.train.faults import require_few
from edgetool.train.metrics import step_metrics
from edgetool.train.packing import Group
from edgetool.train.policy import Policy
from edgetool.train.rollout import Written, completion_seed, rollout
from edgetool.train.rows import Row, visited
from edgetool.train.scoring import Scored, WeightedReward, score
from edgetool.train.settings import GRPOSettings
from edgetool.train.update import Batch, learning_rate, make_optimizer, update


@dataclass(frozen=True)
class Sampled:
    """A step's rollout: B rows, and per row G completions with their scores."""

    rows: Sequence[Row]
    written: Sequence[Sequence[Written]]
    scored: Sequence[Sequence[Scored]]

    @property
    def tokens(self) -> int:
        """Prompt tokens, once per group, and completion tokens."""
        prompts = sum(len(row.prompt) for row in self.rows)
        return prompts + sum(len(w.token_ids) for group in self.written for w in group)

    @property
    def rewards(self) -> torch.Tensor:
        """float32 [B, G], NaN where a reward function failed."""
        return torch.tensor([[s.reward for s in group] for group in self.scored])

    def with_groups(self, places: Sequence[int], other: Sampled) -> Sampled:
        """These groups with those of `other` in the given places."""
        rows, written, scored = list(self.rows), list(self.written), list(self.scored)
        for i, place in enumerate(places):
            rows[place], written[place] = other.rows[i], other.written[i]
            scored[place] = other.scored[i]
        return Sampled(rows, written, scored)


@dataclass(frozen=True)
class StepReport:
    """What came out of a step: its number from 1, a metrics row, and the rollout itself."""

    step: int
    max_steps: int
    metrics: dict[str, float]
    sampled: Sampled


class Abandoned(Exception):
    """The user asked to stop before anything of this step was learned."""


class Stepper:
    """Runs steps. All that changes between them: the adapter, the optimizer and `num_tokens`."""

    def __init__(
        self,
        policy: Policy,
        rows: Sequence[Row],
        rewards: Sequence[WeightedReward],
        settings: GRPOSettings,
    ) -> None:
        self.policy, self.rows, self.rewards, self.settings = policy, rows, rewards, settings
        self.optimizer = make_optimizer(policy, settings)
        self.num_tokens = 0

    def run(self, step: int, stop_wanted: Callable[[], bool] = lambda: False) -> StepReport:
        """Step 0, 1, ...; raises Abandoned when a stop is wanted once the rollout is done."""
        started = time.perf_counter()
        sampled, tokens, replaced = self._sample(step)
        rolled_out = time.perf_counter()
        if stop_wanted():
            raise Abandoned
        batch, rewards = self._batch(sampled)
        rate = learning_rate(step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.random.fork_rng(devices=_cuda_devices(self.policy)):
            # Dropout is the only one to draw from the global generator.
            torch.manual_seed(completion_seed(self.settings.seed, step, "dropout"))
            trained = update(self.policy, batch, self.settings, self.optimizer)
        self.num_tokens += tokens
        now = time.perf_counter()
        metrics = {
            "step": step + 1,
            **step_metrics(sampled.written, sampled.scored, rewards, self.rewards, trained),
            "learning_rate": rate,
            "num_tokens": self.num_tokens,
            "step_time": now - started,
            "rollout_time": rolled_out - started,
            "train_time": now - rolled_out,
            "tokens_per_second": tokens / (now - started),
            "replaced_groups": replaced,
        }
        return StepReport(step + 1, self.settings.max_steps, metrics, sampled)

    def _sample(self, step: int) -> tuple[Sampled, int, int]:
        """The step's groups, the tokens it took to get them and how many were replaced."""
        settings = self.settings
        picked = visited(step, len(self.rows), settings.prompts_per_step, settings.seed)
        sampled = self._roll_out([self.rows[i] for i in picked], (step,))
        tokens, replaced = sampled.tokens, 0
        for attempt in range(1, settings.dynamic_sampling + 1):
            silent = grpo.equal_groups(sampled.rewards).nonzero().flatten().tolist()
            if not silent:
                break
            # All that is random hangs on (step, attempt), so a resumed run draws the same.
            rng = random.Random(f"{settings.seed}/{step}/{attempt}")
            fresh = self._roll_out(rng.choices(self.rows, k=len(silent)), (step, "again", attempt))
            tokens, replaced = tokens + fresh.tokens, replaced + len(silent)
            sampled = sampled.with_groups(silent, fresh)
        return sampled, tokens, replaced

    def _roll_out(self, rows: Sequence[Row], stream: tuple[int | str, ...]) -> Sampled:
        """G scored completions of each row; `stream` seeds them."""
        settings = self.settings
        sampling = Sampling(
            settings.max_completion_length, settings.temperature, settings.top_p, settings.top_k
        )
        group_size = settings.num_generations
        seeds = [
            [completion_seed(settings.seed, *stream, slot, g) for g in range(group_size)]
            for slot in range(len(rows))
        ]
        written = rollout(self.policy, [row.prompt for row in rows], sampling, seeds)
        syntax = self.policy.prompter.syntax
        scored = [
            [score(w.text, row.example, syntax, self.rewards, finished=w.finished) for w in group]
            for row, group in zip(rows, written, strict=True)
        ]
        faults = [s.fault for group in scored for s in group if s.fault]
        require_few(faults, len(rows) * group_size)
        return Sampled(rows, written, scored)

    def _batch(self, sampled: Sampled) -> tuple[Batch, torch.Tensor]:
        """The part of a rollout that carries a gradient, and all rewards [B, G]."""
        settings = self.settings
        rewards = sampled.rewards  # [B, G]
        judged = ~rewards.isnan().flatten()  # [N]
        flat = [w for group in sampled.written for w in group]  # [N]
        lengths = torch.tensor([len(w.token_ids) for w in flat])
        masked = settings.mask_truncated_completions
        kept = judged & torch.tensor([w.finished or not masked for w in flat])
        weights = grpo.token_weights(
            lengths, kept, settings.loss_type, settings.max_completion_length
        )
        # With a KL term a group of equal rewards still has something to say.
        silent = grpo.equal_groups(rewards) & (settings.beta == 0)
        groups = [
            group
            for number in range(len(sampled.rows))
            if not silent[number] and (group := _group(sampled, number, kept.tolist()))
        ]
        values = grpo.advantages(rewards, settings.scale_rewards).flatten()  # [N]
        return Batch(groups, weights, values), rewards


def _group(sampled: Sampled, number: int, kept: Sequence[bool]) -> Group | None:
    """Group `number` without its masked completions; None when none is left."""
    written = sampled.written[number]
    first = number * len(written)
    owners = [first + g for g in range(len(written)) if kept[first + g]]
    if not owners:
        return None
    completions = [written[owner - first].token_ids for owner in owners]
    return Group(sampled.rows[number].prompt, completions, owners)


def _cuda_devices(policy: Policy) -> list[torch.device]:
    return [policy.device] if policy.device.type == "cuda" else []
