"""One step: prompts -> completions -> scores -> advantages -> update -> metrics."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from edgetool.activity import Activity
from edgetool.rewards.batch import Attempt, TrainerState
from edgetool.rewards.schedule import RewardWeights
from edgetool.rewards.scoring import WeightedReward, require_few, score, score_together
from edgetool.runtime import Sampling
from edgetool.train import grpo_loss
from edgetool.train.distributed import ALONE, Ranks
from edgetool.train.engines import RolloutEngine, TorchEngine
from edgetool.train.gradient import seeded_dropout
from edgetool.train.metrics import step_metrics
from edgetool.train.oom import MicroBatchSplitter
from edgetool.train.packing import Group
from edgetool.train.partial_step import PartialStep
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion, completion_seed
from edgetool.train.rollout_batch import RolloutBatch
from edgetool.train.rows import Row, digest, visited
from edgetool.train.settings import ENGINE_CAP, GRPOSettings
from edgetool.train.update import (
    Batch,
    DriftError,
    Update,
    UpdateMetrics,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)


@dataclass(frozen=True)
class StepReport:
    """What came out of a step: its number from 1, a metrics row, and the rollout itself."""

    step: int
    max_steps: int
    metrics: dict[str, float]
    sampled: RolloutBatch

    @property
    def rows(self) -> Sequence[Row]:
        return self.sampled.rows


class Interrupted(Exception):
    """The user asked to stop in the middle of a step; `Stepper.begun` holds what it has."""


class Stepper:
    """Runs steps. All that changes: the adapter, the optimizer, the rewards' weights, `num_tokens`
    and `begun`."""

    def __init__(
        self,
        policy: Policy,
        rows: Sequence[Row],
        rewards: Sequence[WeightedReward],
        settings: GRPOSettings,
        on_note: Callable[[str], None] | None = None,
        ranks: Ranks = ALONE,
        activity: Activity | None = None,
        engine: RolloutEngine | None = None,
    ) -> None:
        self.policy, self.rows, self.rewards, self.settings = policy, rows, rewards, settings
        self.activity = activity or Activity()
        self.weights = RewardWeights([r.weight for r in rewards], [r.schedule for r in rewards])
        self.optimizer = make_optimizer(policy, settings)
        self.splitter, self.ranks = MicroBatchSplitter(on_note), ranks
        self.engine = engine or TorchEngine(policy)
        self._writer, self._note = self.engine, on_note or (lambda _: None)
        self.num_tokens = 0
        self.begun: PartialStep | None = None

    def identity(self) -> dict[str, Any]:
        """What beside the settings makes a resumed run the same run."""
        rewards = {
            r.name: {"weight": r.weight, **(asdict(r.schedule) if r.schedule else {})}
            for r in self.rewards
        }
        return {"rows": digest(self.rows), "rewards": rewards}

    def state(self) -> dict[str, Any]:
        return self.weights.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.weights.restore(state)

    def run(self, step: int, stop_wanted: Callable[[], bool] = lambda: False) -> StepReport:
        """Step 0, 1, ..., or the rest of it when it is the one that was begun.

        Raises Interrupted when a stop is wanted between the rollout and the end of the update.
        """
        begun = self.begun
        if begun is None or begun.step != step:
            started = time.perf_counter()
            sampled = self._sample(step)
            begun = self.begun = PartialStep(step, sampled, time.perf_counter() - started)
        batch, rewards = self._batch(begun.sampled)
        trained = self._update(begun, batch, stop_wanted)
        self.begun = None
        self.num_tokens += begun.sampled.tokens
        seconds = begun.rollout_seconds + begun.train_seconds
        metrics = {
            "step": step + 1,
            **step_metrics(begun.sampled, rewards, self.rewards, trained),
            **self._changing_weights(),
            "learning_rate": learning_rate(step, self.settings),
            "num_tokens": self.num_tokens,
            "step_time": seconds,
            "rollout_time": begun.rollout_seconds,
            "train_time": begun.train_seconds,
            "tokens_per_second": begun.sampled.tokens / seconds,
        }
        self.weights.observe([s.scores for group in begun.sampled.scored for s in group])
        return StepReport(step + 1, self.settings.max_steps, metrics, begun.sampled)

    def _changing_weights(self) -> dict[str, float]:
        return {
            f"rewards/{reward.name}/weight": weight
            for reward, weight in zip(self.rewards, self.weights.now, strict=True)
            if reward.schedule
        }

    def _update(
        self, begun: PartialStep, batch: Batch, stop_wanted: Callable[[], bool]
    ) -> UpdateMetrics:
        """The iterations that are left of a step."""
        if self.ranks.any(stop_wanted()):
            raise Interrupted
        started, before = time.perf_counter(), begun.train_seconds
        set_learning_rate(self.optimizer, begun.step, self.settings)
        update = Update(
            self.policy,
            batch,
            replace(self.settings, importance_sampling_cap=self._cap),
            self.optimizer,
            self.splitter,
            begun.state,
            self.ranks,
        )
        while True:
            try:
                self._iterate(update, begun.step)
            except DriftError:
                self.begun = None  # its completions are of no use to whoever goes on
                raise
            begun.state, begun.train_seconds = update.state, before + time.perf_counter() - started
            if update.finished:
                return update.state.metrics
            if self.ranks.any(stop_wanted()):
                raise Interrupted

    @property
    def _cap(self) -> float | None:
        default = None if self.engine.exact else ENGINE_CAP
        return self.settings.importance_sampling_cap or default

    def _iterate(self, update: Update, step: int) -> None:
        iteration, count = update.state.iteration, self.settings.num_iterations
        which = f", iteration {iteration + 1} of {count}" if count > 1 else ""
        self.activity.begin(f"step {step + 1}: learning{which}", "pass", len(update.parts))
        with seeded_dropout(self.policy, self.settings.seed, step, "dropout", iteration):
            update.iterate(self.activity.reach)

    def _sample(self, step: int) -> RolloutBatch:
        """The step's groups, those of equal rewards replaced where that is asked for."""
        settings = self.settings
        self._writer = self._ready_engine(step)
        size = settings.prompts_per_step * settings.gradient_accumulation_steps
        picked = visited(step, len(self.rows), size, settings.seed)
        sampled = self._roll_out([self.rows[i] for i in picked], (step,))
        for attempt in range(1, settings.dynamic_sampling + 1):
            silent = grpo_loss.equal_groups(sampled.rewards).nonzero().flatten().tolist()
            if not silent:
                break
            # All that is random hangs on (step, attempt), so a resumed run draws the same.
            rng = random.Random(f"{settings.seed}/{step}/{attempt}")
            fresh = self._roll_out(rng.choices(self.rows, k=len(silent)), (step, "again", attempt))
            sampled = sampled.with_groups(silent, fresh)
        return sampled

    def _ready_engine(self, step: int) -> RolloutEngine:
        """The engine with the adapter of now; torch where there is no place to write it to."""
        try:
            self.engine.load_adapter()
        except OSError as error:
            self._note(
                f"step {step + 1}: torch writes the completions, as the adapter could not be "
                f"written for the engine '{self.engine.name}' ({error.strerror or error})"
            )
            return TorchEngine(self.policy)
        return self.engine

    def _roll_out(self, rows: Sequence[Row], stream: tuple[int | str, ...]) -> RolloutBatch:
        """G scored completions of each row, every rank's share of them; `stream` seeds them."""
        size = self.settings.num_generations
        seeds = [
            [completion_seed(self.settings.seed, *stream, slot, g) for g in range(size)]
            for slot in range(len(rows))
        ]
        state = TrainerState(int(stream[0]), self.settings.max_steps)
        sampled = self._write(self.ranks.share(rows), self.ranks.share(seeds), state)
        if self.ranks.size > 1:
            syntax = self.policy.prompter.syntax
            everyones = self.ranks.gather(sampled.as_json(self.rows))
            sampled = RolloutBatch.dealt(
                [RolloutBatch.from_json(one, self.rows, syntax) for one in everyones]
            )
        faults = [s.fault for group in sampled.scored for s in group if s.fault]
        require_few(faults, len(rows) * size)
        return sampled

    def _write(
        self, rows: Sequence[Row], seeds: Sequence[Sequence[int]], state: TrainerState
    ) -> RolloutBatch:
        settings, syntax = self.settings, self.policy.prompter.syntax
        sampling = Sampling(
            settings.max_completion_length, settings.temperature, settings.top_p, settings.top_k
        )
        number = state.global_step + 1
        written = self._roll_out_parts([row.prompt for row in rows], sampling, seeds, number)
        self.activity.begin(f"step {number}: scoring {len(rows) * len(seeds[0])} completions")
        flat = [(row.example, w) for row, group in zip(rows, written, strict=True) for w in group]
        attempts = [Attempt(example, w.text, w.token_ids) for example, w in flat]
        scored = [  # [N]
            score(
                w.text,
                example,
                syntax,
                self.rewards,
                finished=w.finished,
                weights=self.weights.now,
                together=together,
            )
            for (example, w), together in zip(
                flat, score_together(attempts, self.rewards, state), strict=True
            )
        ]
        size = settings.num_generations
        return RolloutBatch.of(rows, written, [scored[i * size :][:size] for i in range(len(rows))])

    def _roll_out_parts(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        number: int,
    ) -> list[list[RolloutCompletion]]:
        """Completions of all prompts, `prompts_per_step` prompts at a time, in step `number`."""
        size, limit = self.settings.prompts_per_step, f"at most {sampling.max_completion_length}"
        written: list[list[RolloutCompletion]] = []
        for start in range(0, len(prompts), size):
            part = slice(start, start + size)
            of = f" (prompts {start + 1} to {start + len(prompts[part])} of {len(prompts)})"
            count = sum(map(len, seeds[part]))
            what = f"step {number}: writing {count} completions"
            self.activity.begin(what + of * (len(prompts) > size), "token", limit)
            reach = self.activity.reach
            written += self._writer.write(prompts[part], sampling, seeds[part], reach)
        return written

    def _batch(self, sampled: RolloutBatch) -> tuple[Batch, torch.Tensor]:
        """The part of a rollout that carries a gradient, and all rewards [B, G]."""
        settings = self.settings
        rewards = sampled.rewards  # [B, G]
        judged = ~rewards.isnan().flatten()  # [N]
        flat = [w for group in sampled.written for w in group]  # [N]
        lengths = torch.tensor([len(w.token_ids) for w in flat])
        masked = settings.mask_truncated_completions
        kept = judged & torch.tensor([w.finished or not masked for w in flat])
        weights = grpo_loss.token_weights(
            lengths, kept, settings.loss_type, settings.max_completion_length
        )
        # With a KL term a group of equal rewards still has something to say.
        silent = grpo_loss.equal_groups(rewards) & (settings.beta == 0)
        groups = [
            group
            for number in range(len(sampled.rows))
            if not silent[number] and (group := _group(sampled, number, kept.tolist()))
        ]
        values = grpo_loss.advantages(rewards, settings.scale_rewards).flatten()  # [N]
        drawn_with = sampled.logps if self._cap else None
        return Batch(groups, weights, values, drawn_with), rewards


def _group(sampled: RolloutBatch, number: int, kept: Sequence[bool]) -> Group | None:
    """Group `number` without its masked completions; None when none is left."""
    written = sampled.written[number]
    first = number * len(written)
    owners = [first + g for g in range(len(written)) if kept[first + g]]
    if not owners:
        return None
    completions = [written[owner - first].token_ids for owner in owners]
    return Group(sampled.rows[number].prompt, completions, owners)
