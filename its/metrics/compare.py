"""Two blocks of cells compared, paired by problem, and the correction for looking at many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from its.metrics.intervals import bootstrap_bounds

ALPHA = 0.05
_POWER_80 = 2.8
"""1.96 (two-sided 5 %) + 0.84 (80 % power), in standard errors."""
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Contrast:
    """Treated minus control. `p_value` is raw from `contrast` and adjusted from `holm`.

    `low` and `high` are the 95 % bounds of the difference, never adjusted. `within_noise` says that the p value at hand
    is at least 0.05. `detectable` is the smallest true difference that this many problems would show with 80 % power.
    """

    name: str
    difference: float
    low: float
    high: float
    p_value: float
    problems: int
    within_noise: bool
    detectable: float


def contrast(name: str, treated_P: Sequence[float], control_P: Sequence[float], *, seed: int, draws: int) -> Contrast:
    """The difference of two blocks on the same problems.

    The interval is a percentile bootstrap over problems; the p value is a two-sided sign-flip permutation test with the
    observed arrangement counted in, so it is at least 1 / (draws + 1). With P problems it is about 2 / 2^P at best:
    five problems do not reach 0.05. Where the differences have no spread, `detectable` is taken as if one problem had
    differed (2.8 / P, at most 1), since a standard error of 0 would promise everything.

    Args:
        treated_P: mean correctness of the treated block on each problem.
        control_P: the same of the control block, in the same order of problems.

    Raises:
        ValueError: if the lengths differ or are 0, a value is not finite, or draws < 1.
    """
    if len(treated_P) != len(control_P):
        raise ValueError(f"contrast `{name}`: {len(treated_P)} problems against {len(control_P)}; pair them first")
    if not len(treated_P):
        raise ValueError(f"contrast `{name}` has no problems")
    differences_P = np.asarray(treated_P, dtype=np.float64) - np.asarray(control_P, dtype=np.float64)
    if not bool(np.all(np.isfinite(differences_P))):
        raise ValueError(f"contrast `{name}` holds a value that is not finite")
    size = int(differences_P.size)
    difference = float(differences_P.mean())
    # Two streams, so that a change to one test does not move the other's numbers.
    low, high = bootstrap_bounds(differences_P, np.random.default_rng([seed, 0]), draws)
    if size == 1:
        low, high = -1.0, 1.0  # one problem says nothing of others
    p_value = _sign_flip(differences_P, np.random.default_rng([seed, 1]), draws)
    error = float(differences_P.std(ddof=1)) / sqrt(size) if size > 1 else 0.0
    detectable = _POWER_80 * error if error > 1e-12 else min(1.0, _POWER_80 / size)
    return Contrast(name, difference, low, high, p_value, size, p_value >= ALPHA, detectable)


def holm(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The same contrasts in the same order with Holm-adjusted p values; `within_noise` follows them.

    Give it raw p values, all those that were looked at, once: adjusting twice is too strict, adjusting a part too lax.
    """
    adjusted = [0.0] * len(contrasts)
    floor = 0.0
    for rank, place in enumerate(sorted(range(len(contrasts)), key=lambda i: contrasts[i].p_value)):
        floor = max(floor, min(1.0, (len(contrasts) - rank) * contrasts[place].p_value))
        adjusted[place] = floor
    return [replace(c, p_value=p, within_noise=p >= ALPHA) for c, p in zip(contrasts, adjusted, strict=True)]


def _sign_flip(differences_P: NDArray[np.float64], generator: np.random.Generator, draws: int) -> float:
    # Sums of floats in another order differ in the last bits; equal arrangements have to count as equal.
    observed = abs(float(differences_P.sum())) - 1e-9
    size = int(differences_P.size)
    step = max(1, _CHUNK // size)
    extreme = 0
    for start in range(0, draws, step):
        signs = generator.integers(0, 2, size=(min(step, draws - start), size)) * 2 - 1
        extreme += int(np.count_nonzero(np.abs(signs @ differences_P) >= observed))
    return (extreme + 1) / (draws + 1)
