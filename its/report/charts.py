"""Loss and learning curves as drawings: numbers in, coordinates of an SVG out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from its.report.data import LossStep, ReportData, ReportedCell
from its.report.grouping import distinct, grouped, mean, table_title
from its.report.numbers import ends, percent
from its.report.sentences import CUT
from its.shown import counted
from its.types import DEFAULT_VARIANT


@dataclass(frozen=True)
class Frame:
    """The drawing area of a chart: steps from 0 to `last` across, losses from `least` to `most` upwards."""

    last: float
    least: float
    most: float
    left: float = 56.0
    right: float = 704.0
    top: float = 12.0
    bottom: float = 242.0

    def x(self, step: float) -> float:
        return round(self.left + (self.right - self.left) * step / self.last, 1)

    def y(self, loss: float) -> float:
        return round(self.bottom - (self.bottom - self.top) * (loss - self.least) / (self.most - self.least), 1)


def loss_charts(study: ReportData) -> list[dict[str, Any]]:
    """Loss curves as drawings, one per (model, dataset): colour by train strategy and variant, dashes by seed."""
    known = {_training(c): c for c in study.cells if c.train is not None}
    losses = [(name, rows) for name, rows in study.losses.items() if rows]

    def group_of(item: tuple[str, Any]) -> tuple[Any, ...]:
        cell = known.get(item[0])
        return (cell.model, cell.dataset) if cell else ()

    charts = []
    for group, members in grouped(losses, group_of):
        curves = [(name, *_thin(rows)) for name, rows in members]
        drawn = [curve for curve in curves if curve[1]]
        if not drawn:
            continue
        last = max(step for _, dots, _ in drawn for step, _ in dots)
        least, most = (f(loss for _, dots, _ in drawn for _, loss in dots) for f in (min, max))
        x_ticks, y_ticks = _ticks(0.0, last), _ticks(min(0.0, least), most)
        frame = Frame(x_ticks[-1], y_ticks[0], y_ticks[-1])
        trains = distinct(_label(name, known.get(name)) for name, _, _ in drawn)
        seeds = distinct(known[name].seed if name in known else None for name, _, _ in drawn)
        series = []
        for name, dots, lost in drawn:
            cell = known.get(name)
            trained = _label(name, cell)
            label = f"train {trained}, seed {cell.seed}" if cell else name
            series.append(
                {
                    "label": label + (f" ({counted(lost, 'step')} without a finite loss)" if lost else ""),
                    "colour": trains.index(trained) % 8,
                    "dash": seeds.index(cell.seed if cell else None) % 4,
                    "points": " ".join(f"{frame.x(step)},{frame.y(loss)}" for step, loss in dots),
                    "last": f"{dots[-1][1]:.3g}",
                    "end": (frame.x(dots[-1][0]), frame.y(dots[-1][1])),
                }
            )
        charts.append(
            {
                "title": f"Training loss of {' on '.join(map(str, group)) if group else 'other checkpoints'}",
                "series": series,
                "x_ticks": [(frame.x(t), f"{t:g}") for t in x_ticks],
                "y_ticks": [(frame.y(t), f"{t:g}") for t in y_ticks],
                "box": {key: getattr(frame, key) for key in ("left", "right", "top", "bottom")},
                "lost": [f"{name}: {lost}" for name, dots, lost in curves if not dots],
            }
        )
    return charts


ACROSS = {"checkpoint": "share of the training's steps", "rows": "rows trained on", "k": "responses that vote"}
"""Axis of a learning curve -> its name below the chart."""


def curve_charts(study: ReportData) -> list[dict[str, Any]]:
    """Learning curves as drawings, a chart for each axis of a table: colour by train strategy, dashes by test."""
    charts = []
    kinds = grouped(study.curves, lambda c: (c.benchmark, c.axis, c.model, c.dataset, c.variant))
    for (benchmark, axis, model, dataset, variant), curves in kinds:
        points = [point for curve in curves for point in curve.points]
        x_ticks = _ticks(0.0, max(point.at for point in points))
        y_ticks = _ticks(0.0, 100 * max(point.high for point in points))
        frame = Frame(x_ticks[-1], y_ticks[0], y_ticks[-1])
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
                "x_ticks": [(frame.x(t), f"{t:g}") for t in x_ticks],
                "y_ticks": [(frame.y(t), f"{t:g} %") for t in y_ticks],
                "box": {key: getattr(frame, key) for key in ("left", "right", "top", "bottom")},
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
        x_ticks = _ticks(0.0, max(cell.completion_tokens for cell in cells))
        y_ticks = _ticks(0.0, 100 * max(cell.high for cell in cells))
        frame = Frame(x_ticks[-1], y_ticks[0], y_ticks[-1])
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
                "x_ticks": [(frame.x(t), f"{t:g}") for t in x_ticks],
                "y_ticks": [(frame.y(t), f"{t:g} %") for t in y_ticks],
                "box": {key: getattr(frame, key) for key in ("left", "right", "top", "bottom")},
            }
        )
    return charts


def _training(cell: ReportedCell) -> str:
    """The name of a cell's training: that of its last checkpoint, without `-1of3`."""
    return cell.checkpoint.removesuffix("-" + str(cell.saved_at).replace("/", "of"))


def _label(name: str, cell: ReportedCell | None) -> str:
    """The train strategy of a training, and its variant if it has one."""
    if cell is None:
        return name
    return str(cell.train) if cell.variant in (None, DEFAULT_VARIANT) else f"{cell.train}, {cell.variant}"


def _thin(rows: Sequence[LossStep], most: int = 300) -> tuple[list[tuple[float, float]], int]:
    """At most about 300 dots, each the mean of its steps, and how many steps had no finite loss."""
    dots = [(float(row.step), row.loss) for row in rows if row.loss is not None and math.isfinite(row.loss)]
    size = math.ceil(len(dots) / most) or 1
    parts = [dots[i : i + size] for i in range(0, len(dots), size)]
    return [(mean(s for s, _ in part), mean(v for _, v in part)) for part in parts], len(rows) - len(dots)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers, the first at or below `low`, the last at or above `high`."""
    span = (high - low) or 1.0
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if span / (size * m) <= 5)
    first, last = math.floor(low / step), math.ceil((high if high > low else low + span) / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]
