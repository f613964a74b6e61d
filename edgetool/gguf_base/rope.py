"""Llama 3's squeezed positions: a tensor in GGUF, four numbers in config.json."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# low_freq_factor, high_freq_factor and original_max_position_embeddings of Llama 3.1 to 3.3. The
# fourth number, the factor, is the largest divisor.
PUBLISHED = (1.0, 4.0, 8192)


def llama3_divisors(
    theta: float, dimensions: int, factor: float, original: int, low: float, high: float
) -> NDArray[np.float32]:
    """Llama 3.1's rule: short waves stay, long waves are slowed by `factor`, a ramp between
    (transformers, modeling_rope_utils._compute_llama3_parameters).

    theta, dimensions   of the rotation -> float32 [dimensions / 2], divisors of the frequencies
    """
    exponents = np.arange(0, dimensions, 2, dtype=np.float64) / dimensions
    waves = 2 * math.pi * theta**exponents
    ramp = np.clip((original / waves - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - ramp) / factor + ramp)).astype(np.float32)


def llama3_scaling(divisors: NDArray[np.float32], theta: float) -> dict[str, Any] | None:
    """config.json's rope_scaling of such a tensor; None where the published numbers do not make
    it."""
    (low, high, original), factor = PUBLISHED, float(divisors.max())
    again = llama3_divisors(theta, 2 * len(divisors), factor, original, low, high)
    if not np.allclose(again, divisors, rtol=1e-6):
        return None
    return {
        "rope_type": "llama3", "factor": factor, "low_freq_factor": low,
        "high_freq_factor": high, "original_max_position_embeddings": original,
    }  # fmt: skip
