from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
import torch

from edgetool.train import grpo_loss
from edgetool.train.packing import Group
from edgetool.train.policy import Policy
from edgetool.train.settings import GRPOSettings
from edgetool.train.update import Batch, Update, learning_rate, make_optimizer
from tests.train.plain import error, plain_logps

# The model's window of 4 tokens ends inside the first prompt and inside the second's completions.
GROUPS = [
    Group([5, 6, 7, 20, 21], [[8, 9], [10, 11, 12, 13]], [0, 1]),
    Group([30, 31], [[40], [41, 42, 43]], [2, 3]),
]
# So large that the second and third iteration clip some tokens and not others.
RATE = 0.005


@pytest.fixture
def windowed(family: Callable[[str], Policy]) -> Policy:
    return family("gemma3-short")


def handed(policy: Policy, settings: GRPOSettings) -> torch.Tensor:
    """The gradient each optimizer step is given: [iterations, numbers in the adapter]."""
    lengths, kept = torch.tensor([2, 4, 1, 3]), torch.ones(4, dtype=torch.bool)
    weights = grpo_loss.token_weights(lengths, kept, settings.loss_type, 8)
    batch, given = Batch(GROUPS, weights, torch.tensor(ADVANTAGES)), []
    with put_back(policy) as matrices:
        optimizer = torch.optim.SGD(matrices, lr=settings.learning_rate)
        optimizer.register_step_pre_hook(lambda *_: given.append(flat(p.grad for p in matrices)))
        Update(policy, batch, settings, optimizer).run()
    return torch.stack(given)


def plainly_handed(policy: Policy, settings: GRPOSettings) -> torch.Tensor:
    """The same straight from the formulas, one unpacked completion at a time."""
    given = []
    with put_back(policy) as matrices:
        old = [logps.detach() for logps in completions(policy)]
        for _ in range(settings.num_iterations):
            loss = torch.zeros(())
            for owner, logps in enumerate(completions(policy)):
                ratio = logps - old[owner]
                if settings.importance_sampling_level == "sequence":
                    ratio = ratio.mean().expand(len(logps))
                ratio, advantage = ratio.exp(), ADVANTAGES[owner]
                if settings.loss_type == "cispo":
                    gains = ratio.clamp(max=settings.epsilon_high).detach() * advantage * logps
                else:
                    clipped = ratio.clamp(1 - settings.epsilon, 1 + settings.epsilon)
                    gains = torch.min(ratio * advantage, clipped * advantage)
                loss = loss - gains.sum() * SCALE[settings.loss_type](len(logps))
            found = torch.autograd.grad(loss, matrices)
            given.append(flat(found))
            with torch.no_grad():
                for matrix, own in zip(matrices, found, strict=True):
                    matrix -= settings.learning_rate * own
    return torch.stack(given)


def flat(tensors: Iterable[torch.Tensor | None]) -> torch.Tensor:
    return torch.cat([t.flatten() for t in tensors if t is not None])


ADVANTAGES = [1.0, -1.0, 0.5, -0.5]
SCALE = {
    "grpo": lambda tokens: 1 / (4 * tokens),
    "dr_grpo": lambda _: 1 / 32,  # 4 completions of at most 8
    "dapo": lambda _: 1 / 10,  # 2 + 4 + 1 + 3 tokens
    "bnpo": lambda _: 1 / 10,
    "cispo": lambda _: 1 / 10,
}


def completions(policy: Policy) -> tuple[torch.Tensor, ...]:
    """Each completion's log-probabilities [C], in the owners' order."""
    return plain_logps(policy, GROUPS).split([2, 4, 1, 3])


@contextmanager
def put_back(policy: Policy) -> Iterator[list[torch.Tensor]]:
    matrices = list(policy.trainable().values())
    before = [p.detach().clone() for p in matrices]
    yield matrices
    with torch.no_grad():
        for matrix, old in zip(matrices, before, strict=True):
            matrix.copy_(old)


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo", "bnpo", "cispo"])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("packed_tokens", [1, 1000])
def test_gradients_are_the_formula_s_whatever_the_packing(
    windowed: Policy, loss_type: str, level: str, iterations: int, packed_tokens: int
) -> None:
    settings = GRPOSettings(
        loss_type=loss_type,
        importance_sampling_level=level,
        num_iterations=iterations,
        packed_tokens=packed_tokens,
        epsilon=0.2,
        epsilon_high=1.5 if loss_type == "cispo" else 0.2,
        max_grad_norm=1e9,
        learning_rate=RATE,
    )
    ours, plain = handed(windowed, settings), plainly_handed(windowed, settings)
    assert ours.shape == plain.shape
    assert error(ours, plain) <= 1e-5


@pytest.mark.parametrize(("loss_type", "level"), [("grpo", "token"), ("grpo", "sequence")])
def test_the_steps_compared_above_clip_some_tokens_and_not_others(
    windowed: Policy, loss_type: str, level: str
) -> None:
    settings = GRPOSettings(
        loss_type=loss_type, importance_sampling_level=level, num_iterations=3, max_grad_norm=1e9
    )
    weights = grpo_loss.token_weights(torch.tensor([2, 4, 1, 3]), torch.ones(4) > 0, loss_type, 8)
    with put_back(windowed) as matrices:
        optimizer = torch.optim.SGD(matrices, lr=RATE)
        batch = Batch(GROUPS, weights, torch.tensor(ADVANTAGES))
        metrics = Update(windowed, batch, settings, optimizer).run()
    assert 0 < metrics.clipped_low + metrics.clipped_high < 20  # of 10 tokens, in 2 iterations


def test_the_importance_correction_weighs_each_token_s_loss(policy: Policy) -> None:
    # Drawn with twice and half the old probability: ratios 0.5 and 2, the latter capped at 1.5.
    group = Group([5, 6, 7], [[8], [9]], [0, 1])
    weights, advantages = torch.tensor([1.0, 1.0]), torch.tensor([1.0, -1.0])
    with torch.no_grad():
        logps = policy.causal(torch.tensor([[5, 6, 7]])).logits.log_softmax(-1)[0, -1, [8, 9]]
    sampled = (logps + torch.tensor([2.0, 0.5]).log())[:, None]  # [N, C]
    settings = GRPOSettings(importance_sampling_cap=1.5, max_sampling_kl=1.0, max_grad_norm=1e9)
    with put_back(policy) as matrices:
        batch = Batch([group], weights, advantages, sampled)
        metrics = Update(policy, batch, settings, torch.optim.SGD(matrices, lr=1.0)).run()
    assert metrics.loss == pytest.approx(-0.5 + 1.5, rel=1e-5)
    assert metrics.correction_sum == pytest.approx(0.5 + 1.5, rel=1e-5)
    # ((1/2 + log 2 - 1) + (2 - log 2 - 1)) / 2
    assert metrics.sampling_kl == pytest.approx(0.25, rel=1e-5)


def test_without_a_cap_what_tokens_were_drawn_with_does_not_matter(policy: Policy) -> None:
    group, weights = Group([5, 6, 7], [[8], [9]], [0, 1]), torch.tensor([1.0, 1.0])
    sampled = torch.full((2, 1), -50.0)
    with put_back(policy) as matrices:
        batch = Batch([group], weights, torch.tensor([1.0, 0.5]), sampled)
        optimizer = torch.optim.SGD(matrices, lr=1.0)
        metrics = Update(policy, batch, GRPOSettings(), optimizer).run()
    assert metrics.loss == pytest.approx(-1.5, rel=1e-5)


def test_gradients_are_clipped_to_max_grad_norm(windowed: Policy) -> None:
    clipped = handed(windowed, GRPOSettings(max_grad_norm=0.01))
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
