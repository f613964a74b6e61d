from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgetool.runtime import Sampling
from edgetool.train import rollout as rollout_module
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion, completion_seed, rollout
from edgetool.train.sampling import choose, filtered, invert

PROMPTS = [[5, 9, 33, 70, 8], [11, 12], [100 + i for i in range(40)], [77]]
WARM = Sampling(max_completion_length=12, temperature=1.0)


def seeds(prompts: int, size: int) -> list[list[int]]:
    return [[completion_seed(0, p, g) for g in range(size)] for p in range(prompts)]


def flat(groups: list[list[RolloutCompletion]]) -> list[RolloutCompletion]:
    return [written for group in groups for written in group]


def plain_logprobs(policy: Policy, prompt: list[int], written: RolloutCompletion) -> torch.Tensor:
    """One forward pass over prompt and completion, through the adapter, without any cache."""
    ids = torch.tensor([[*prompt, *written.token_ids]])
    with torch.no_grad():
        logps = policy.causal(ids, use_cache=False).logits.log_softmax(dim=-1)[0]
    places = torch.arange(len(prompt) - 1, ids.shape[1] - 1)
    return logps[places, torch.tensor(written.token_ids)]


def test_a_completion_does_not_depend_on_its_company(policy: Policy) -> None:
    together = rollout(policy, PROMPTS, WARM, seeds(4, 3))
    for number, prompt in enumerate(PROMPTS):
        for g in range(3):
            [[alone]] = rollout(policy, [prompt], WARM, [[seeds(4, 3)[number][g]]])
            assert alone.token_ids == together[number][g].token_ids


def test_completions_of_a_group_differ(policy: Policy) -> None:
    [group] = rollout(policy, PROMPTS[:1], WARM, seeds(1, 4))
    assert len({written.token_ids for written in group}) == 4


def test_stop_tokens_end_completions_and_are_kept_in_the_ids_only(policy: Policy) -> None:
    # Half of the vocabulary stops, so completions end at different lengths and slots are freed.
    policy.stop_ids = tuple(range(0, 500, 2))
    groups = rollout(policy, PROMPTS, Sampling(40, 1.0), seeds(4, 6))
    lengths = {len(w.token_ids) for w in flat(groups)}
    assert len(lengths) > 2
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for written in group:
            assert written.finished
            assert written.token_ids[-1] % 2 == 0
            assert all(token % 2 for token in written.token_ids[:-1])
            assert written.text == policy.tokenizer.decode(written.token_ids[:-1])
            expected = plain_logprobs(policy, prompt, written)
            assert torch.allclose(torch.tensor(written.logprobs), expected, atol=2e-5)


def test_the_longest_completion_is_max_completion_length_and_unfinished(policy: Policy) -> None:
    policy.stop_ids = (100_000,)
    for length in (1, 7, 70):  # 70 is past the first capacity of the cache
        [[written]] = rollout(policy, PROMPTS[:1], Sampling(length, 1.0), [[3]])
        assert len(written.token_ids) == length
        assert not written.finished
    expected = plain_logprobs(policy, PROMPTS[0], written)
    assert torch.allclose(torch.tensor(written.logprobs), expected, atol=2e-5)


def test_batches_of_any_size_give_the_same(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rollout(policy, PROMPTS, WARM, seeds(4, 2))
    monkeypatch.setattr(rollout_module, "MAX_SEQUENCES", 2)
    monkeypatch.setattr(rollout_module, "PREFILL_TOKENS", 1)
    parts = rollout(policy, PROMPTS, WARM, seeds(4, 2))
    assert [w.token_ids for w in flat(whole)] == [w.token_ids for w in flat(parts)]


def test_the_reference_writes_without_the_adapter(policy: Policy) -> None:
    def first_logits() -> torch.Tensor:
        with policy.decoding() as network:
            hidden = network.hidden(torch.tensor([PROMPTS[0]])).last_hidden_state
            return network.logits(hidden[0, -1])

    adapted = first_logits()
    with policy.reference():
        reference = first_logits()
        with torch.no_grad():
            expected = policy.causal(torch.tensor([PROMPTS[0]])).logits[0, -1]
    assert torch.allclose(reference, expected, atol=1e-5)
    assert not torch.allclose(reference, adapted, atol=1e-3)
    assert torch.equal(first_logits(), adapted)


class OnlyMultiplesOfSeven:
    """Allows multiples of seven until three were written, then token 14 alone."""

    shortened = False

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.left: list[int] = []

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        masked = np.full_like(logits, -math.inf)
        allowed = [14] if len(self.seen) >= 3 else range(0, len(logits), 7)
        masked[allowed] = logits[allowed]
        return masked

    def advance(self, token: int, left: int) -> int:
        self.seen.append(token)
        self.left.append(left)
        return token


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_constraint_masks_its_own_row_and_follows_it(policy: Policy, temperature: float) -> None:
    policy.stop_ids = (14,)
    constraints = [OnlyMultiplesOfSeven() for _ in PROMPTS]
    groups = rollout(policy, PROMPTS, Sampling(9, temperature), seeds(4, 1), constraints)
    for written, constraint in zip(flat(groups), constraints, strict=True):
        assert written.finished
        assert all(token % 7 == 0 for token in written.token_ids)
        assert constraint.seen == list(written.token_ids)
        assert constraint.left == [8, 7, 6, 5][: len(written.token_ids)]  # of 9 tokens
        assert len(written.token_ids) <= 4


@pytest.mark.parametrize(
    ("prompts", "given"), [([[]], [[1]]), ([[1], [2]], [[1]]), ([[1], [2]], [[1], [1, 2]])]
)
def test_bad_arguments_are_refused(
    policy: Policy, prompts: list[list[int]], given: list[list[int]]
) -> None:
    with pytest.raises(ValueError, match="prompt"):
        rollout(policy, prompts, WARM, given)


def test_inverting_the_distribution_by_hand() -> None:
    # cumulative 0.25, 0.25, 0.75, 1; a draw on a border belongs to the next token
    logprobs = torch.tensor([0.25, 0.0, 0.5, 0.25]).log().repeat(5, 1)
    draws = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 1 - 2**-24])
    assert invert(logprobs, draws).tolist() == [0, 0, 2, 2, 3]


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    logprobs = torch.tensor([[-math.inf, 0.0, -math.inf]]).repeat(2, 1)
    assert invert(logprobs, torch.tensor([0.0, 1 - 2**-24])).tolist() == [1, 1]


def test_top_k_and_top_p_by_hand() -> None:
    logprobs = torch.tensor([[0.1, 0.5, 0.3, 0.1]]).log()
    assert (filtered(logprobs, 2, 1.0) > -math.inf).tolist() == [[False, True, True, False]]
    # 0.5 reaches 0.5 alone; 0.6 needs the next one too
    assert (filtered(logprobs, 0, 0.5) > -math.inf).tolist() == [[False, True, False, False]]
    assert (filtered(logprobs, 0, 0.6) > -math.inf).tolist() == [[False, True, True, False]]


def test_frequencies_follow_the_tempered_distribution() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    draws = torch.rand(40_000, generator=torch.Generator().manual_seed(1))
    tokens, _ = choose(logits.repeat(40_000, 1), Sampling(temperature=2.0), draws)
    shares = tokens.bincount(minlength=3) / 40_000
    # softmax(0, 0.5, 1); four standard errors of a share are 0.01
    assert torch.allclose(shares, torch.tensor([0.1863, 0.3072, 0.5065]), atol=0.01)
