"""FlexAttention's masks are the boolean ones, and its kernels give the same log-probabilities."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.attention.flex_attention import create_mask

from edgetool.architectures import layer_windows
from edgetool.errors import UsageError
from edgetool.train.attention import FLEX
from edgetool.train.load import require_kernels
from edgetool.train.packing import PackedBatch, pack
from edgetool.train.policy import Policy
from edgetool.train.update import completion_logps
from tests.train.families import FAMILIES
from tests.train.plain import error, make_groups

CPU = torch.device("cpu")
GROUPS = make_groups([(17, [3, 12, 7]), (9, [5, 1]), (1, [4])])
WINDOWED = [name for name in FAMILIES if name.endswith(("window", "short", "long"))]


def by_layer(mask: object) -> dict[str, torch.Tensor]:
    return mask if isinstance(mask, dict) else {"all": mask}  # type: ignore[dict-item]


def dense(mask: object, batch: PackedBatch) -> torch.Tensor:
    rows, width = batch.input_ids.shape
    return create_mask(mask.mask_mod, rows, None, width, width, device="cpu")  # type: ignore[attr-defined]


@pytest.mark.parametrize("window", [None, 3, 8])
def test_its_masks_let_the_same_be_seen(window: int | None) -> None:
    windows = {"full_attention": None, "sliding_attention": window}
    plain, flex = pack(GROUPS, windows), pack(GROUPS, windows, CPU)
    expected, found = by_layer(plain.mask), by_layer(flex.mask)
    assert found.keys() == expected.keys()
    for kind in expected:
        assert torch.equal(dense(found[kind], flex), expected[kind]), kind


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen2", *WINDOWED])
def test_its_kernels_give_the_same_log_probabilities(
    family: Callable[[str], Policy], name: str
) -> None:
    policy = family(name)
    windows = layer_windows(policy.causal.config)
    with torch.no_grad():  # on a CPU there is no backward pass
        plain, _ = completion_logps(policy.network, pack(GROUPS, windows), 1.0)
        flex, _ = completion_logps(policy.network, pack(GROUPS, windows, CPU), 1.0)
    assert error(flex, plain) <= 1e-5


def test_a_cpu_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="needs a GPU: on a CPU it has no backward pass"):
        require_kernels(FLEX, CPU)
