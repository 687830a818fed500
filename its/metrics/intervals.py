"""Confidence intervals of rates. The problem is the unit: responses to one problem are not independent.

The methods were chosen by the coverage that `benchmarks/calibration.py` measures; docs/statistics.md has its table. A
nominal 95 % percentile bootstrap over 30 problems covers 93 % on average, below 90 % at rates near 0 and 1, and has no
width where all problems agree.

References: Agresti and Coull, American Statistician 52 (1998); Korn and Graubard, Survey Methodology 24 (1998), for the
effective number of problems; Blyth and Still, JASA 78 (1983), for limits from runs of counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import lgamma, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from its.metrics.quantiles import normal_quantile, t_quantile
from its.results import IntervalMethod

COUNTED_UP_TO = 500
"""Beyond so many problems whole numbers no longer matter: Agresti and Coull's interval covers 94.4 to 95.9 % at 500."""
TAIL_WEIGHT = 0.25
"""Weight of unequal tails against coverage. 0.2 to 0.35 cover the same; without it intervals near 1/2 get long."""
CANDIDATES = 32
"""Counts that are tried for either end of a run: at 500 problems more than 2.5 standard deviations."""


@dataclass(frozen=True)
class Interval:
    """Bounds in [0, 1]; the method `none` stands for one problem, about which nothing is known: 0 and 1."""

    low: float
    high: float
    method: IntervalMethod


def mean_interval(
    values_P: ArrayLike, *, responses: float, confidence: float = 0.95, inflation: float = 1.0
) -> Interval:
    """The interval of the mean over problems of a value in [0, 1], for the problems that could have been drawn.

    Where every value is 0 or 1 and rests on one response, the limits come from the counts (`_lower_limits`).

    Everything else has Agresti and Coull's interval for a share, with the number of problems divided by the design
    effect: the variance between problems as a fraction of the largest that a mean allows. It is at least 1/responses,
    the value of independent responses to equally hard problems, and 1 where all values are 0 or all are 1. The
    critical value moves from the normal's to Student's t with the share of the variance that is not within responses,
    and the shrinkage towards 1/2 grows with the skew of heterogeneous problems.

    Args:
        values_P: one value a problem: avg@n, or pass@k, maj@k, a mean over cells.
        responses: how many independent draws a value rests on, >= 1: n for avg@n, n / k for pass@k and maj@k, n x cells
            for a mean over cells. A fraction is fine.
        inflation: the true variance of the mean over the variance that its problems show.

    Raises:
        ValueError: without problems, on a value outside [0, 1], if responses < 1 or confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence} is not in (0, 1)")
    values = np.asarray(values_P, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not bool(np.all((values >= -1e-9) & (values <= 1 + 1e-9))):
        raise ValueError("values have to be at least one and all in [0, 1]")
    if responses < 1:
        raise ValueError(f"responses = {responses}; a value rests on at least 1")
    if values.size == 1:
        return Interval(0.0, 1.0, "none")
    counted = responses == 1 and inflation == 1 and values.size <= COUNTED_UP_TO
    if counted and bool(np.all((np.abs(values) < 1e-9) | (np.abs(values - 1) < 1e-9))):
        limits, correct = _lower_limits(values.size, confidence), round(float(values.sum()))
        return Interval(float(limits[correct]), 1 - float(limits[values.size - correct]), "nearest_coverage")
    mean, variance = float(values.mean()), float(values.var(ddof=1))
    effect = max(_design_effect(mean, variance, values.size), 1 / responses)
    z = normal_quantile((1 + confidence) / 2)
    t = t_quantile((1 + confidence) / 2, values.size - 1)
    critical = z + (t - z) * (1 - 1 / (responses * effect))
    method: IntervalMethod = "agresti_coull" if responses == 1 else "cluster_agresti_coull"
    size = values.size / (effect * inflation)
    return _agresti_coull(mean, size, critical, method, skew=_relative_skew(responses, effect))


def seeds_interval(values_S_P: ArrayLike, *, responses: float, confidence: float = 0.95) -> Interval:
    """The interval of the mean over training seeds and problems, for seeds and problems that could have been drawn.

    Both are crossed: every seed is measured on every problem. The variance over problems and that over seeds, less half
    of their interaction, which both contain, are added, each with its own Student's t squared. Two seeds that differ
    give a wide interval, as two seeds say little. It is never narrower than that over problems alone.

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
    if not 0 < mean < 1:
        return alone
    by_problem = float(values.mean(axis=0).var(ddof=1)) / problems
    t_problem, t_seed = (t_quantile((1 + confidence) / 2, size - 1) for size in (problems, seeds))
    variance = by_problem + seed_variance(values) * (t_seed / t_problem) ** 2
    if variance <= 0:
        return alone
    found = _agresti_coull(mean, mean * (1 - mean) / variance, t_problem, "seeds_and_problems")
    return Interval(min(found.low, alone.low), max(found.high, alone.high), found.method)


def seed_variance(values_S_P: NDArray[np.float64]) -> float:
    """What training seeds add to the variance of the mean over seeds and problems.

    The variance between seeds contains the interaction of seeds and problems, and so does that between problems: half
    of it is subtracted here. 0 with one seed or one problem.
    """
    seeds, problems = values_S_P.shape
    if seeds < 2 or problems < 2:
        return 0.0
    by_seed = float(values_S_P.mean(axis=1).var(ddof=1)) / seeds
    rest = values_S_P - values_S_P.mean(axis=0) - values_S_P.mean(axis=1)[:, None] + values_S_P.mean()
    both = float((rest**2).sum()) / ((seeds - 1) * (problems - 1)) / (seeds * problems)
    return float(min(by_seed, max(by_seed - both, 0.0) + both / 2))


def difference_error(differences_P: NDArray[np.float64]) -> float:
    """The standard error of a mean paired difference, never 0.

    The squared deviations get two pseudo-problems at the typical difference (the root mean square of those that are
    not 0, or 1 where all are), one up and one down: for one response Bonett and Price add the same to McNemar's
    table, and for differences of many sizes around zero it is the usual error. One problem has the error 1.
    """
    size = differences_P.size
    if size < 2:
        return 1.0
    some = differences_P[np.abs(differences_P) > 1e-12]
    typical = float((some**2).mean()) if some.size else 1.0
    return sqrt((float(((differences_P - differences_P.mean()) ** 2).sum()) + 2 * typical) / (size * (size + 1)))


def difference_half(differences_S_P: NDArray[np.float64], probability: float) -> float:
    """How far the mean of paired differences may be from the truth: a quantile, such as 0.975, of its error.

    Student's t on `difference_error` of the means over seeds; with several training seeds their variance is added with
    a separate t, so that the error is for other seeds, too. At least 2 problems.
    """
    seeds, problems = differences_S_P.shape
    variance = (t_quantile(probability, problems - 1) * difference_error(differences_S_P.mean(axis=0))) ** 2
    if seeds > 1:
        variance += t_quantile(probability, seeds - 1) ** 2 * seed_variance(differences_S_P)
    return float(np.sqrt(variance))


def _design_effect(mean: float, variance: float, problems: int) -> float:
    """Variance between problems over mean (1 - mean), both estimated without bias; 1 where all values agree."""
    greatest = mean * (1 - mean) + variance / problems
    if mean < 1e-12 or mean > 1 - 1e-12 or greatest <= 0:
        return 1.0
    return min(1.0, variance / greatest)


def _relative_skew(responses: float, effect: float) -> float:
    """How many times as skewed a mean is as a count of the same variance, if problems' rates have a beta distribution.

    1 for one response a problem and for problems of equal rates, up to 2 / (1 + effect) for many responses.
    """
    if responses <= 1 or effect >= 1:
        return 1.0
    return (2 * responses * effect - effect - 1) / (effect * (responses + responses * effect - 2))


def _agresti_coull(mean: float, total: float, critical: float, method: IntervalMethod, skew: float = 1.0) -> Interval:
    added = critical**2
    centre = (mean * total + skew * added / 2) / (total + skew * added)
    half = critical * sqrt(max(0.0, centre * (1 - centre)) / (total + added))
    return Interval(max(0.0, centre - half), min(1.0, centre + half), method)


@lru_cache(maxsize=64)
def _lower_limits(total: int, confidence: float) -> NDArray[np.float64]:
    """The lower limit of a share for each number correct, 0 to `total`; the upper one of x is 1 - lower of total - x.

    Each rate accepts a run of counts: the one whose probability is nearest to `confidence` with nearly equal tails, and
    with neither end above that of a larger rate. A count's limits are the lowest and the highest rate that accept it.
    Neighbours can share a limit. Coverage is within 93.5 to 97 % at every rate from 0.1
    to 0.9 from 40 problems on, and at 99.5 % of those rates for 30, with intervals as long as Agresti and Coull's,
    which is so at 90 % of them for 30 problems (docs/statistics.md).

    Rates are taken in 4,034 steps, within which limits are rounded outwards.
    """
    steps, alpha = 2017, 1 - confidence  # a prime: no round rate is between two steps
    counts = np.arange(total + 1)
    factorials = np.array([lgamma(count + 1) for count in counts])
    choices = factorials[-1] - factorials - factorials[::-1]
    lower, upper = np.full(total + 1, 0.5), np.full(total + 1, 0.5)
    first, last = total, total
    for step in range(steps - 1, -1, -1):
        rate = (step + 0.5) / (2 * steps)
        chances = np.exp(choices + counts * np.log(rate) + (total - counts) * np.log1p(-rate))
        below = np.concatenate([[0.0], np.cumsum(chances)])
        most = min(first, int(np.searchsorted(below, 2 * alpha, side="right")) - 1)
        least = min(last, int(np.searchsorted(below, 1 - 2 * alpha)) - 1)
        firsts = np.arange(max(0, most - CANDIDATES), most + 1)
        lasts = np.arange(least, min(last, least + CANDIDATES) + 1)
        under, over = below[firsts][:, None], 1 - below[lasts + 1][None, :]
        loss = (alpha - under - over) ** 2 + TAIL_WEIGHT * (under - over) ** 2
        best = np.unravel_index(int(np.argmin(loss)), loss.shape)
        first, last = int(firsts[best[0]]), int(lasts[best[1]])
        lower[: last + 1] = step / (2 * steps)
        upper[:first] = step / (2 * steps)
    return np.where(upper[::-1] < 0.5, 1 - upper[::-1], lower)
