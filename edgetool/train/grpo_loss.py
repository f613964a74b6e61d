"""The arithmetic of GRPO, on tensors alone: no model, no text, no state.

Sources: GRPO arXiv:2402.03300; clip ranges and token-level loss of DAPO arXiv:2503.14476; Dr. GRPO
arXiv:2503.20783; GSPO arXiv:2507.18071; CISPO in MiniMax-M1, arXiv:2506.13585, section 3.1; the k3
estimator http://joschu.net/blog/kl-approx.html and its weight in DeepSeek-V3.2, arXiv:2512.02556,
section 3.1. Where a paper leaves a choice open (unbiased standard deviation, eps = 1e-4, what a
masked completion counts for) TRL's is taken, so that the same settings give the same update.

Tokens of all completions stand in one flat dimension T; `owner` [T] says whose each one is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from edgetool.train.settings import GRPOSettings

ADVANTAGE_EPS = 1e-4


def advantages(rewards: Tensor, scale_rewards: str = "group") -> Tensor:
    """A = (r - mean_G r) / (std r + eps)   GRPO eq. under 4.1.2, outcome supervision.

    rewards: float32 [B, G], unitless -> float32 [B, G]; a group of equal rewards gives zeros. NaN
    is a completion without a reward: it counts for no mean or std, and its advantage is 0.
    scale_rewards: the std is the group's, the whole batch's, or ("none") left out (Dr. GRPO).
    Raises ValueError when G < 2.
    """
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards must be [B, G] with G >= 2, got {list(rewards.shape)}")
    centred = rewards - rewards.nanmean(dim=1, keepdim=True)
    # Rounding of the mean must not turn a group of equal rewards into a tiny gradient.
    silent = equal_groups(rewards)[:, None] | rewards.isnan()
    centred = torch.where(silent, torch.zeros_like(centred), centred)
    if scale_rewards == "group":
        return centred / (spread(rewards, dim=1) + ADVANTAGE_EPS)
    if scale_rewards == "batch":
        return centred / (spread(rewards.flatten()[None], dim=1) + ADVANTAGE_EPS)
    return centred


def spread(values: Tensor, dim: int) -> Tensor:
    """The unbiased standard deviation of what is not NaN, the dimension kept; 0 of fewer than 2."""
    squares = (values - values.nanmean(dim=dim, keepdim=True)) ** 2
    known = (~values.isnan()).sum(dim=dim, keepdim=True)
    return (squares.nansum(dim=dim, keepdim=True) / (known - 1).clamp(min=1)).sqrt()


def equal_groups(rewards: Tensor) -> Tensor:
    """Which groups have equal rewards, NaN aside, and so nothing to say: [B, G] -> bool [B]."""
    low = torch.where(rewards.isnan(), math.inf, rewards).amin(dim=1)
    high = torch.where(rewards.isnan(), -math.inf, rewards).amax(dim=1)
    return low >= high


def token_weights(lengths: Tensor, kept: Tensor, loss_type: str, max_length: int) -> Tensor:
    """What one token of each completion weighs in the loss: float32 [N], 0 where not kept.

    The loss is sum_t weight[owner[t]] * token_loss[t] over all completions of a step:

        grpo      1 / (N |o_i|)     mean over completions of the mean over tokens, GRPO eq. 3
        dr_grpo   1 / (N C_max)     Dr. GRPO, no length bias
        dapo      1 / sum |o_i|     DAPO eq. 8, over the whole step
        bnpo      as dapo: our local batch is the whole step
        cispo     as dapo

    lengths: [N] tokens per completion, all >= 1; kept: bool [N], False for masked completions. N
    counts every completion of the step, masked or of an equal group too; tokens only the kept ones.
    """
    total = len(lengths)
    if loss_type == "grpo":
        weights = 1.0 / (total * lengths.float())
    elif loss_type == "dr_grpo":
        weights = torch.full((total,), 1.0 / (total * max_length))
    else:
        tokens = lengths[kept].sum().clamp(min=1)
        weights = torch.full((total,), 1.0 / float(tokens))
    return torch.where(kept, weights, torch.zeros_like(weights))


@dataclass(frozen=True)
class ClipRange:
    """The ratio of new to old probability is clipped to [1 - low, 1 + high]."""

    low: float
    high: float


def log_ratios(logps: Tensor, old_logps: Tensor, owners: Tensor, level: str) -> Tensor:
    """log(new / old probability) of each token, or of its completion per token   GSPO eq. 7.

    logps, old_logps: [T], natural logarithms; owners: int64 [T], whose each token is. At level
    "sequence" all tokens of a completion have the mean of its differences, and its gradient.
    """
    differences = logps - old_logps
    if level == "token":
        return differences
    _, places, counts = owners.unique(return_inverse=True, return_counts=True)
    sums = differences.new_zeros(len(counts)).index_add(0, places, differences)
    return (sums / counts)[places]


def token_losses(log_ratio: Tensor, token_advantages: Tensor, clip: ClipRange) -> Tensor:
    """-min(ratio A, clip(ratio) A) per token   GRPO eq. 3; GSPO eq. 5 for a sequence's ratio.

    All [T] -> [T].
    """
    ratio = torch.exp(log_ratio)
    clipped = ratio.clamp(1 - clip.low, 1 + clip.high)
    return -torch.min(ratio * token_advantages, clipped * token_advantages)


def cispo_losses(logps: Tensor, log_ratio: Tensor, token_advantages: Tensor, cap: float) -> Tensor:
    """-stop_gradient(min(ratio, cap)) A log p per token   CISPO: no token's gradient is cut.

    All [T], natural logarithms -> [T].
    """
    return -torch.exp(log_ratio).clamp(max=cap).detach() * token_advantages * logps


def k3(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """KL(policy || reference) per token, Schulman's k3: e^d - d - 1 with d = ref - policy, >= 0.

    [T], [T] -> [T], nats. GRPO eq. 4.
    """
    difference = reference_logps - logps
    return torch.expm1(difference) - difference


def truncated_ratios(old_logps: Tensor, sampled_logps: Tensor, cap: float) -> Tensor:
    """min(old / sampling probability, cap) per token: the truncated importance correction.

    For completions that another engine drew, or this one in other arithmetic: what it drew from is
    not quite the old policy (Yao et al., 2025, "Your efficient RL framework secretly brings you
    off-policy RL training"; TRL's vllm_importance_sampling_cap). [T], [T], nats -> [T].
    """
    return torch.exp(old_logps - sampled_logps).clamp(max=cap)


def corrected(kl: Tensor, log_ratio: Tensor) -> Tensor:
    """KL per token weighed by the probability ratio   "unbiased KL estimate" of DeepSeek-V3.2.

    The ratio stays in the gradient: even where it is 1, that of k3 alone is not the gradient of the
    KL divergence, because the tokens were drawn from a policy that moves. All [T] -> [T].
    """
    return torch.exp(log_ratio) * kl


@dataclass(frozen=True)
class ClipCounts:
    """How many tokens the clip cut off, below and above."""

    low: int
    high: int


def clip_counts(log_ratio: Tensor, token_advantages: Tensor, clip: ClipRange) -> ClipCounts:
    """Tokens whose gradient the clip removes: ratio too low for A < 0, too high for A > 0."""
    ratio = torch.exp(log_ratio.detach())
    low = (ratio < 1 - clip.low) & (token_advantages < 0)
    high = (ratio > 1 + clip.high) & (token_advantages > 0)
    return ClipCounts(int(low.sum()), int(high.sum()))


@dataclass(frozen=True)
class KnownLogps:
    """Log-probabilities that carry no gradient, float32 [t] each, nats."""

    old: Tensor
    sampled: Tensor | None
    reference: Tensor | None


@dataclass(frozen=True)
class LossShare:
    """A micro-batch's share of the step's loss, and what is counted beside it."""

    loss: Tensor
    kl_sum: float
    correction_sum: float
    sampling_kl_sum: float  # KL(what the tokens were drawn from || old policy), by k3
    clipped: ClipCounts


def loss_share(
    logps: Tensor,
    known: KnownLogps,
    owners: Tensor,
    weights: Tensor,
    completion_advantages: Tensor,
    settings: GRPOSettings,
) -> LossShare:
    """What the tokens of a micro-batch add to the step's loss, as the settings have it.

    logps: [t] with gradient; owners: int64 [t], whose each token is; weights (see token_weights)
    and completion_advantages: float32 [N]. The shares of all micro-batches add up to the loss.
    """
    token_advantages = completion_advantages[owners]  # [t]
    level = settings.importance_sampling_level
    log_ratio = log_ratios(logps, known.old, owners, level)  # [t]
    if settings.loss_type == "cispo":
        # The cap is the whole upper end, and there is no lower one.
        clip = ClipRange(math.inf, settings.clip_high - 1)
        losses = cispo_losses(logps, log_ratio, token_advantages, settings.clip_high)
    else:
        clip = ClipRange(settings.epsilon, settings.clip_high)
        losses = token_losses(log_ratio, token_advantages, clip)
    correction, sampling_kl = torch.ones_like(log_ratio), 0.0
    if settings.importance_sampling_cap and known.sampled is not None:
        sampling_kl = float(k3(known.sampled, known.old).sum())
        correction = truncated_ratios(known.old, known.sampled, settings.importance_sampling_cap)
        losses = losses * correction
    kl_sum = 0.0
    if known.reference is not None:
        kl = k3(logps, known.reference)
        if settings.use_bias_correction_kl:
            kl = corrected(kl, log_ratio)
        losses = losses + settings.beta * kl
        kl_sum = float(kl.detach().sum())
    return LossShare(
        (weights[owners] * losses).sum(),
        kl_sum,
        float(correction.sum()),
        sampling_kl,
        clip_counts(log_ratio, token_advantages, clip),
    )
