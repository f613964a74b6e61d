"""A loaded tiny policy, in float32 and without 4-bit rounding where a test compares numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from edgetool.train.load import LoadSettings, load_policy
from edgetool.train.policy import Policy
from edgetool.train.settings import LoraSettings

EXACT = LoadSettings(bf16=False, device="cpu", gradient_checkpointing=False)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """So small a model gains nothing from more, and results do not depend on the machine."""
    torch.set_num_threads(1)


@pytest.fixture
def make_policy(tiny_model: Path) -> Callable[..., Policy]:
    """A policy whose adapter does something: B is zero at first, which would hide mistakes."""

    def make(settings: LoadSettings = EXACT, **lora: float) -> Policy:
        policy = load_policy(tiny_model, LoraSettings(**{"r": 4, **lora}), settings)
        stir(policy)
        return policy

    return make


def stir(policy: Policy, scale: float = 0.02) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, matrix in policy.trainable().items():
            if "lora_B" in name:
                matrix.copy_(torch.randn(matrix.shape, generator=generator) * scale)


@pytest.fixture
def policy(make_policy: Callable[..., Policy]) -> Iterator[Policy]:
    yield make_policy()


@pytest.fixture(scope="session")
def family(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Policy]:
    """Policies by their name in FAMILIES, each made once: leave them as they are."""
    from tests.train.families import family_policy

    @functools.cache
    def make(name: str) -> Policy:
        return family_policy(name, tiny_model, tmp_path_factory.mktemp(name))

    return make
