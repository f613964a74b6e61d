"""What edgetool's passes are measured against: each completion alone behind its prompt, padded, in
transformers' own eager attention."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from edgetool.train.attention import NAME
from edgetool.train.packing import Group
from edgetool.train.policy import Policy


def make_groups(sizes: list[tuple[int, list[int]]], seed: int = 0) -> list[Group]:
    """From (prompt length, completion lengths) per group."""
    draw = random.Random(seed)
    groups, owner = [], 0
    for prompt, completions in sizes:
        written = [[draw.randrange(3, 250) for _ in range(n)] for n in completions]
        owners = range(owner, owner + len(written))
        groups.append(Group([draw.randrange(3, 250) for _ in range(prompt)], written, owners))
        owner += len(written)
    return groups


@contextmanager
def eager(policy: Policy) -> Iterator[None]:
    """The policy's model, adapter and all, with nothing of edgetool's in its attention.

    In eval mode, in which nothing is computed a second time on the way back.
    """
    was_training = policy.causal.training
    policy.causal.eval().set_attn_implementation("eager")
    try:
        yield
    finally:
        policy.causal.train(was_training).set_attn_implementation(NAME)


def plain_logps(policy: Policy, groups: Sequence[Group]) -> Tensor:
    """[T] in the order of `pack`, natural logarithms, with gradient."""
    found = []
    for group in groups:
        rows = [[*group.prompt, *ids] for ids in group.completions]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        with eager(policy):
            out = policy.causal(ids, attention_mask=mask, use_cache=False)
        logps = out.logits.log_softmax(dim=-1)
        start = len(group.prompt)
        for row, completion in enumerate(group.completions):
            places = torch.arange(start - 1, start - 1 + len(completion))
            found.append(logps[row, places, torch.tensor(completion)])
    return torch.cat(found)


def gradients(policy: Policy, logps: Tensor) -> dict[str, Tensor]:
    """Of a sum in which every token weighs differently, by matrix."""
    weights = torch.linspace(-1, 1, len(logps))
    (weights * logps).sum().backward()
    found = {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}
    policy.causal.zero_grad()
    return found


def error(a: Tensor, b: Tensor) -> float:
    """The largest difference over the largest magnitude."""
    return float((a - b).detach().abs().max() / b.detach().abs().max())
