"""Intervals and tests: how sure a share, a ratio or a difference is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
RESAMPLES = 2000
_BLOCK = 200  # resamples drawn at once; each takes a number per row
Interval = tuple[float, float]


def percentile(values: Sequence[float], q: float) -> float | None:
    """The q-th percentile, q in [0, 100], interpolated linearly; None of nothing."""
    import numpy as np

    return float(np.percentile(values, q)) if values else None


def wilson(successes: int, n: int, z: float = Z95) -> Interval:
    """Score interval of a share (Wilson, JASA 22, 1927), in [0, 1]. Nothing seen: (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = p + z * z / (2 * n)
    spread = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At p = 0 and p = 1 the bound is exactly 0 and 1; rounding would leave a speck outside.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return low, high


def newcombe(both: int, only_first: int, only_second: int, neither: int) -> Interval:
    """Interval of (both + only_first)/n - (both + only_second)/n over n paired trials, in [-1, 1].

    Method 10 of Newcombe, Statistics in Medicine 17, 1998, p. 2635: Wilson intervals of the two
    shares, joined through their correlation phi, which is corrected for continuity.
    """
    n = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    p, q = first / n, second / n
    (p_low, p_high), (q_low, q_high) = wilson(first, n), wilson(second, n)
    phi = _phi(both, only_first, only_second, neither)
    low = p - q - _joined(p - p_low, q_high - q, phi)
    high = p - q + _joined(p_high - p, q - q_low, phi)
    return low, high


def _joined(a: float, b: float, phi: float) -> float:
    return sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def _phi(a: int, b: int, c: int, d: int) -> float:
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if product == 0:
        return 0.0
    cross = float(a * d - b * c)
    if cross > 0:
        cross = max(0.0, cross - (a + b + c + d) / 2)
    return cross / sqrt(product)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p of a fair coin falling so unevenly over the rows that flipped."""
    flips, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(flips, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**flips)


def bootstrap(
    columns: Sequence[Sequence[float]],
    statistic: Callable[..., NDArray[np.float64]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval (2.5 % to 97.5 %) of a statistic over rows drawn with replacement.

    columns     K columns of n numbers, a place per row; n >= 1
    statistic   K arrays [resamples] of sums over the drawn rows -> [resamples]

    Efron, Annals of Statistics 7, 1979. Only sums are drawn, so `statistic` must be made of them:
    a ratio, say. Resamples on which it has no value (0/0) are left out; none left: (0, 1).
    """
    import numpy as np

    table = np.asarray(columns, dtype=np.float64)  # [K, n]
    n = table.shape[1]
    generator = np.random.default_rng(seed)
    parts = []
    for start in range(0, resamples, _BLOCK):
        # How often each row is drawn is multinomial: the sums are one matrix product.
        size = min(_BLOCK, resamples - start)
        drawn = generator.multinomial(n, np.full(n, 1 / n), size=size)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(np.asarray(statistic(*(table @ drawn.T))))
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return 0.0, 1.0
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def ratio_interval(parts: Sequence[float], wholes: Sequence[float]) -> Interval:
    """Bootstrap interval of sum(parts)/sum(wholes), rows drawn together with both numbers."""
    return bootstrap([parts, wholes], lambda part, whole: part / whole)


def mean_interval(values: Sequence[float]) -> Interval:
    """Bootstrap interval of a mean."""
    return bootstrap([values, [1.0] * len(values)], lambda total, n: total / n)
