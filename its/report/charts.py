"""Learning curves and accuracy against tokens as drawings: numbers in, coordinates of an SVG out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from its.report.data import ReportData
from its.report.grouping import distinct, grouped, table_title
from its.report.numbers import ends, percent
from its.report.sentences import CUT


@dataclass(frozen=True)
class Frame:
    """The drawing area of a chart, 720 units wide: from 0 to the last tick across, between the ticks upwards."""

    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    left: float = 56.0
    right: float = 704.0
    top: float = 12.0
    bottom: float = 242.0

    def x(self, value: float) -> float:
        return round(self.left + (self.right - self.left) * value / self.x_ticks[-1], 1)

    def y(self, value: float) -> float:
        least, most = self.y_ticks[0], self.y_ticks[-1]
        return round(self.bottom - (self.bottom - self.top) * (value - least) / (most - least), 1)

    def drawn(self, unit: str = "") -> dict[str, Any]:
        """The frame as the template draws it; the unit is behind the numbers of the upright axis."""
        return {
            "x_ticks": [(self.x(tick), f"{tick:g}") for tick in self.x_ticks],
            "y_ticks": [(self.y(tick), f"{tick:g}{unit}") for tick in self.y_ticks],
            "box": {key: getattr(self, key) for key in ("left", "right", "top", "bottom")},
        }


ACROSS = {"checkpoint": "share of the training's steps", "rows": "rows trained on", "k": "responses that vote"}
"""Axis of a learning curve -> its name below the chart."""


def curve_charts(study: ReportData) -> list[dict[str, Any]]:
    """Learning curves as drawings, a chart for each axis of a table: colour by train strategy, dashes by test."""
    charts = []
    kinds = grouped(study.curves, lambda c: (c.benchmark, c.axis, c.model, c.dataset, c.variant))
    for (benchmark, axis, model, dataset, variant), curves in kinds:
        points = [point for curve in curves for point in curve.points]
        frame = Frame(
            round_ticks(0.0, max(point.at for point in points)),
            round_ticks(0.0, 100 * max(point.high for point in points)),
        )
        trains, tests = distinct(curve.train for curve in curves), distinct(curve.test for curve in curves)
        series = [
            {
                "label": f"train {curve.train or 'base'}, test {curve.test}",
                "colour": trains.index(curve.train) % 8,
                "dash": tests.index(curve.test) % 4,
                "points": " ".join(f"{frame.x(p.at)},{frame.y(100 * p.avg)}" for p in curve.points),
                "dots": [
                    (frame.x(p.at), frame.y(100 * p.avg), frame.y(100 * p.low), frame.y(100 * p.high))
                    for p in curve.points
                ],
                "told": [(p.label, f"{p.at:g}", percent(p.avg), ends(p)) for p in curve.points],
            }
            for curve in curves
        ]
        table = table_title(model, "several datasets" if axis == "rows" else dataset, variant)
        charts.append(
            {
                "title": f"{benchmark}, {table}: {ACROSS[axis]}",
                "axis": axis,
                "across": ACROSS[axis],
                "series": series,
                **frame.drawn(" %"),
            }
        )
    return charts


def token_charts(study: ReportData) -> list[dict[str, Any]]:
    """Accuracy against completion tokens, a chart for each benchmark, a dot for each cell: colour by train strategy.

    `cut` marks a cell of which at least 5 % of the responses were truncated.
    """
    charts = []
    for benchmark, cells in grouped(study.cells, lambda cell: cell.benchmark):
        if len(cells) < 2 or not any(cell.completion_tokens for cell in cells):
            continue
        frame = Frame(
            round_ticks(0.0, max(cell.completion_tokens for cell in cells)),
            round_ticks(0.0, 100 * max(cell.high for cell in cells)),
        )
        trains = distinct(cell.train for cell in cells)
        charts.append(
            {
                "title": f"{benchmark}: accuracy against tokens",
                "dots": [
                    {
                        "x": frame.x(cell.completion_tokens),
                        "y": frame.y(100 * cell.avg),
                        "low": frame.y(100 * cell.low),
                        "high": frame.y(100 * cell.high),
                        "colour": trains.index(cell.train) % 8,
                        "cut": cell.truncated_rate >= CUT,
                        "told": f"{cell.checkpoint}, test {cell.test}: {percent(cell.avg)} {ends(cell)}, "
                        f"{cell.completion_tokens:.1f} tokens, {percent(cell.truncated_rate)} truncated",
                    }
                    for cell in cells
                ],
                "legend": [(f"train {train or 'base'}", place % 8) for place, train in enumerate(trains)],
                **frame.drawn(" %"),
            }
        )
    return charts


def round_ticks(low: float, high: float) -> list[float]:
    """About five round numbers, the first at or below `low`, the last at or above `high`."""
    span = (high - low) or 1.0
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if span / (size * m) <= 5)
    first, last = math.floor(low / step), math.ceil((high if high > low else low + span) / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]
