from __future__ import annotations

import pytest
import torch

from edgetool.train import grpo
from edgetool.train.packing import Group
from edgetool.train.policy import Policy
from edgetool.train.settings import GRPOSettings
from edgetool.train.update import Batch, learning_rate, make_optimizer, update

GROUPS = [
    Group([5, 6, 7], [[8, 9], [10, 11, 12, 13]], [0, 1]),
    Group([30, 31], [[40], [41, 42, 43]], [2, 3]),
]


def gradient(policy: Policy, settings: GRPOSettings) -> torch.Tensor:
    """The gradient one step applied: read off SGD with a rate of 1 and no clipping."""
    before = [p.detach().clone() for p in policy.trainable().values()]
    lengths, kept = torch.tensor([2, 4, 1, 3]), torch.ones(4, dtype=torch.bool)
    weights = grpo.token_weights(lengths, kept, settings.loss_type, 8)
    batch = Batch(GROUPS, weights, torch.tensor([1.0, -1.0, 0.5, -0.5]))
    optimizer = torch.optim.SGD(policy.trainable().values(), lr=1.0)
    update(policy, batch, settings, optimizer)
    moved = [b - p.detach() for b, p in zip(before, policy.trainable().values(), strict=True)]
    with torch.no_grad():
        for p, b in zip(policy.trainable().values(), before, strict=True):
            p.copy_(b)
    return torch.cat([m.flatten() for m in moved])


def plain_gradient(policy: Policy, loss_type: str) -> torch.Tensor:
    """Policy gradient straight from the formulas, a completion at a time."""
    scale = {"grpo": lambda n: 1 / (4 * n), "dr_grpo": lambda n: 1 / 32, "dapo": lambda n: 1 / 10}
    advantages, loss = [1.0, -1.0, 0.5, -0.5], torch.zeros(())
    for group in GROUPS:
        for owner, ids in zip(group.owners, group.completions, strict=True):
            row = torch.tensor([[*group.prompt, *ids]])
            logps = policy.causal(row).logits.log_softmax(-1)[0]
            places = torch.arange(len(group.prompt) - 1, row.shape[1] - 1)
            own = logps[places, torch.tensor(ids)]
            loss = loss - advantages[owner] * own.sum() * scale[loss_type](len(ids))
    found = torch.autograd.grad(loss, list(policy.trainable().values()))
    return torch.cat([g.flatten() for g in found])


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo"])
@pytest.mark.parametrize("packed_tokens", [1, 1000])
def test_the_gradient_is_the_formula_s_whatever_the_packing(
    policy: Policy, loss_type: str, packed_tokens: int
) -> None:
    settings = GRPOSettings(loss_type=loss_type, packed_tokens=packed_tokens, max_grad_norm=1e9)
    ours, plain = gradient(policy, settings), plain_gradient(policy, loss_type)
    # The parameters are near 0.1 and the gradient is read off their change: 1e-8 of rounding each.
    assert float((ours - plain).norm() / plain.norm()) < 1e-4


def test_gradients_are_clipped_to_max_grad_norm(policy: Policy) -> None:
    clipped = gradient(policy, GRPOSettings(max_grad_norm=0.01))
    assert float(clipped.norm()) == pytest.approx(0.01, rel=1e-3)


def test_only_the_adapter_is_optimized(policy: Policy) -> None:
    held = [
        p for group in make_optimizer(policy, GRPOSettings()).param_groups for p in group["params"]
    ]
    assert {id(p) for p in held} == {id(p) for p in policy.trainable().values()}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5]),
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5]),  # (1 + cos(pi / 4)) / 2
    ],
)
def test_learning_rates_by_hand(kind: str, expected: list[float]) -> None:
    settings = GRPOSettings(learning_rate=1.0, lr_scheduler_type=kind, warmup_steps=2, max_steps=6)
    assert [learning_rate(i, settings) for i in range(5)] == pytest.approx(expected, rel=1e-5)
