"""Every block type expanded in torch, bit for bit as ggml's own library does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgetool.export.gguf import ggml
from edgetool.gguf_base.config import READABLE
from edgetool.gguf_base.reader import BLOCKS
from edgetool.train.dequantize import dequantize

FLOATS = ("F32", "F16", "BF16")


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).reshape(-1)


def random_blocks(kind: str, rows: int, columns: int) -> np.ndarray:
    """Any bytes at all, but for those that make a float16 infinite or no number."""
    values, size = BLOCKS[kind]
    found = np.random.default_rng(7).integers(0, 256, (rows, columns // values * size), np.uint8)
    expanded = ggml.dequantize(found.reshape(-1), kind).reshape(-1, values)
    blocks = found.reshape(-1, size)
    blocks[~np.isfinite(expanded).all(-1)] = 0
    return found


@pytest.mark.parametrize("kind", READABLE)
def test_random_bytes_become_the_values_that_ggml_makes_of_them(kind: str) -> None:
    packed = random_blocks(kind, 64, 512)
    expected = ggml.dequantize(packed.reshape(-1), kind)
    found = dequantize(torch.from_numpy(packed), kind).numpy()
    assert found.shape == (64, 512)
    assert np.array_equal(bits(found), bits(expected))


@pytest.mark.parametrize("kind", [kind for kind in READABLE if kind not in FLOATS])
def test_quantized_weights_come_back_as_ggml_brings_them_back(kind: str) -> None:
    weights = np.random.default_rng(3).normal(0, 0.02, (16, 1024)).astype(np.float32)
    packed = ggml.quantize(weights, kind)
    found = dequantize(torch.from_numpy(packed.reshape(16, -1)), kind).numpy()
    assert np.array_equal(bits(found), bits(ggml.dequantize(packed, kind)))
    assert np.abs(found - weights).max() < 0.04


def test_a_large_matrix_is_expanded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetool.train import dequantize as module

    packed = torch.from_numpy(random_blocks("Q4_K", 12, 512))
    whole = dequantize(packed, "Q4_K")
    monkeypatch.setattr(module, "EXPANDED_AT_ONCE", 1024)
    assert torch.equal(dequantize(packed, "Q4_K"), whole)


def test_values_of_a_block_worked_out_by_hand() -> None:
    # d = 0.5, m = -1, the low nibbles 0 to 15, then the high ones, all 2: 2 * 0.5 - 1 = 0
    head = np.array([0.5, -1.0], np.float16).view(np.uint8)
    block = np.concatenate([head, np.arange(16, dtype=np.uint8) | 2 << 4])
    found = dequantize(torch.from_numpy(block[None]), "Q4_1")[0].tolist()
    assert found == [-1 + 0.5 * n for n in range(16)] + [0.0] * 16
