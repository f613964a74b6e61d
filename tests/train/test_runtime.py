from __future__ import annotations

import math
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetool.calls.types import Example
from edgetool.errors import UsageError
from edgetool.eval.evaluate import evaluate
from edgetool.runtime import ARMS, CONSTRAINED, Runtime, Sampling, in_order
from edgetool.system import peak_resident_mb
from edgetool.train.policy import Policy
from edgetool.train.rollout import rollout
from edgetool.train.runtime import PolicyRuntime

SHORT = Sampling(max_completion_length=6)


class Only:
    """Allows one token."""

    shortened, forced, cut, unconstrained = False, 0, 0.0, None

    def __init__(self, token: int) -> None:
        self.token = token

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        masked = np.full_like(logits, -math.inf)
        masked[self.token] = 0
        return masked

    def advance(self, token: int, left: int) -> int:
        assert token == self.token
        return token


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_completions_come_with_the_index_of_their_example(
    policy: Policy, examples: list[Example], batch_size: int
) -> None:
    runtime: Runtime = PolicyRuntime(policy, batch_size=batch_size)
    got = in_order(runtime.generate(examples, SHORT))
    for example, completion in zip(examples, got, strict=True):
        [[alone]] = rollout(policy, [runtime.prompt_ids(example)], SHORT, [[0]])
        assert completion.token_ids == alone.token_ids
        assert completion.text == alone.text
        assert completion.seconds > 0


def test_sampled_completions_do_not_depend_on_the_batch_size(
    policy: Policy, examples: list[Example]
) -> None:
    warm = Sampling(6, temperature=1.0, seed=3)
    one, all_ = (
        [
            c.token_ids
            for c in in_order(PolicyRuntime(policy, batch_size=n).generate(examples, warm))
        ]
        for n in (1, 3)
    )
    assert one == all_


def test_the_constrained_arm_gets_each_example_its_own_constraint(
    policy: Policy, examples: list[Example]
) -> None:
    token = {example.id: 40 + i for i, example in enumerate(examples)}
    runtime = PolicyRuntime(
        policy, constraint=lambda example, _: Only(token[example.id]), arms=ARMS
    )
    got = in_order(runtime.generate(examples, SHORT, CONSTRAINED))
    assert [c.token_ids for c in got] == [(token[e.id],) * 6 for e in examples]


def test_the_constrained_arm_needs_an_engine(policy: Policy, examples: list[Example]) -> None:
    with pytest.raises(UsageError, match="'constrained' is not offered here; choose of: free"):
        list(PolicyRuntime(policy).generate(examples, SHORT, CONSTRAINED))


def test_no_examples_no_completions(policy: Policy) -> None:
    assert list(PolicyRuntime(policy).generate([], SHORT)) == []


class Slow(Only):
    """Takes its time over every token but the first."""

    def advance(self, token: int, left: int) -> int:
        if left < SHORT.max_completion_length - 1:
            time.sleep(0.02)
        return super().advance(token, left)


def test_the_time_until_the_first_token_is_told(policy: Policy, examples: list[Example]) -> None:
    runtime = PolicyRuntime(policy, constraint=lambda *_: Slow(40), arms=ARMS, batch_size=64)
    for completion in in_order(runtime.generate(examples, SHORT, CONSTRAINED)):
        first, whole = completion.first_seconds or 0.0, completion.seconds
        assert first > 0
        # five tokens of 20 ms for each of the batch's completions, shared evenly by them
        assert whole - first >= 0.1


def test_the_most_memory_is_the_process_own_or_the_gpus(
    policy: Policy, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = PolicyRuntime(policy)
    arm = evaluate(runtime, examples, model="base", arm="free", sampling=SHORT)
    assert arm.peak_mb is not None
    assert 50 < arm.peak_mb <= peak_resident_mb()
    monkeypatch.setattr("edgetool.train.runtime.device_mb", lambda device: 123.0)
    assert runtime.peak_mb == 123.0
