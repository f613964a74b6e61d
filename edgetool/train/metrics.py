"""A step in numbers, under the names TRL's GRPOTrainer logs them by, and where they go."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgetool.errors import UsageError
from edgetool.files import read_log, write_text
from edgetool.rewards.scoring import Scored, WeightedReward
from edgetool.system import device_mb, resident_mb
from edgetool.train import grpo_loss
from edgetool.train.rollout import RolloutCompletion
from edgetool.train.rollout_batch import RolloutBatch
from edgetool.train.update import UpdateMetrics

METRICS = "metrics.jsonl"


def step_metrics(
    sampled: RolloutBatch,
    rewards: Tensor,
    functions: Sequence[WeightedReward],
    trained: UpdateMetrics,
) -> dict[str, float]:
    """Everything about a step but its clock. Rates in [0, 1], lengths in tokens, entropy and KL in
    nats per trained token, memory in MiB. `rewards` is [B, G]."""
    return {
        "loss": trained.loss,
        "grad_norm": trained.grad_norm,
        "skipped_updates": trained.not_finite,
        "replaced_groups": sampled.replaced,
        "reward": float(rewards.nanmean()),
        "reward_std": float(grpo_loss.spread(rewards, dim=1).mean()),
        "reward_faults": int(rewards.isnan().sum()),
        "frac_reward_zero_std": float(grpo_loss.equal_groups(rewards).float().mean()),
        **_rewards([s for group in sampled.scored for s in group], functions),
        **_lengths([w for group in sampled.written for w in group]),
        "entropy": trained.per_token(trained.entropy_sum),
        "kl": trained.per_token(trained.kl_sum),
        "clip_ratio": trained.per_token(trained.clipped_low + trained.clipped_high),
        "clip_ratio/low_mean": trained.per_token(trained.clipped_low),
        "clip_ratio/high_mean": trained.per_token(trained.clipped_high),
        "sampling/importance_sampling_ratio/mean": trained.per_token(trained.correction_sum),
        "sampling/kl": trained.sampling_kl,
        **memory_metrics(),
    }


def memory_metrics() -> dict[str, float]:
    """What the process holds now, and the most that torch took on a GPU, in MiB."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {"rss_mb": resident_mb(), "device_mb": device_mb(device)}


def _rewards(scored: Sequence[Scored], functions: Sequence[WeightedReward]) -> dict[str, float]:
    total = len(scored)
    scores = torch.tensor([s.scores for s in scored])  # [N, functions]
    means = {
        f"rewards/{function.name}/mean": float(scores[:, i].nanmean())
        for i, function in enumerate(functions)
    }
    verdicts = [s.verdict for s in scored]
    return {
        **means,
        "valid": sum(v.valid for v in verdicts) / total,
        "right_tool": sum(v.right_tool for v in verdicts) / total,
        "exact": sum(v.exact for v in verdicts) / total,
    }


def _lengths(written: Sequence[RolloutCompletion]) -> dict[str, float]:
    lengths = [len(w.token_ids) for w in written]
    return {
        "completions/mean_length": sum(lengths) / len(lengths),
        "completions/min_length": min(lengths),
        "completions/max_length": max(lengths),
        "completions/clipped_ratio": sum(not w.finished for w in written) / len(written),
    }


class MetricsFile:
    """metrics.jsonl: one JSON object per logged step, appended whole or not at all."""

    def __init__(self, path: Path, resumed_from: int = 0) -> None:
        self.path = path
        self._keep_until(resumed_from)

    def append(self, row: Mapping[str, float]) -> None:
        line = json.dumps({name: _round(value) for name, value in row.items()}) + "\n"
        with self.path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                if file.write(line.encode()) < len(line):  # a disk that fills up takes a part
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            except OSError:
                file.truncate(before)
                raise

    def _keep_until(self, step: int) -> None:
        """Drop rows of steps that will run again, and a last line that a crash cut off."""
        kept = [row for row in read_log(self.path) if row["step"] <= step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))


def _round(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.6g}")


def tensorboard_writer(folder: Path) -> Any:
    """A SummaryWriter. Raises UsageError with the way to install it when it is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "report_to: tensorboard is not installed; type `pip install tensorboard` or remove it "
            "from report_to"
        ) from error
    return SummaryWriter(str(folder))
