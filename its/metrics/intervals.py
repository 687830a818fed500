"""Confidence intervals of rates. The problem is the unit: responses to one problem are not independent.

The methods were chosen by the coverage that `benchmarks/calibration.py` measures; docs/statistics.md has its table. A
percentile bootstrap over 30 problems covers 93 % on average where 95 % are promised, below 90 % at rates near 0 and 1,
and has no width at all where all problems agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from its.metrics.quantiles import normal_quantile, t_quantile


@dataclass(frozen=True)
class Interval:
    """Bounds in [0, 1]; `method` is agresti_coull, cluster_agresti_coull, seeds_and_problems, wilson or none.

    `none` is one problem: nothing is known, and the bounds are 0 and 1.
    """

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
    z = normal_quantile((1 + confidence) / 2)
    share = correct / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == total else min(1.0, centre + half)
    return Interval(low, high, "wilson")


def mean_interval(
    values_P: ArrayLike, *, responses: float, confidence: float = 0.95, inflation: float = 1.0
) -> Interval:
    """The interval of the mean over problems of a value in [0, 1], for the problems that could have been drawn.

    Agresti and Coull's interval for a share, with the number of problems divided by the design effect: the variance
    between problems as a part of the greatest that a mean allows. With one response the design effect is 1, known, and
    this is Agresti and Coull's own; with many it is estimated from the problems, and the normal quantile gives way to
    Student's t as 1 - 1/responses. It is at least 1/responses, what independent responses to equally hard problems
    have. Where all values are 0, or all are 1, nothing is known of it and it is 1.

    Args:
        values_P: one value a problem: avg@n, or pass@k, maj@k, a mean over cells.
        responses: how many independent draws a value rests on, >= 1: n for avg@n, n / k for pass@k and maj@k, n x cells
            for a mean over cells. A fraction is fine.
        inflation: by what the variance of the mean is larger than its problems show.

    Raises:
        ValueError: without problems, on a value outside [0, 1], if responses < 1 or confidence is not in (0, 1).
    """
    _check_confidence(confidence)
    values = np.asarray(values_P, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not bool(np.all((values >= -1e-9) & (values <= 1 + 1e-9))):
        raise ValueError("values have to be at least one and all in [0, 1]")
    if responses < 1:
        raise ValueError(f"responses = {responses}; a value rests on at least 1")
    if values.size == 1:
        return Interval(0.0, 1.0, "none")
    mean, variance = float(values.mean()), float(values.var(ddof=1))
    effect = max(_design_effect(mean, variance, values.size), 1 / responses)
    z = normal_quantile((1 + confidence) / 2)
    t = t_quantile((1 + confidence) / 2, values.size - 1)
    method = "agresti_coull" if responses == 1 else "cluster_agresti_coull"
    return _agresti_coull(mean, values.size / (effect * inflation), z + (t - z) * (1 - 1 / responses), method)


def seeds_interval(values_S_P: ArrayLike, *, responses: float, confidence: float = 0.95) -> Interval:
    """The interval of the mean over training seeds and problems, for seeds and problems that could have been drawn.

    Both are crossed: every seed is measured on every problem. The variance over problems and that over seeds, less half
    of their interaction, which both hold, are added, each with its own Student's t squared. Two seeds that differ give
    a wide interval: that is what two seeds tell. It is never narrower than that over problems alone.

    Args:
        values_S_P: training seed, then problem; a value in [0, 1].
        responses: draws behind one value, as in `mean_interval`.

    Raises:
        ValueError: as `mean_interval`.
    """
    values = np.asarray(values_S_P, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError("values are training seed by problem")
    seeds, problems = values.shape
    alone = mean_interval(values.mean(axis=0), responses=responses * seeds, confidence=confidence)
    if seeds < 2 or problems < 2:
        return alone
    mean = float(values.mean())
    by_problem = float(values.mean(axis=0).var(ddof=1)) / problems
    by_seed = float(values.mean(axis=1).var(ddof=1)) / seeds
    rest = values - values.mean(axis=0) - values.mean(axis=1)[:, None] + mean
    both = float((rest**2).sum()) / ((seeds - 1) * (problems - 1)) / (seeds * problems)
    if not 0 < mean < 1:
        return alone
    t_problem, t_seed = (t_quantile((1 + confidence) / 2, size - 1) for size in (problems, seeds))
    extra = min(by_seed, max(0.0, by_seed - both) + both / 2)
    variance = by_problem + extra * (t_seed / t_problem) ** 2
    if variance <= 0:
        return alone
    found = _agresti_coull(mean, mean * (1 - mean) / variance, t_problem, "seeds_and_problems")
    return Interval(min(found.low, alone.low), max(found.high, alone.high), found.method)


def interval_of(correct_P_N: Sequence[Sequence[bool]], confidence: float = 0.95) -> Interval:
    """The interval of avg@n; every problem weighs the same.

    Raises:
        ValueError: without problems or with a problem without responses.
    """
    if not correct_P_N or not all(len(correct_N) for correct_N in correct_P_N):
        raise ValueError("an interval needs problems, each with at least one response")
    means_P = [sum(correct_N) / len(correct_N) for correct_N in correct_P_N]
    return mean_interval(means_P, responses=min(map(len, correct_P_N)), confidence=confidence)


def difference_error(differences_P: NDArray[np.float64]) -> float:
    """The standard error of a mean paired difference, which never promises to know everything.

    The squared deviations get two pseudo-problems at the typical difference (the root mean square of those that are
    not 0, or 1 where all are), one up and one down: for one response that is what Bonett and Price add to McNemar's
    table, and for differences of many sizes about zero it is the usual error. One problem has the error 1.
    """
    size = differences_P.size
    if size < 2:
        return 1.0
    some = differences_P[np.abs(differences_P) > 1e-12]
    typical = float((some**2).mean()) if some.size else 1.0
    return sqrt((float(((differences_P - differences_P.mean()) ** 2).sum()) + 2 * typical) / (size * (size + 1)))


def difference_bounds(
    differences_P: NDArray[np.float64], *, limit: float = inf, confidence: float = 0.95
) -> tuple[float, float]:
    """Bounds of a mean paired difference: Student's t on `difference_error`, cut at -limit and limit."""
    if differences_P.size < 2:
        return -limit, limit
    mean = float(differences_P.mean())
    half = t_quantile((1 + confidence) / 2, differences_P.size - 1) * difference_error(differences_P)
    return max(-limit, mean - half), min(limit, mean + half)


def _design_effect(mean: float, variance: float, problems: int) -> float:
    """Variance between problems over mean (1 - mean), both estimated without bias; 1 where there is nothing to see."""
    greatest = mean * (1 - mean) + variance / problems
    if mean < 1e-12 or mean > 1 - 1e-12 or greatest <= 0:
        return 1.0
    return min(1.0, variance / greatest)


def _agresti_coull(mean: float, total: float, critical: float, method: str) -> Interval:
    size = total + critical**2
    centre = (mean * total + critical**2 / 2) / size
    half = critical * sqrt(max(0.0, centre * (1 - centre)) / size)
    return Interval(max(0.0, centre - half), min(1.0, centre + half), method)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence} is not in (0, 1)")
