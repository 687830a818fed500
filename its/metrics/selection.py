"""Which pair of strategies to report, and what it would score on problems that did not choose it.

The best of many cells is partly the luckiest: on 30 problems with one response each, the mean of the best of 16 equal
cells is 15 points too high (docs/statistics.md). So a pair is chosen on some problems and measured on others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from its.metrics.intervals import mean_interval

FOLDS = 5
REPEATS = 200
INFLATION = 2.0
"""The choice varies with the problems, too: simulated, the variance is 1.05 to 2 times that of one cell's mean."""


@dataclass(frozen=True)
class Choice:
    """The best name by value; `tied` lists all that share the value, the chosen one first."""

    name: str
    value: float
    tied: list[str]


@dataclass(frozen=True)
class NestedEstimate:
    """The held-out score of choosing the best cell.

    `maximum` is the best cell's mean on the problems that chose it, `optimism` is `maximum` - `score`. `chosen` is how
    often each cell was chosen, in [0, 1], most often first: where several share it, the problems do not separate them.
    """

    score: float
    low: float
    high: float
    maximum: float
    optimism: float
    chosen: dict[str, float]


def choose(values: Mapping[str, float]) -> Choice:
    """The name with the highest value; of several, the first in the order given.

    Raises:
        ValueError: without values.
    """
    if not values:
        raise ValueError("nothing to choose from")
    top = max(values.values())
    tied = [name for name, value in values.items() if value >= top - 1e-12]
    return Choice(tied[0], top, tied)


def nested_estimate(
    values_P: Mapping[str, NDArray[np.float64]],
    *,
    responses: float,
    seed: int,
    folds: int = FOLDS,
    repeats: int = REPEATS,
) -> NestedEstimate:
    """Repeated cross-validation of the choice: the best cell on 4 / 5 of the problems is measured on the rest.

    Each problem is left out once a repeat; its value is the mean over repeats of what the cells that the others chose
    scored on it; cells that tie share the choice. The interval is `mean_interval` of those values, at twice their
    variance. For equal cells the estimate has no bias; where one cell is truly best it is a little low, as a fifth of
    the problems did not help to find it.

    Args:
        values_P: cell -> mean correctness on each problem, the same problems in the same order.
        responses: draws behind one value, as in `mean_interval`.
        folds: parts that the problems are cut into; at most as many as there are problems.

    Raises:
        ValueError: without cells, or with fewer than 2 problems, or if their numbers differ.
    """
    if not values_P:
        raise ValueError("nothing to choose from")
    values = np.stack([np.asarray(value, dtype=np.float64) for value in values_P.values()])
    size = values.shape[1]
    if size < 2:
        raise ValueError(f"a choice needs problems to choose on and others to measure on; {size} is too few")
    parts = min(folds, size)
    generator = np.random.default_rng(seed)
    held_out_P, chosen = np.zeros(size), np.zeros(len(values))
    for _ in range(repeats):
        part_P = generator.permutation(size) % parts
        inside = np.equal.outer(part_P, np.arange(parts)).astype(np.float64)
        outside = (values.sum(axis=1)[:, None] - values @ inside) / (size - inside.sum(axis=0))
        best = outside >= outside.max(axis=0) - 1e-12
        shares = best / best.sum(axis=0)
        held_out_P += (shares[:, part_P] * values).sum(axis=0)
        chosen += shares.mean(axis=1)
    held_out_P, chosen = held_out_P / repeats, chosen / repeats
    interval = mean_interval(held_out_P.clip(0, 1), responses=responses, inflation=INFLATION)
    score, maximum = float(held_out_P.mean()), float(values.mean(axis=1).max())
    often = sorted(zip(values_P, chosen.tolist(), strict=True), key=lambda item: -item[1])
    return NestedEstimate(
        score, interval.low, interval.high, maximum, maximum - score, {name: c for name, c in often if c > 0}
    )
