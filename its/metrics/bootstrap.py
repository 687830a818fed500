"""Bootstrap over problems, in chunks of draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2_000_000
"""Numbers in memory while resampling (16 MB), however many draws there are."""


def resampled_counts(size: int, draws: int, generator: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Chunks of rows, one row a draw: how often each of `size` items occurs in `size` draws with replacement.

    Raises:
        ValueError: if size < 1 or draws < 1.
    """
    if size < 1 or draws < 1:
        raise ValueError(f"{draws} draws of {size} items; both are at least 1")
    step = max(1, _CHUNK // size)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = generator.integers(0, size, size=(rows, size)) + np.arange(rows)[:, None] * size
        yield np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64)


def ratio_bounds(
    tops_P: NDArray[np.float64], bottoms_P: NDArray[np.float64], *, seed: int, draws: int, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bounds, over problems, of ratios of sums such as correct per token; one pair for every column.

    All columns share the same draws of problems.

    Args:
        tops_P: problem, then column.
        bottoms_P: the same shape; a draw whose sum is 0 has the ratio 0.
    """
    shares = []
    for counts in resampled_counts(len(tops_P), draws, np.random.default_rng(seed)):
        top, bottom = counts @ tops_P, counts @ bottoms_P
        shares.append(np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0))
    low, high = np.quantile(np.concatenate(shares), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high
