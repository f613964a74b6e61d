"""Whether a model computes what the packed training pass and the shared rollout take for granted.

A backend that patches attention may overlook a mask or a cache it does not know, and would then
train on wrong probabilities without a word. So a few tokens are computed both ways and compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgetool.errors import ModelError
from edgetool.runtime import Sampling
from edgetool.train.gradient import packed
from edgetool.train.packing import Group
from edgetool.train.policy import Policy
from edgetool.train.rollout import rollout
from edgetool.train.update import completion_logps

PROMPT, WRITTEN = 24, 8
# Nats between two orders of the same sums: rounding in bfloat16 moves some tokens that far.
TOLERANCE = {torch.float32: 1e-3}
BFLOAT16_TOLERANCE = 0.25


@torch.no_grad()
def require_exact(policy: Policy) -> None:
    """Raises ModelError when packed completions see each other, or the rollout's log-probabilities
    are not those of the training pass."""
    vocabulary = int(policy.causal.config.vocab_size)
    drawn = torch.randint(
        0, vocabulary, (PROMPT + 2 * WRITTEN,), generator=torch.Generator().manual_seed(0)
    ).tolist()
    prompt, rest = drawn[:PROMPT], drawn[PROMPT:]
    group = Group(prompt, [rest[:WRITTEN], rest[WRITTEN:]], [0, 1])
    together = _logps(policy, group)
    alone = torch.cat([_logps(policy, group.part(slice(i, i + 1))) for i in (0, 1)])
    _compare(policy, together, alone, "completions packed into one row see each other")
    [written] = rollout(policy, [prompt], Sampling(WRITTEN, 1.0), [[1, 2]])
    told = torch.tensor([value for one in written for value in one.logprobs])
    again = _logps(policy, Group(prompt, [one.token_ids for one in written], [0, 1]))
    _compare(policy, told, again, "the rollout's probabilities are not the training pass's")


def _logps(policy: Policy, group: Group) -> Tensor:
    logps, _ = completion_logps(policy.network, packed(policy, [group]), 1.0)
    return logps.cpu()


def _compare(policy: Policy, one: Tensor, other: Tensor, what: str) -> None:
    apart = float((one - other).abs().max())
    if not apart <= TOLERANCE.get(policy.causal.dtype, BFLOAT16_TOLERANCE):
        raise ModelError(
            f"{policy.name}: {what} (by {apart:.3g} nats), so training would be wrong; this "
            "backend cannot be used for this model, set backend: plain"
        )
