"""Learning curves: correctness along an axis that has an order, for each pair of strategies."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from its.metrics.cells import Cell
from its.metrics.intervals import seeds_interval
from its.results import Curve, CurvePoint

Axis = Literal["checkpoint", "rows", "k"]


class _Point(NamedTuple):
    """Where a cell is on an axis, and its value there by problem."""

    at: float
    label: str
    cell: Cell
    values_P: NDArray[np.float64]
    responses: float


def curve_rows(cells: Sequence[Cell], rows_of: Mapping[tuple[str, str], int]) -> list[Curve]:
    """The learning curves of one benchmark: by checkpoint, by the rows trained on, by the responses that vote (k).

    A curve needs two places on its axis. Its points average over the training seeds that all of them have; without a
    common seed there is none, since the curve would mix the axis with the seeds. Curves by rows and by k are of last
    checkpoints.

    Args:
        rows_of: (dataset, train strategy) -> rows trained on; those that are not known have no point.
    """
    last = [cell for cell in cells if cell.is_last]
    trained = [cell for cell in cells if cell.train is not None]
    by_checkpoint = [_Point(float(c.steps), c.saved_at, c, c.means_P, c.n) for c in trained]
    by_rows = [
        _Point(float(rows_of[key]), str(c.dataset), c, c.means_P, c.n)
        for c in last
        if (key := (str(c.dataset), str(c.train))) in rows_of
    ]
    by_k = [
        _Point(float(k), f"maj@{k}", c, np.clip(values_P, 0, 1), max(1.0, c.n / k))
        for c in last
        for k, values_P in c.maj_P.items()
    ]
    return [
        *_curves("checkpoint", by_checkpoint, lambda c: (c.model, c.dataset, c.train, c.variant, c.test)),
        *_curves("rows", by_rows, lambda c: (c.model, c.train, c.variant, c.test)),
        *_curves("k", by_k, lambda c: (c.model, c.dataset, c.train, c.variant, c.test)),
    ]


def _curves(axis: Axis, points: Sequence[_Point], key: Callable[[Cell], Hashable]) -> list[Curve]:
    curves: dict[Any, dict[tuple[float, str], list[_Point]]] = {}
    for point in points:
        curves.setdefault(key(point.cell), {}).setdefault((point.at, point.label), []).append(point)
    out = []
    for places in curves.values():
        seeds = set.intersection(*({point.cell.seed for point in several} for several in places.values()))
        if len({at for at, _ in places}) < 2 or not seeds:
            continue
        cell = next(iter(places.values()))[0].cell
        out.append(
            Curve(
                benchmark=cell.benchmark,
                axis=axis,
                model=cell.model,
                dataset=None if axis == "rows" else cell.dataset,
                train=cell.train,
                variant=None if cell.train is None else cell.variant,
                test=cell.test,
                points=[
                    _mean([point for point in places[place] if point.cell.seed in seeds])
                    for place in sorted(places, key=lambda place: place[0])
                ],
            )
        )
    return out


def _mean(points: Sequence[_Point]) -> CurvePoint:
    """The points of several seeds as one."""
    first = points[0]
    values = np.stack([point.values_P for point in points])
    interval = seeds_interval(values, responses=first.responses)
    return CurvePoint(
        at=first.at,
        label=first.label,
        avg=float(np.mean(values)),
        low=interval.low,
        high=interval.high,
        interval_method=interval.method,
        seeds=[point.cell.seed for point in points if point.cell.seed is not None],
    )
