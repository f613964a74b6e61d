"""A model that overlooks a mask or a cache is found out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgetool.errors import ModelError, UsageError
from edgetool.train import unsloth
from edgetool.train.policy import Policy


def test_our_own_policy_is_exact(policy: Policy) -> None:
    unsloth.require_exact(policy)


def test_a_model_that_takes_every_mask_for_a_causal_one_is_refused(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = policy.causal.base_model
    real = model.forward

    def blind(*arguments: Any, attention_mask: Any = None, **options: Any) -> Any:
        return real(*arguments, attention_mask=None, **options)

    monkeypatch.setattr(model, "forward", blind)
    with pytest.raises(ModelError, match=r"see each other.*backend: plain"):
        unsloth.require_exact(policy)


def test_a_rollout_with_other_probabilities_is_refused(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = unsloth.rollout

    def off(*arguments: Any) -> Any:
        from dataclasses import replace

        return [
            [replace(w, logprobs=tuple(p - 0.01 for p in w.logprobs)) for w in group]
            for group in real(*arguments)
        ]

    monkeypatch.setattr(unsloth, "rollout", off)
    with pytest.raises(ModelError, match="the rollout's probabilities"):
        unsloth.require_exact(policy)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_unsloth_without_a_gpu_says_what_to_type() -> None:
    with pytest.raises(UsageError, match=r"needs an NVIDIA GPU.*--set backend=plain"):
        unsloth.require()


def test_unsloth_that_is_not_installed_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(unsloth.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"\[unsloth\]'"):
        unsloth.require()
