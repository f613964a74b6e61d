"""Every family: what edgetool computes is what stock transformers does, one completion at a time.

In float32, against eager attention over each completion behind its own copy of the prompt.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from edgetool.architectures import layer_windows
from edgetool.runtime import Sampling
from edgetool.train import attention
from edgetool.train.packing import FULL, Group, pack
from edgetool.train.policy import Policy
from edgetool.train.rollout import completion_seed, rollout
from edgetool.train.update import completion_logps
from tests.train.families import FAMILIES
from tests.train.plain import eager, error, gradients, make_groups, plain_logps

EXACT = 1e-5
PROMPTS = (17, 9, 1)


@pytest.fixture(params=FAMILIES)
def learner(request: pytest.FixtureRequest, family: Callable[[str], Policy]) -> Policy:
    return family(request.param)


def ragged(group_size: int) -> list[Group]:
    """A group per prompt; completions of 1 to 12 tokens."""
    draw = random.Random(group_size)
    return make_groups([(n, [draw.randint(1, 12) for _ in range(group_size)]) for n in PROMPTS])


def packed_logps(policy: Policy, groups: list[Group]) -> torch.Tensor:
    batch = pack(groups, layer_windows(policy.causal.config))
    return completion_logps(policy.network, batch, temperature=1.0)[0]


@pytest.mark.parametrize("group_size", [2, 5, 16])
def test_log_probabilities_are_the_plain_ones(learner: Policy, group_size: int) -> None:
    groups = ragged(group_size)
    with torch.no_grad():
        assert error(packed_logps(learner, groups), plain_logps(learner, groups)) <= EXACT


def test_gradients_are_the_plain_ones(learner: Policy) -> None:
    groups = ragged(5)
    ours = gradients(learner, packed_logps(learner, groups))
    theirs = gradients(learner, plain_logps(learner, groups))
    assert ours.keys() == theirs.keys() == learner.trainable().keys()
    for name in ours:
        assert error(ours[name], theirs[name]) <= EXACT, name


def test_a_prompt_that_is_scored_apart_changes_nothing(
    learner: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "WORTH_SPLITTING", 9)
    groups = make_groups([(17, [5, 12, 1]), (9, [3, 7])])  # both rows begin with 9 prompt tokens
    apart, plain = packed_logps(learner, groups), plain_logps(learner, groups)
    assert error(apart.detach(), plain.detach()) <= EXACT
    ours, theirs = gradients(learner, apart), gradients(learner, plain)
    for name in ours:
        assert error(ours[name], theirs[name]) <= EXACT, name


@pytest.mark.parametrize("name", [name for name in FAMILIES if name.endswith(("window", "short"))])
def test_a_window_changes_what_is_compared_above(
    family: Callable[[str], Policy], name: str
) -> None:
    policy, groups = family(name), ragged(2)
    with torch.no_grad():
        blind, _ = completion_logps(policy.network, pack(groups, FULL), temperature=1.0)
        assert error(blind, packed_logps(policy, groups)) > 1e-2


def test_greedy_completions_are_those_transformers_generates(learner: Policy) -> None:
    prompts = [group.prompt for group in make_groups([(n, [1]) for n in PROMPTS])]
    found = rollout(learner, prompts, Sampling(max_completion_length=16), [[0, 1]] * len(prompts))
    for prompt, group in zip(prompts, found, strict=True):
        with eager(learner):
            generated = learner.causal.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt)),
                do_sample=False,
                max_new_tokens=16,
            )
        expected = tuple(generated[0, len(prompt) :].tolist())
        assert [written.token_ids for written in group] == [expected, expected]


def test_sampled_completions_carry_the_plain_log_probabilities(learner: Policy) -> None:
    prompts = [group.prompt for group in make_groups([(n, [1]) for n in PROMPTS])]
    seeds = [[completion_seed(row, g) for g in range(5)] for row in range(len(prompts))]
    found = rollout(learner, prompts, Sampling(max_completion_length=12, temperature=1.0), seeds)
    groups = [
        Group(prompt, [written.token_ids for written in group], range(5))
        for prompt, group in zip(prompts, found, strict=True)
    ]
    recorded = torch.tensor([p for group in found for written in group for p in written.logprobs])
    with torch.no_grad():
        assert error(recorded, plain_logps(learner, groups)) <= EXACT
