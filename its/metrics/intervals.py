"""Confidence intervals. The problem is the unit of resampling: responses to one problem are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2_000_000
"""Numbers held at once while resampling (16 MB)."""


@dataclass(frozen=True)
class Interval:
    """Bounds in [0, 1]; `method` is wilson, cluster_bootstrap or none (one problem: nothing is known)."""

    low: float
    high: float
    method: str


def wilson(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a share; honest at 0 and at `total`, where the normal one has no width.

    Raises:
        ValueError: if total < 1, correct is not in [0, total], or confidence not in (0, 1).
    """
    _check_confidence(confidence)
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"{correct} correct of {total} is not a share")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == total else min(1.0, centre + half)
    return Interval(low, high, "wilson")


def cluster_bootstrap(means_P: Sequence[float], *, seed: int, draws: int, confidence: float = 0.95) -> Interval:
    """Percentile bootstrap of the mean over problems.

    One problem says nothing of others, so its interval is [0, 1] and the method `none`. Problems that are all alike
    give an interval of no width; `interval_of` knows better.

    Args:
        means_P: mean correctness of each problem, in [0, 1].

    Raises:
        ValueError: without problems, on a mean outside [0, 1], if draws < 1 or confidence is not in (0, 1).
    """
    _check_confidence(confidence)
    values_P = np.asarray(means_P, dtype=np.float64)
    if values_P.size == 0 or not bool(np.all((values_P >= 0) & (values_P <= 1))):
        raise ValueError("means have to be at least one and all in [0, 1]")
    if values_P.size == 1:
        return Interval(0.0, 1.0, "none")
    low, high = bootstrap_bounds(values_P, np.random.default_rng(seed), draws, confidence)
    return Interval(low, high, "cluster_bootstrap")


def interval_of(correct_P_N: Sequence[Sequence[bool]], *, seed: int, draws: int) -> Interval:
    """The 95 % interval of avg@n: Wilson's where every problem has one response, else the bootstrap over problems.

    Where all responses are correct, or none is, the bootstrap has no width; then it is Wilson's over problems, too.

    Raises:
        ValueError: without problems or with a problem without responses.
    """
    if not correct_P_N or not all(len(correct_N) for correct_N in correct_P_N):
        raise ValueError("an interval needs problems, each with at least one response")
    means_P = [sum(correct_N) / len(correct_N) for correct_N in correct_P_N]
    if all(len(correct_N) == 1 for correct_N in correct_P_N) or set(means_P) in ({0.0}, {1.0}):
        return wilson(round(sum(means_P)), len(means_P))
    return cluster_bootstrap(means_P, seed=seed, draws=draws)


def bootstrap_bounds(
    values_P: NDArray[np.float64], generator: np.random.Generator, draws: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Bounds of the percentile bootstrap of the mean of `values_P`."""
    if draws < 1:
        raise ValueError(f"draws = {draws}; at least 1 is needed")
    size = int(values_P.size)
    step = max(1, _CHUNK // size)
    means = np.concatenate(
        [
            values_P[generator.integers(0, size, size=(min(step, draws - start), size))].mean(axis=1)
            for start in range(0, draws, step)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence} is not in (0, 1)")
