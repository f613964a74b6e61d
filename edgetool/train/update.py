"""One GRPO update: packed forward and backward passes, gradient clipping, AdamW."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from edgetool.errors import EdgetoolError
from edgetool.train import grpo_loss
from edgetool.train.distributed import ALONE, Ranks
from edgetool.train.gradient import (
    add_gradient,
    learning,
    micro_batches_of,
    optimizer_step,
    packed,
)
from edgetool.train.oom import MicroBatchSplitter
from edgetool.train.packing import Group, PackedBatch
from edgetool.train.policy import Network, Policy
from edgetool.train.settings import RESTARTS, GRPOSettings, StepSettings

# Logits of so many bytes are alive at a time; the rest is recomputed on the way back.
LOGITS_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Batch:
    """What a step trains on: N completions of at most C tokens.

    groups          those that carry a gradient
    weights         float32 [N], see grpo_loss.token_weights
    advantages      float32 [N]
    sampled_logps   float32 [N, C], natural log-probabilities the tokens were drawn with; read
                    only where importance_sampling_cap is set
    """

    groups: Sequence[Group]
    weights: Tensor
    advantages: Tensor
    sampled_logps: Tensor | None = None

    def blank(self) -> Tensor:
        """NaN for every token: float32 [N, C]."""
        longest = max((len(ids) for g in self.groups for ids in g.completions), default=0)
        return torch.full((len(self.weights), longest), math.nan)


class DriftError(EdgetoolError):
    """Another policy wrote the completions than the one that is trained."""


@dataclass
class UpdateMetrics:
    """Sums over a step's trained tokens and iterations, in nats where they are nats."""

    loss: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    entropy_sum: float = 0.0
    kl_sum: float = 0.0
    clipped_low: int = 0
    clipped_high: int = 0
    correction_sum: float = 0.0
    sampling_kl_sum: float = 0.0
    not_finite: int = 0  # iterations whose loss or gradient was NaN or infinite: not applied

    def per_token(self, value: float) -> float:
        return value / self.tokens if self.tokens else 0.0

    @property
    def sampling_kl(self) -> float:
        """From what the completions were drawn from to the old policy, nats per token."""
        return self.per_token(self.sampling_kl_sum)

    def add(self, other: UpdateMetrics, ranks: Ranks) -> None:
        """Add what all ranks have counted."""
        names = [entry.name for entry in dataclasses.fields(self)]
        counted = torch.tensor([getattr(other, name) for name in names], dtype=torch.float64)
        for name, value in zip(names, ranks.sum(counted).tolist(), strict=True):
            kind = type(getattr(self, name))
            setattr(self, name, getattr(self, name) + kind(value))


@dataclass
class UpdateState:
    """An update between two of its iterations.

    iteration   how many are done
    old_logps   float32 [N, C] under the policy before the first; NaN where there is no token
    """

    old_logps: Tensor
    iteration: int = 0
    metrics: UpdateMetrics = field(default_factory=UpdateMetrics)


class Update:
    """`num_iterations` optimizer steps on one batch of completions, one at a time.

    The old policy is the one before the first of them: its log-probabilities are those the first
    pass computes anyway, so a single iteration needs no extra forward pass.

    state   go on from there; None: from the start
    """

    def __init__(
        self,
        policy: Policy,
        batch: Batch,
        settings: GRPOSettings,
        optimizer: torch.optim.Optimizer,
        splitter: MicroBatchSplitter | None = None,
        state: UpdateState | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.policy, self.batch, self.settings = policy, batch, settings
        self.optimizer, self.splitter, self.ranks = (
            optimizer,
            splitter or MicroBatchSplitter(),
            ranks,
        )
        self.state = state or UpdateState(batch.blank())
        self.reference_logps = batch.blank()
        self.parts = micro_batches_of(policy, batch.groups, settings, ranks)
        if settings.beta > 0:
            self._each_part(self._note_reference)

    @property
    def finished(self) -> bool:
        return self.state.iteration == self.settings.num_iterations

    def run(self) -> UpdateMetrics:
        """All iterations that are left."""
        while not self.finished:
            self.iterate()
        return self.state.metrics

    def iterate(self, on_pass: Callable[[int], None] = lambda _: None) -> None:
        """One optimizer step. What an exception cuts short leaves weights and state untouched.

        on_pass   told the number, from 1, of the pass through `parts` that begins
        """
        if self.batch.groups:
            self.counted = UpdateMetrics()
            with learning(self.policy, self.optimizer):
                self._each_part(self._accumulate, on_pass)
                self._apply()
        self.state.iteration += 1

    def _each_part(
        self, work: Callable[[list[Group]], None], on_pass: Callable[[int], None] = lambda _: None
    ) -> None:
        for number, groups in enumerate(self.parts, start=1):
            on_pass(number)
            self.splitter.fit(groups, work)

    def _accumulate(self, groups: list[Group]) -> None:
        """Add a micro-batch's share to the gradient, all of it or, out of memory, nothing."""
        part = packed(self.policy, groups)
        places = (part.owners.cpu(), part.offsets.cpu())
        logps, entropy = completion_logps(self.policy.network, part, self.settings.temperature)
        if self.state.iteration == 0:
            self.state.old_logps[places] = logps.detach().cpu()
        batch, device = self.batch, self.policy.device
        share = grpo_loss.loss_share(
            logps,
            self._known(places),
            part.owners,
            batch.weights.to(device),
            batch.advantages.to(device),
            self.settings,
        )
        add_gradient(self.policy, share.loss)
        counted, loss = self.counted, float(share.loss.detach())
        counted.loss += loss / self.settings.num_iterations if math.isfinite(loss) else 0.0
        counted.tokens += len(part.targets)
        counted.entropy_sum += float(entropy.sum())
        counted.kl_sum += share.kl_sum
        counted.correction_sum += share.correction_sum
        counted.sampling_kl_sum += share.sampling_kl_sum
        counted.clipped_low += share.clipped.low
        counted.clipped_high += share.clipped.high

    def _apply(self) -> None:
        """Step with what all ranks have gathered."""
        settings, metrics = self.settings, self.state.metrics
        metrics.add(self.counted, self.ranks)
        if self.state.iteration == 0:
            self._require_near()
            self._share_old_logps()
        norm = optimizer_step(self.policy, self.optimizer, settings, self.ranks)
        if math.isfinite(norm):
            metrics.grad_norm += norm / settings.num_iterations
        else:
            metrics.not_finite += 1

    def _require_near(self) -> None:
        """Raises DriftError, before anything is learned, where the rollout is another policy's."""
        kl, most = self.state.metrics.sampling_kl, self.settings.max_sampling_kl
        if kl > most:
            raise DriftError(
                f"what the rollout was sampled from is {kl:.3g} nats a token away from the trained "
                f"policy, and grpo.max_sampling_kl is {most:g}: another model, file or adapter "
                "writes the completions than is trained; check rollout.gguf or rollout.url, or set "
                "rollout.engine=torch"
            )

    def _share_old_logps(self) -> None:
        """Rank 0 saves everybody's, and who resumes may hold other groups."""
        known = self.ranks.sum((~self.state.old_logps.isnan()).float())
        total = self.ranks.sum(self.state.old_logps.nan_to_num(0.0))
        self.state.old_logps = torch.where(known > 0, total, math.nan)

    def _note_reference(self, groups: list[Group]) -> None:
        part = packed(self.policy, groups)
        with torch.no_grad(), self.policy.reference():
            logps, _ = completion_logps(self.policy.network, part, self.settings.temperature)
        self.reference_logps[part.owners.cpu(), part.offsets.cpu()] = logps.cpu()

    def _known(self, places: tuple[Tensor, Tensor]) -> grpo_loss.KnownLogps:
        def at(table: Tensor | None) -> Tensor | None:
            return None if table is None else table[places].to(self.policy.device)

        return grpo_loss.KnownLogps(
            old=self.state.old_logps[places].to(self.policy.device),
            sampled=at(self.batch.sampled_logps),
            reference=at(self.reference_logps) if self.settings.beta > 0 else None,
        )


# Log-probabilities [t, V] and targets [t] -> float32 [t, ...]
Measure = Callable[[Tensor, Tensor], Tensor]


def entropies(logps: Tensor, targets: Tensor) -> Tensor:
    """Of each token's distribution, float32 [t], nats."""
    return -(logps.exp() * logps).nan_to_num(0.0).sum(dim=-1)


def completion_logps(
    network: Network, batch: PackedBatch, temperature: float, measure: Measure = entropies
) -> tuple[Tensor, Tensor]:
    """Log-probability of each completion token under softmax(logits / temperature), and what
    `measure` reads off the distribution it was drawn from.

    -> float32 [T] with gradient, float32 [T, ...] without; in nats. Logits are made in chunks, so
    that [T, V] never exists at once.
    """
    out = network.hidden(
        batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=batch.mask,
        use_cache=False,
        prefix=batch.prefix,
    )
    hidden = out.last_hidden_state.flatten(0, 1)[batch.sources]  # [T, H]
    vocabulary = network.causal.config.vocab_size
    size = max(1, LOGITS_BYTES // (4 * vocabulary))
    parts = [
        _chunk(network, rows, targets, temperature, measure, recompute=len(hidden) > size)
        for rows, targets in zip(hidden.split(size), batch.targets.split(size), strict=True)
    ]
    return torch.cat([logps for logps, _ in parts]), torch.cat([found for _, found in parts])


def _chunk(
    network: Network,
    hidden: Tensor,
    targets: Tensor,
    temperature: float,
    measure: Measure,
    *,
    recompute: bool,
) -> tuple[Tensor, Tensor]:
    def head(rows: Tensor) -> tuple[Tensor, Tensor]:
        logps = (network.logits(rows) / temperature).log_softmax(dim=-1)  # [t, V]
        with torch.no_grad():
            found = measure(logps, targets)
        return logps.gather(1, targets[:, None])[:, 0], found

    if recompute and torch.is_grad_enabled():
        return checkpoint(head, hidden, use_reentrant=False)
    return head(hidden)


def make_optimizer(policy: Policy, settings: StepSettings) -> torch.optim.Optimizer:
    """AdamW on the adapter's matrices and on nothing else."""
    kind: Any = torch.optim.AdamW
    if settings.optim == "adamw_8bit":
        from bitsandbytes.optim import AdamW8bit

        kind = AdamW8bit
    made: torch.optim.Optimizer = kind(
        policy.trainable().values(),
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        weight_decay=settings.weight_decay,
    )
    return made


def learning_rate(step: int, settings: StepSettings) -> float:
    """The rate of step 0, 1, ...: linear warm-up, then constant, a line or half a cosine to 0, once
    or, with restarts, `num_cycles` times."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    decay_steps = max(1, settings.max_steps - settings.warmup_steps)
    done = min(1.0, (step - settings.warmup_steps) / decay_steps)
    if settings.lr_scheduler_type == "linear":
        return settings.learning_rate * (1 - done)
    if settings.lr_scheduler_type in ("cosine", RESTARTS):
        cycles = settings.lr_scheduler_kwargs.get("num_cycles", 1)
        turn = cycles * done % 1 if done < 1 else 1.0
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * turn))
    return settings.learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, settings: StepSettings) -> float:
    """The rate of a step, given to the optimizer."""
    rate = learning_rate(step, settings)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
