"""Caches of fixed shapes decode as growing ones do; on a GPU, recorded steps as plain ones."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch

from edgetool.runtime import Sampling
from edgetool.train import cuda_graph
from edgetool.train import rollout as rollout_module
from edgetool.train.attention import StaticCache
from edgetool.train.policy import Policy
from edgetool.train.rollout import RolloutCompletion, completion_seed, rollout
from tests.train.families import FAMILIES
from tests.train.plain import make_groups

PROMPTS = [group.prompt for group in make_groups([(17, [1]), (9, [1]), (1, [1])])]
SEEDS = [[completion_seed(row, g) for g in range(4)] for row in range(len(PROMPTS))]


def written(policy: Policy, length: int) -> list[RolloutCompletion]:
    groups = rollout(policy, PROMPTS, Sampling(length, temperature=1.0), SEEDS)
    return [one for group in groups for one in group]


def both(policy: Policy, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    growing = written(policy, length)
    monkeypatch.setattr(rollout_module, "cache_type", lambda device: StaticCache)
    static = written(policy, length)
    assert [one.token_ids for one in static] == [one.token_ids for one in growing]
    told = [torch.tensor([p for one in made for p in one.logprobs]) for made in (static, growing)]
    assert torch.allclose(*told, atol=2e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_writes_the_same_from_a_static_cache(
    family: Callable[[str], Policy], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(family(name), 12, monkeypatch)


def test_a_static_cache_grows_past_its_first_capacity(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy.stop_ids = (100_000,)
    both(policy, 70, monkeypatch)


def test_a_static_cache_follows_the_survivors(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy.stop_ids = tuple(range(0, 500, 2))  # half of the vocabulary stops
    both(policy, 40, monkeypatch)


class Unrecordable:
    def __init__(self, *_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


def test_what_cannot_be_recorded_is_run_as_it_is_and_said_once(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    policy.stop_ids = tuple(range(0, 500, 2))  # slots are freed, and steps made anew
    plain = [one.token_ids for one in written(policy, 12)]
    monkeypatch.setattr(rollout_module, "cache_type", lambda device: StaticCache)
    monkeypatch.setattr(cuda_graph, "recordable", lambda cache: True)
    monkeypatch.setattr(cuda_graph, "_Graph", Unrecordable)
    with caplog.at_level(logging.WARNING, logger=cuda_graph.__name__):
        assert [one.token_ids for one in written(policy, 12)] == plain
        assert [one.token_ids for one in written(policy, 12)] == plain
    assert [record.message for record in caplog.records] == [
        "decoding without CUDA graphs: operation not permitted when stream is capturing"
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_recorded_step_writes_what_the_plain_one_does(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy.causal.to("cuda")
    policy.device = torch.device("cuda")
    policy.stop_ids = (100_000,)
    recorded = written(policy, 70)  # recorded twice: the cache grows on the way
    monkeypatch.setattr(cuda_graph, "recordable", lambda cache: False)
    assert [one.token_ids for one in recorded] == [one.token_ids for one in written(policy, 70)]
