"""The losses of all trainings in one drawing, each line named at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from its.report.charts import Frame, round_ticks
from its.report.data import LossStep, ReportData, ReportedCell
from its.report.grouping import distinct, mean
from its.types import DEFAULT_VARIANT

MOST_NAMED = 30
"""Lines that are named at their ends; more are named in a list below the drawing."""
LINE, LETTER, MOST_LETTERS = 13.0, 6.3, 34
"""Height of a name, width of a letter, letters of a name, in units of a drawing that is 720 wide."""
AXES = ("model", "dataset", "train", "variant", "seed")


def loss_chart(study: ReportData) -> dict[str, Any] | None:
    """All losses as one drawing: colour by train strategy and variant, dashes by seed. None: nothing was trained.

    A name has the axes in which the trainings differ. `lost` names the trainings without a finite loss, and a name
    counts the steps that have none.
    """
    losses = {name: rows for name, rows in study.losses.items() if rows}
    if not losses:
        return None
    known = {_training(cell): cell for cell in study.cells if cell.train is not None}
    names = _names({name: known.get(name) for name in losses})
    thinned = {name: _thin(rows) for name, rows in losses.items()}
    lost = [f"{name}: {gone}" for name, (dots, gone) in thinned.items() if not dots]
    drawn = {name: found for name, found in thinned.items() if found[0]}
    where = {None if cell is None else (cell.model, cell.dataset) for cell in map(known.get, losses)}
    of = where.pop() if len(where) == 1 else None
    title = f"Training loss of {of[0]} on {of[1]}" if of else "Training loss"
    chart: dict[str, Any] = {"title": title, "series": [], "lost": lost}
    if not drawn:
        return chart
    colours = distinct(_coloured(name, known.get(name)) for name in drawn)
    dashes = distinct(getattr(known.get(name), "seed", None) for name in drawn)
    labels = {name: names[name] + _gaps(gone) for name, (_, gone) in drawn.items()}
    ends = {name: f"{dots[-1][1]:.3g}" for name, (dots, _) in drawn.items()}
    told = {name: f"{_short(labels[name])} {ends[name]}" for name in drawn}
    named = len(drawn) <= MOST_NAMED
    frame = _frame([dots for dots, _ in drawn.values()], list(told.values()) if named else [])
    places = _apart([frame.y(dots[-1][1]) for dots, _ in drawn.values()], frame.top, frame.bottom)
    for (name, (dots, _)), place in zip(drawn.items(), places, strict=True):
        chart["series"].append(
            {
                "label": labels[name],
                "told": told[name],
                "colour": colours.index(_coloured(name, known.get(name))) % 8,
                "dash": dashes.index(getattr(known.get(name), "seed", None)) % 4,
                "points": " ".join(f"{frame.x(step)},{frame.y(loss)}" for step, loss in dots),
                "last": ends[name],
                "end": (frame.x(dots[-1][0]), frame.y(dots[-1][1])),
                "place": place,
            }
        )
    return {**chart, **frame.drawn(), "named": named}


def _frame(lines: Sequence[Sequence[tuple[float, float]]], told: Sequence[str]) -> Frame:
    """A drawing that all lines fit in, with room for their names at the right, one below the other."""
    x_ticks = round_ticks(0.0, max(step for dots in lines for step, _ in dots))
    values = [loss for dots in lines for _, loss in dots]
    y_ticks = round_ticks(min(0.0, *values), max(values))
    right = 704.0 - (LETTER * max(map(len, told)) + 14 if told else 0)
    return Frame(x_ticks, y_ticks, right=round(right, 1), bottom=max(242.0, 24 + LINE * len(told)))


def _names(trainings: Mapping[str, ReportedCell | None]) -> dict[str, str]:
    """Training -> its name in the axes in which the trainings differ; without a cell, its full name."""
    cells = [cell for cell in trainings.values() if cell is not None]
    differing = [axis for axis in AXES if axis == "train" or len({getattr(cell, axis) for cell in cells}) > 1]

    def name(cell: ReportedCell) -> str:
        values = ((axis, str(getattr(cell, axis))) for axis in differing)
        return ", ".join(f"seed {value}" if axis == "seed" else value for axis, value in values)

    return {training: training if cell is None else name(cell) for training, cell in trainings.items()}


def _coloured(name: str, cell: ReportedCell | None) -> tuple[str | None, ...]:
    """What lines of one colour have in common."""
    if cell is None:
        return (name,)
    return (cell.model, cell.dataset, cell.train, None if cell.variant == DEFAULT_VARIANT else cell.variant)


def _training(cell: ReportedCell) -> str:
    """The name of a cell's training: that of its last checkpoint, without `-1of3`."""
    return cell.checkpoint.removesuffix("-" + str(cell.saved_at).replace("/", "of"))


def _gaps(steps: int) -> str:
    return f" ({steps} step{'s' if steps > 1 else ''} without a finite loss)" if steps else ""


def _short(name: str) -> str:
    """A name as far as a drawing has room: its beginning and its end."""
    half = MOST_LETTERS // 2
    return name if len(name) <= MOST_LETTERS else f"{name[:half]}…{name[-half + 1 :]}"


def _apart(places: Sequence[float], top: float, bottom: float) -> list[float]:
    """The places of names, each as near to its line as the height of a name allows; the order of the lines is kept."""
    order = sorted(range(len(places)), key=lambda at: places[at])
    out = list(places)
    for before, at in zip([None, *order], order, strict=False):
        least = top if before is None else out[before] + LINE
        out[at] = max(out[at], least)
    most = bottom
    for at in reversed(order):
        out[at] = round(min(out[at], most), 1)
        most = out[at] - LINE
    return out


def _thin(rows: Sequence[LossStep], most: int = 300) -> tuple[list[tuple[float, float]], int]:
    """At most about 300 dots, each the mean of its steps, and how many steps had no finite loss."""
    dots = [(float(row.step), row.loss) for row in rows if row.loss is not None and math.isfinite(row.loss)]
    size = math.ceil(len(dots) / most) or 1
    parts = [dots[i : i + size] for i in range(0, len(dots), size)]
    return [(mean(s for s, _ in part), mean(v for _, v in part)) for part in parts], len(rows) - len(dots)
