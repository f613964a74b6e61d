"""Every number here was worked out by hand, in the comment beside it."""

from __future__ import annotations

import math

import pytest
import torch

from edgetool.train import grpo_loss
from edgetool.train.grpo_loss import ClipRange

CLIP = ClipRange(0.2, 0.28)


def near(values: torch.Tensor, expected: list[float]) -> bool:
    return torch.allclose(values, torch.tensor(expected), rtol=1e-5, atol=1e-7)


def test_advantages_divide_by_the_unbiased_spread_of_the_group() -> None:
    # mean 0.5; deviations -0.5, -0.5, 0.5, 0.5; std = sqrt(4 * 0.25 / 3) = 0.577350; / 0.577450
    got = grpo_loss.advantages(torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    assert near(got[0], [-0.865876, -0.865876, 0.865876, 0.865876])


def test_advantages_by_the_spread_of_the_batch() -> None:
    # groups (0, 2), (5, 5): deviations -1, 1, 0, 0. All: mean 3, squares 9 + 1 + 4 + 4 = 18,
    # std = sqrt(18 / 3) = 2.449490; 1 / 2.449590 = 0.408232
    got = grpo_loss.advantages(torch.tensor([[0.0, 2.0], [5.0, 5.0]]), "batch")
    assert near(got.flatten(), [-0.408232, 0.408232, 0.0, 0.0])


def test_advantages_unscaled_are_the_deviations_from_the_mean() -> None:
    assert near(grpo_loss.advantages(torch.tensor([[0.0, 3.0]]), "none")[0], [-1.5, 1.5])


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_give_exact_zeros_though_their_mean_rounds(scale: str) -> None:
    rewards = torch.full((2, 7), 0.1)
    assert torch.equal(grpo_loss.advantages(rewards, scale), torch.zeros(2, 7))
    assert grpo_loss.equal_groups(rewards).tolist() == [True, True]


def test_a_completion_without_a_reward_counts_for_nothing() -> None:
    # of (0, NaN, 2): mean 1, std = sqrt(2 / 1) = 1.414214; 1 / 1.414314 = 0.707057
    got = grpo_loss.advantages(torch.tensor([[0.0, math.nan, 2.0]]))
    assert near(got[0], [-0.707057, 0.0, 0.707057])


@pytest.mark.parametrize("left", [[1.0, math.nan], [math.nan, math.nan]])
def test_a_group_with_fewer_than_two_rewards_says_nothing(left: list[float]) -> None:
    assert grpo_loss.equal_groups(torch.tensor([left])).tolist() == [True]
    assert grpo_loss.advantages(torch.tensor([left])).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("shape", [(3, 1), (4,)])
def test_a_group_of_one_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="G >= 2"):
        grpo_loss.advantages(torch.zeros(shape))


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("grpo", [1 / 8, 1 / 32, 0.0, 1 / 16]),  # 1 / (4 * 2), 1 / (4 * 8), masked, 1 / (4 * 4)
        ("dr_grpo", [1 / 40, 1 / 40, 0.0, 1 / 40]),  # 1 / (4 * 10)
        ("dapo", [1 / 14, 1 / 14, 0.0, 1 / 14]),  # 2 + 8 + 4 tokens, the masked 10 left out
        ("bnpo", [1 / 14, 1 / 14, 0.0, 1 / 14]),
        ("cispo", [1 / 14, 1 / 14, 0.0, 1 / 14]),
    ],
)
def test_what_a_token_weighs(loss_type: str, expected: list[float]) -> None:
    lengths = torch.tensor([2, 8, 10, 4])
    kept = torch.tensor([True, True, False, True])
    assert near(grpo_loss.token_weights(lengths, kept, loss_type, 10), expected)


def test_all_masked_weighs_nothing() -> None:
    weights = grpo_loss.token_weights(torch.tensor([3, 3]), torch.tensor([False, False]), "dapo", 8)
    assert weights.tolist() == [0.0, 0.0]


def test_the_ratio_is_clipped_on_the_side_that_would_gain() -> None:
    # ratios 1.5, 1.5, 0.5, 0.5, 1.25 with A = 1, -1, 1, -1, 1 and the range [0.8, 1.28]:
    # -min(1.5, 1.28), -min(-1.5, -1.28), -min(0.5, 0.8), -min(-0.5, -0.8), -min(1.25, 1.25)
    ratios = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.25])
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    got = grpo_loss.token_losses(ratios.log(), signs, CLIP)
    assert near(got, [-1.28, 1.5, -0.5, 0.8, -1.25])


def test_clipped_tokens_have_no_gradient_and_are_counted() -> None:
    logps = torch.tensor([1.5, 1.5, 0.5, 0.5]).log().requires_grad_()
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])
    grpo_loss.token_losses(logps, signs, CLIP).sum().backward()
    # d(-ratio A)/d logp = -ratio A where it is not clipped
    assert logps.grad is not None
    assert near(logps.grad, [0.0, 1.5, -0.5, 0.0])
    counts = grpo_loss.clip_counts(logps, signs, CLIP)
    assert (counts.low, counts.high) == (1, 1)


OWNERS = torch.tensor([4, 4, 4, 7])


def test_a_sequence_ratio_is_the_geometric_mean_of_its_tokens() -> None:
    # completion 4: (0.3 - 0.6 + 0.9) / 3 = 0.2 for each of its tokens; completion 7: 0.5 alone
    new = torch.tensor([0.3, -0.6, 0.9, 0.5])
    got = grpo_loss.log_ratios(new, torch.zeros(4), OWNERS, "sequence")
    assert near(got, [0.2, 0.2, 0.2, 0.5])
    assert torch.equal(grpo_loss.log_ratios(new, torch.zeros(4), OWNERS, "token"), new)


def test_a_sequence_ratio_spreads_its_gradient_over_its_tokens() -> None:
    new = torch.zeros(4, requires_grad=True)
    grpo_loss.log_ratios(new, torch.zeros(4), OWNERS, "sequence")[0].backward()
    assert new.grad is not None
    assert near(new.grad, [1 / 3, 1 / 3, 1 / 3, 0.0])


def test_cispo_caps_the_weight_and_keeps_every_tokens_gradient() -> None:
    # ratios 0.5, 2, 8 under a cap of 5, A = 1, -1, 1; d(-w A logp)/d logp = -w A
    old = torch.zeros(3)
    logps = torch.tensor([0.5, 2.0, 8.0]).log().requires_grad_()
    signs = torch.tensor([1.0, -1.0, 1.0])
    losses = grpo_loss.cispo_losses(logps, logps - old, signs, 5.0)
    # -0.5 ln 0.5, 2 ln 2, -5 ln 8
    assert near(losses.detach(), [0.346574, 1.386294, -10.397208])
    losses.sum().backward()
    assert logps.grad is not None
    assert near(logps.grad, [-0.5, 2.0, -5.0])


def test_the_importance_correction_is_truncated_at_its_cap() -> None:
    # old / sampling probability: e^0.5 = 1.648721; e^-1 = 0.367879; e^2 = 7.389056, capped at 2
    got = grpo_loss.truncated_ratios(
        torch.tensor([-1.0, -3.0, -1.0]), torch.tensor([-1.5, -2.0, -3.0]), cap=2.0
    )
    assert near(got, [1.648721, 0.367879, 2.0])


def test_k3_by_hand() -> None:
    # d = 0, ln 2, -ln 2: e^d - d - 1 = 0, 2 - 0.693147 - 1, 0.5 + 0.693147 - 1
    reference = torch.tensor([0.0, math.log(2), -math.log(2)])
    assert near(grpo_loss.k3(torch.zeros(3), reference), [0.0, 0.306853, 0.193147])


def test_k3_of_a_tiny_difference_does_not_cancel_to_zero() -> None:
    # d^2 / 2 = 5e-9; e^d - d - 1 in float32 would be 0 or 1e-7
    got = float(grpo_loss.k3(torch.tensor([0.0]), torch.tensor([1e-4], dtype=torch.float64)))
    assert got == pytest.approx(5e-9, rel=1e-3)


def test_a_corrected_kl_has_the_gradient_of_the_kl_divergence() -> None:
    # Two tokens, p = softmax(x, 0) with p1 = 1/4, reference 1/2 each; drawn from p itself.
    # KL = p1 ln(p1 / r1) + p2 ln(p2 / r2); d KL / dx = p1 p2 (ln(p1 / r1) - ln(p2 / r2))
    #    = 3/16 (ln 1/2 - ln 3/2) = -0.1875 ln 3 = -0.205990
    x = torch.tensor(-math.log(3), requires_grad=True)
    logps = torch.stack([x, torch.zeros(())]).log_softmax(0)
    kl = grpo_loss.k3(logps, torch.full((2,), math.log(0.5)))
    expected = (logps.exp().detach() * grpo_loss.corrected(kl, logps - logps.detach())).sum()
    expected.backward()
    assert x.grad is not None
    assert float(x.grad) == pytest.approx(-0.205990, rel=1e-5)
