"""All cells of a table compared with each other, paired by problem, corrected for the number of comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from its.metrics.compare import ALPHA, POWER
from its.metrics.intervals import difference_error
from its.metrics.quantiles import t_quantile

_CHUNK = 2_000_000
_ROOM = 1e-6
"""How far a statistic's square has to stay below the number of problems; at that number all signs agree."""


@dataclass(frozen=True)
class PairTest:
    """`first` minus `second`; the fields are those of `its.results.CellTest`. All of it is for these checkpoints."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    raw_p_value: float
    problems: int
    significant: bool
    minimum_detectable_difference: float | None


def compare_cells(
    values_P: Mapping[str, NDArray[np.float64]], pairs: Sequence[tuple[str, str]], *, seed: int, draws: int
) -> list[PairTest]:
    """Every pair tested by step-down max-T over sign flips (Westfall and Young), in the order of the pairs.

    The signs of a problem are flipped in all pairs at once, which keeps the dependence between pairs: sixteen cells of
    one model are far from 120 independent comparisons, and Holm would treat them as such. The statistic of a pair is
    its sum of differences over the root of their sum of squares, which flips do not change, so that pairs of different
    spread weigh the same.
    A pair without a difference has p = 1. The chance of one or more false alarms in the whole table is at most 5 %.

    Args:
        values_P: cell -> mean correctness on each problem, the same problems in the same order.
        pairs: names of the cells to compare.
        draws: arrangements drawn; p is at least 1 / (draws + 1).

    Raises:
        ValueError: if cells have different numbers of problems, or none, or draws < 1.
    """
    if not pairs:
        return []
    return compare_pairs(pairs, [(values_P[one], values_P[other]) for one, other in pairs], seed=seed, draws=draws)


def compare_pairs(
    pairs: Sequence[tuple[str, str]],
    values: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    seed: int,
    draws: int,
) -> list[PairTest]:
    """As `compare_cells`, where a cell's values may differ from pair to pair: those over the seeds of both.

    Args:
        values: for each pair the mean correctness of both on each problem, the same problems throughout.
    """
    if not pairs:
        return []
    sizes = {len(side) for both in values for side in both}
    if len(sizes) != 1 or 0 in sizes or draws < 1:
        raise ValueError(f"cells have {sorted(sizes)} problems and {draws} draws; pair them first")
    differences = np.stack([np.asarray(one, float) - np.asarray(other, float) for one, other in values])
    size = differences.shape[1]
    spread = np.sqrt((differences**2).sum(axis=1))
    some = spread > 1e-9
    scaled = np.divide(differences, spread[:, None], out=np.zeros_like(differences), where=some[:, None])
    observed = np.abs(scaled.sum(axis=1))
    order = np.argsort(-observed, kind="stable")
    wanted = observed[order] - 1e-9
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(size, len(pairs)))
    alone, together, tops = np.zeros(len(pairs)), np.zeros(len(pairs)), []
    for start in range(0, draws, step):
        signs = generator.integers(0, 2, size=(min(step, draws - start), size), dtype=np.int8) * 2.0 - 1
        flipped = np.abs(signs @ scaled[order].T)
        alone += (flipped >= wanted).sum(axis=0)
        # The largest among a pair and all pairs with a smaller statistic: the step-down of Westfall and Young.
        largest = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]
        together += (largest >= wanted).sum(axis=0)
        tops.append(largest[:, 0])
    raw, adjusted = np.empty(len(pairs)), np.empty(len(pairs))
    raw[order] = (alone + 1) / (draws + 1)
    adjusted[order] = np.maximum.accumulate((together + 1) / (draws + 1))
    raw[~some], adjusted[~some] = 1.0, 1.0
    largest_flip = float(np.quantile(np.concatenate(tops), 1 - ALPHA, method="higher"))
    critical = _as_t(largest_flip, size)
    shows = size - largest_flip**2 > _ROOM and 2 / 2**size < ALPHA
    out = []
    for place, (first, second) in enumerate(pairs):
        difference, error = float(differences[place].mean()), difference_error(differences[place])
        power = t_quantile(POWER, size - 1) if size > 1 else 0.0
        out.append(
            PairTest(
                first,
                second,
                difference,
                max(-1.0, difference - critical * error),
                min(1.0, difference + critical * error),
                float(adjusted[place]),
                float(raw[place]),
                size,
                bool(adjusted[place] < ALPHA),
                min(1.0, (critical + power) * error) if shows else None,
            )
        )
    return out


def _as_t(statistic: float, size: int) -> float:
    """The t statistic of a sum over the root of its sum of squares; never below Student's own 95 % point.

    With few problems the flips reach only a few values, up to all signs alike, where t has no bound: then twice
    Student's point is used.
    """
    if size < 2:
        return 2.0
    least = t_quantile(1 - ALPHA / 2, size - 1)
    room = size - statistic**2
    return max(least, statistic * sqrt((size - 1) / room)) if room > _ROOM else 2 * least
