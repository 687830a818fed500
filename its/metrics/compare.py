"""Two blocks of cells compared, paired by problem, and the correction for several comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb, inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from its.errors import DataError
from its.metrics.intervals import difference_half, seed_variance

ALPHA = 0.05
POWER = 0.8
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Contrast:
    """Treated minus control; the fields are those of `its.results.Comparison`.

    `p_value` is raw from `contrast` and adjusted from `holm`, and `significant` follows it.
    """

    name: str
    difference: float
    low: float
    high: float
    p_value: float
    problems: int
    significant: bool
    minimum_detectable_difference: float | None
    one_sided_lower_bound: float
    p_value_method: str = "sign_flip"
    seeds: int = 1


def paired(
    treated: Mapping[str, float], control: Mapping[str, float], treated_name: str, control_name: str
) -> tuple[list[float], list[float]]:
    """The values of both sides in the order of the treated one, problem by problem.

    Raises:
        DataError: if one side lacks a problem of the other; leaving it out would change what is compared.
    """
    faults = []
    for one, other, has, lacks in (
        (treated, control, treated_name, control_name),
        (control, treated, control_name, treated_name),
    ):
        missing = [problem_id for problem_id in one if problem_id not in other]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            named = ", ".join(f"`{problem_id}`" for problem_id in missing[:3])
            faults.append(f"{named}{more} of {has} missing from {lacks}")
    if faults:
        raise DataError(
            f"cells are compared problem by problem: {'; '.join(faults)}", "`dvc repro` writes what is missing"
        )
    return list(treated.values()), [control[problem_id] for problem_id in treated]


def contrast(
    name: str,
    treated: ArrayLike,
    control: ArrayLike,
    *,
    seed: int,
    draws: int,
    comparisons: int = 1,
    limit: float = 1.0,
) -> Contrast:
    """The difference of two blocks on the same problems.

    The interval is Student's t on an error that is never 0 (`intervals.difference_error`). The p value is two-sided,
    of the sign-flip permutation test: exact where all problems that differ differ by as much (then it is McNemar's
    exact test, as for two cells of one response) or where there are no more arrangements than `draws`, else drawn
    with the observed arrangement counted in, so at least 1 / (draws + 1). With P problems it is 2 / 2^P at best: five
    problems do not reach 0.05.

    With several training seeds both are for other seeds, too: the p value is then at least the level at which the
    interval, which includes the variance between seeds, starts to contain 0. With one seed they are for these
    checkpoints.

    Args:
        treated: mean correctness of the treated block on each problem, or training seed by problem.
        control: the same of the control block, in the same order of problems (see `paired`) and seeds.
        comparisons: contrasts that are adjusted together; the minimum detectable difference and the one-sided lower
            bound are for the strictest of them.
        limit: the largest possible difference, where the bounds are cut.

    Raises:
        ValueError: if the shapes differ or are empty, a value is not finite, or draws < 1.
    """
    sides = [np.atleast_2d(np.asarray(side, dtype=np.float64)) for side in (treated, control)]
    if sides[0].shape != sides[1].shape:
        raise ValueError(f"contrast `{name}`: {sides[0].shape} against {sides[1].shape}; pair problems and seeds first")
    differences = sides[0] - sides[1]
    if not differences.size:
        raise ValueError(f"contrast `{name}` has no problems")
    if not bool(np.all(np.isfinite(differences))):
        raise ValueError(f"contrast `{name}` contains a value that is not finite")
    if draws < 1:
        raise ValueError(f"draws = {draws}; at least 1 is needed")
    seeds, problems = differences.shape
    difference = float(differences.mean())
    half, one_sided = inf, inf  # one problem has no interval
    if problems > 1:
        half, one_sided = (difference_half(differences, 1 - alpha) for alpha in (ALPHA / 2, ALPHA / comparisons))
    p_value, method = sign_flip(differences.mean(axis=0), np.random.default_rng(seed), draws)
    if seed_variance(differences) > 0 and (over_seeds := _interval_p_value(differences)) > p_value:
        p_value, method = over_seeds, "seeds"
    detectable = minimum_detectable_difference(differences, comparisons)
    return Contrast(
        name,
        difference,
        max(-limit, difference - half),
        min(limit, difference + half),
        p_value,
        problems,
        p_value < ALPHA,
        None if detectable is None else min(limit, detectable),
        max(-limit, difference - one_sided),
        method,
        seeds,
    )


def minimum_detectable_difference(differences_S_P: NDArray[np.float64], comparisons: int = 1) -> float | None:
    """The true difference that the test finds significant with 80 % power.

    From the observed error, at level 0.05 / comparisons. None if no difference can be: the smallest p value of P
    problems is 2 / 2^P.
    """
    differences = np.atleast_2d(differences_S_P)
    if 2 / 2 ** differences.shape[1] >= ALPHA / comparisons:
        return None
    return difference_half(differences, 1 - ALPHA / comparisons / 2) + difference_half(differences, POWER)


def _interval_p_value(differences_S_P: NDArray[np.float64]) -> float:
    """The level at which the interval starts to contain 0."""
    difference = abs(float(differences_S_P.mean()))
    low, high = 1e-6, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        contains = middle >= 1 or difference_half(differences_S_P, 1 - middle / 2) >= difference
        low, high = (middle, high) if contains else (low, middle)
    return high


def holm(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The same contrasts in the same order with Holm-adjusted p values; `significant` follows them.

    Pass the raw p values of all comparisons, once: adjusting twice is too strict, adjusting a part too lax.
    """
    adjusted = [0.0] * len(contrasts)
    floor = 0.0
    for rank, place in enumerate(sorted(range(len(contrasts)), key=lambda i: contrasts[i].p_value)):
        floor = max(floor, min(1.0, (len(contrasts) - rank) * contrasts[place].p_value))
        adjusted[place] = floor
    return [replace(c, p_value=p, significant=p < ALPHA) for c, p in zip(contrasts, adjusted, strict=True)]


def sign_flip(differences_P: NDArray[np.float64], generator: np.random.Generator, draws: int) -> tuple[float, str]:
    """The two-sided p value of a mean difference, and its method: mcnemar, sign_flip_exact or sign_flip.

    Under the null either side of each pair could have been the treated one, so each difference could have had the
    other sign. Problems without a difference do not count.
    """
    some = differences_P[np.abs(differences_P) > 1e-12]
    if not some.size or np.ptp(np.abs(some)) < 1e-9:
        return _mcnemar(int((some > 0).sum()), int((some < 0).sum())), "mcnemar"
    # Sums of floats in another order differ in the last bits; equal arrangements have to count as equal.
    observed = abs(float(some.sum())) - 1e-9
    if 2**some.size <= draws:
        sums = np.zeros(1)
        for value in some:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= observed).mean()), "sign_flip_exact"
    step = max(1, _CHUNK // some.size)
    extreme = 0
    for start in range(0, draws, step):
        signs = generator.integers(0, 2, size=(min(step, draws - start), some.size)) * 2.0 - 1
        extreme += int(np.count_nonzero(np.abs(signs @ some) >= observed))
    return (extreme + 1) / (draws + 1), "sign_flip"


def _mcnemar(better: int, worse: int) -> float:
    """The exact two-sided p value: `better` and `worse` problems, of those that differ, against a fair coin."""
    total, most = better + worse, max(better, worse)
    tail = sum(comb(total, count) for count in range(most, total + 1))
    return float(min(1.0, 2 * tail / 2**total))
