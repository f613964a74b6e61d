"""Who writes the completions that GRPO learns from: torch, llama.cpp or a server.

One interface for all. Torch draws from the very policy that is trained. Another engine computes in
other arithmetic, so its log-probabilities weigh the loss (see grpo_loss.truncated_ratios), and a
run stops where they are too far from the trainer's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgetool.errors import UsageError
from edgetool.runtime import Sampling
from edgetool.train.distributed import ALONE, Ranks
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion, rollout
from edgetool.train.settings import LLAMA, OPENAI, TORCH, RolloutSettings

OnToken = Callable[[int], None]


class RolloutEngine(Protocol):
    """Writes groups of completions.

    name    one of settings.ENGINES
    exact   draws from what the training pass computes, but for rounding
    about   what to say of it before a run; "" for nothing
    """

    name: str
    exact: bool
    about: str

    def load_adapter(self) -> None:
        """Write with the policy's adapter as it is now. Raises OSError where it cannot be kept."""
        ...

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_token: OnToken,
    ) -> list[list[RolloutCompletion]]:
        """Completions [B][G] of B prompts, a seed each [B][G]; `on_token` as of `rollout`.

        Raises EngineError when the engine fails.
        """
        ...

    def close(self) -> None: ...


class TorchEngine:
    """The policy itself."""

    name, exact, about = TORCH, True, ""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def load_adapter(self) -> None:
        pass

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[Sequence[int]],
        on_token: OnToken,
    ) -> list[list[RolloutCompletion]]:
        return rollout(self.policy, prompts, sampling, seeds, on_token=on_token)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Rollouts:
    """What an engine is opened for.

    folder         where files of passage go: the run's
    tokens         of the longest prompt and its completion
    completions    of a rollout at once, N = B * G
    load_in_4bit   the policy's base went through NF4
    template       the chat template, as `template_choice.choose` is asked for one
    """

    folder: Path
    tokens: int
    completions: int
    load_in_4bit: bool = True
    template: str | None = None


def open_engine(
    policy: Policy, settings: RolloutSettings, rollouts: Rollouts, ranks: Ranks = ALONE
) -> RolloutEngine:
    """The engine that the settings name.

    Raises UsageError, ModelError and EngineError for one that cannot work here.
    """
    if settings.engine != TORCH and ranks.size > 1:
        raise UsageError(
            f"rollout.engine = {settings.engine}: it serves one process, and {ranks.size} train "
            "together; set rollout.engine=torch, or start without torchrun"
        )
    if settings.engine == LLAMA:
        from edgetool.train.engines.llama import LlamaEngine

        return LlamaEngine.open(policy, settings, rollouts)
    if settings.engine == OPENAI:
        from edgetool.train.engines.openai import OpenAIEngine

        return OpenAIEngine(policy, settings, rollouts)
    return TorchEngine(policy)
