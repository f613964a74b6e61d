"""One GRPO update: packed forward and backward passes, gradient clipping, AdamW."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from edgetool.train import grpo
from edgetool.train.packing import Group, PackedBatch, micro_batches, pack
from edgetool.train.policy import Network, Policy
from edgetool.train.settings import GRPOSettings
from edgetool.train.support import layer_windows

# Logits of so many bytes are alive at a time; the rest is recomputed on the way back.
LOGITS_BYTES = 64 * 2**20
# packed_tokens when the settings leave it open. Measured on 2 AVX2 cores: 2048 is 25 % faster than
# 8192, because a layer's activations stay in the cache.
CPU_TOKENS, GPU_TOKENS = 2048, 16384


@dataclass(frozen=True)
class Batch:
    """What a step trains on.

    groups       those that carry a gradient
    weights      float32 [N], see grpo.token_weights; N counts every completion of the step
    advantages   float32 [N]
    """

    groups: Sequence[Group]
    weights: Tensor
    advantages: Tensor


@dataclass
class UpdateMetrics:
    """Sums and means over the step's trained tokens and iterations, in nats where they are nats."""

    loss: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    entropy_sum: float = 0.0
    kl_sum: float = 0.0
    clipped_low: int = 0
    clipped_high: int = 0
    not_finite: int = 0  # iterations whose loss or gradient was NaN or infinite: not applied

    def per_token(self, value: float) -> float:
        return value / self.tokens if self.tokens else 0.0


def update(
    policy: Policy, batch: Batch, settings: GRPOSettings, optimizer: torch.optim.Optimizer
) -> UpdateMetrics:
    """`num_iterations` optimizer steps on one batch of completions.

    The old policy is the one before the first of them: its log-probabilities are those the first
    pass computes anyway, so a single iteration needs no extra forward pass.
    """
    budget = settings.packed_tokens or (CPU_TOKENS if policy.device.type == "cpu" else GPU_TOKENS)
    windows = layer_windows(policy.causal.config)
    batches = micro_batches(batch.groups, budget)
    packed = [pack(groups, windows).to(policy.device) for groups in batches]
    metrics = UpdateMetrics()
    if not packed:
        return metrics
    references = _reference_logps(policy, packed, settings)
    old: list[Tensor] = []
    policy.causal.train()
    for iteration in range(settings.num_iterations):
        optimizer.zero_grad(set_to_none=True)
        for number, part in enumerate(packed):
            logps, entropy = completion_logps(policy.network, part, settings.temperature)
            if iteration == 0:
                old.append(logps.detach())
            loss = _loss(logps, old[number], references[number], part, batch, settings, metrics)
            loss.backward()
            metrics.loss += loss.item() if bool(loss.isfinite()) else 0.0
            metrics.tokens += len(part.targets)
            metrics.entropy_sum += float(entropy.sum())
        parameters = list(policy.trainable().values())
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm))
        if math.isfinite(norm):
            metrics.grad_norm += norm / settings.num_iterations
            optimizer.step()
        else:
            metrics.not_finite += 1
    optimizer.zero_grad(set_to_none=True)
    policy.causal.eval()
    metrics.loss /= settings.num_iterations
    return metrics


def _reference_logps(
    policy: Policy, packed: Sequence[PackedBatch], settings: GRPOSettings
) -> list[Tensor | None]:
    if settings.beta == 0:
        return [None] * len(packed)
    policy.causal.eval()
    with torch.no_grad(), policy.reference():
        return [completion_logps(policy.network, p, settings.temperature)[0] for p in packed]


def _loss(
    logps: Tensor,
    old: Tensor,
    reference: Tensor | None,
    part: PackedBatch,
    batch: Batch,
    settings: GRPOSettings,
    metrics: UpdateMetrics,
) -> Tensor:
    """This micro-batch's share of the step's loss; shares add up to it exactly."""
    weights = batch.weights.to(logps.device)[part.owners]  # [T]
    advantages = batch.advantages.to(logps.device)[part.owners]  # [T]
    level = settings.importance_sampling_level
    log_ratio = grpo.log_ratios(logps, old, part.owners, level)  # [T]
    if settings.loss_type == "cispo":
        # The cap is the whole upper end, and there is no lower one.
        clip = grpo.ClipRange(math.inf, settings.clip_high - 1)
        losses = grpo.cispo_losses(logps, log_ratio, advantages, settings.clip_high)
    else:
        clip = grpo.ClipRange(settings.epsilon, settings.clip_high)
        losses = grpo.token_losses(log_ratio, advantages, clip)
    if reference is not None:
        kl = grpo.k3(logps, reference)
        losses = losses + settings.beta * kl
        metrics.kl_sum += float(kl.detach().sum())
    counts = grpo.clip_counts(log_ratio, advantages, clip)
    metrics.clipped_low += counts.low
    metrics.clipped_high += counts.high
    return (weights * losses).sum()


def completion_logps(
    network: Network, batch: PackedBatch, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each completion token under softmax(logits / temperature).

    -> float32 [T] with gradient, float32 [T] without; in nats. Logits are made in chunks, so that
    [T, V] never exists at once.
    """
    out = network.hidden(
        batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=batch.mask,
        use_cache=False,
    )
    hidden = out.last_hidden_state.flatten(0, 1)[batch.sources]  # [T, H]
    vocabulary = network.causal.config.vocab_size
    size = max(1, LOGITS_BYTES // (4 * vocabulary))
    parts = [
        _chunk(network, rows, targets, temperature, recompute=len(hidden) > size)
        for rows, targets in zip(hidden.split(size), batch.targets.split(size), strict=True)
    ]
    return torch.cat([logps for logps, _ in parts]), torch.cat([entropy for _, entropy in parts])


def _chunk(
    network: Network, hidden: Tensor, targets: Tensor, temperature: float, *, recompute: bool
) -> tuple[Tensor, Tensor]:
    def head(rows: Tensor) -> tuple[Tensor, Tensor]:
        logps = (network.logits(rows) / temperature).log_softmax(dim=-1)  # [t, V]
        with torch.no_grad():
            entropy = -(logps.exp() * logps).nan_to_num(0.0).sum(dim=-1)
        return logps.gather(1, targets[:, None])[:, 0], entropy

    if recompute and torch.is_grad_enabled():
        return checkpoint(head, hidden, use_reentrant=False)
    return head(hidden)


def make_optimizer(policy: Policy, settings: GRPOSettings) -> torch.optim.AdamW:
    """AdamW on the adapter's matrices and on nothing else."""
    return torch.optim.AdamW(
        policy.trainable().values(),
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        weight_decay=settings.weight_decay,
    )


def learning_rate(step: int, settings: GRPOSettings) -> float:
    """The rate of step 0, 1, ...: linear warm-up, then constant, a line or half a cosine to 0."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    decay_steps = max(1, settings.max_steps - settings.warmup_steps)
    done = min(1.0, (step - settings.warmup_steps) / decay_steps)
    if settings.lr_scheduler_type == "linear":
        return settings.learning_rate * (1 - done)
    if settings.lr_scheduler_type == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    return settings.learning_rate
