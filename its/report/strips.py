"""Drawings of rows below each other on one axis: personas, chosen pairs, votes, the cells' lengths.

A row is a name, marks at places in percent of the axis, and the same values in words: a page shows it as a table, so
that names wrap on a phone and a screen reader reads the words. At most MOST_ROWS rows of a chart are drawn; `more`
counts the others, which are in the table of the same section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from its.report.charts import round_ticks
from its.report.data import ReportData, ReportedCell
from its.report.grouping import distinct, grouped, mean, table_title
from its.report.numbers import percent, points
from its.report.sentences import CUT
from its.results import VoteResult

MOST_ROWS = 40


@dataclass(frozen=True)
class Mark:
    """What is drawn on one axis of a row, in the axis' unit: a dot with its interval, a ring, or bars from zero.

    `to_ring` joins the dot and the ring by a line; a later bar is drawn over an earlier one.
    """

    words: str
    dot: float | None = None
    span: tuple[float, float] | None = None
    ring: float | None = None
    to_ring: bool = False
    bars: tuple[float, ...] = ()
    alert: bool = False

    def values(self) -> list[float]:
        given = [self.dot, self.ring, *(self.span or ()), *self.bars]
        return [value for value in given if value is not None]


@dataclass(frozen=True)
class Row:
    group: str
    name: str
    marks: tuple[Mark, ...]
    small: str = ""


def similarity_strip(study: ReportData) -> dict[str, Any] | None:
    """The AUC of personas by strategy, from 0 to 100 %, a group for each set; None where none was measured."""
    rows = [
        Row(
            row.set,
            row.strategy,
            (
                Mark(
                    percent(found.auc),
                    dot=100 * found.auc,
                    span=None if not found.auc_interval else (100 * found.auc_interval[0], 100 * found.auc_interval[1]),
                ),
            ),
            f"{row.personas:,} persona{'' if row.personas == 1 else 's'}",
        )
        for row in study.personas
        if (found := row.similarity) is not None and found.auc is not None
    ]
    return _chart("Similarity of personas to their own problem, AUC", rows, [_axis("AUC", [0.0, 100.0], " %", 50.0)])


def choice_strip(study: ReportData) -> dict[str, Any] | None:
    """The gain of each chosen pair where it was chosen (ring) and where it is reported (dot); None without one."""
    rows = [
        Row(
            table_title(chosen.model, chosen.dataset, chosen.variant),
            f"{chosen.train} → {chosen.test}",
            (
                Mark(
                    f"{points(chosen.select.gain)} → {points(report.gain)}",
                    dot=100 * report.gain,
                    ring=100 * chosen.select.gain,
                    to_ring=True,
                ),
            ),
            f"on {report.benchmark}",
        )
        for chosen in study.selection
        for report in chosen.report
    ]
    title = "Gain of the chosen pair where it was chosen (ring) and where it is reported (dot), in points"
    return _chart(title, rows, [_axis("gain", _values(rows, 0), "", 0.0)])


def held_out_strip(study: ReportData) -> dict[str, Any] | None:
    """The held-out score of choosing with its interval (dot), and the mean of the largest cell (ring)."""
    rows = [
        Row(
            row.benchmark,
            table_title(row.model, row.dataset, row.variant),
            (
                Mark(
                    f"{percent(row.held_out_score)}, largest cell {percent(row.held_out_score + row.optimism)}",
                    dot=100 * row.held_out_score,
                    span=(100 * row.low, 100 * row.high),
                    ring=100 * (row.held_out_score + row.optimism),
                ),
            ),
            f"best of {row.pairs} pairs",
        )
        for row in study.nested
    ]
    title = "Held-out score of choosing (dot, with its interval) and the mean of the largest cell (ring)"
    return _chart(title, rows, [_axis("accuracy", _values(rows, 0), " %")])


def vote_strip(study: ReportData) -> dict[str, Any] | None:
    """The accuracy of each vote with its interval (dot), and the mean of its members (ring) where all are known."""
    known = {(cell.checkpoint, cell.benchmark, cell.test): cell.avg for cell in study.cells}

    def row(vote: VoteResult) -> Row:
        members = [known.get((member.checkpoint, vote.benchmark, member.test)) for member in vote.members]
        found = [avg for avg in members if avg is not None]
        alone = mean(found) if found and len(found) == len(members) else None
        words = f"{percent(vote.accuracy)}" + (f", members {percent(alone)}" if alone is not None else "")
        ring = None if alone is None else 100 * alone
        mark = Mark(words, dot=100 * vote.accuracy, span=(100 * vote.low, 100 * vote.high), ring=ring)
        return Row(vote.benchmark, vote.name, (mark,))

    rows = [row(vote) for vote in study.votes]
    title = "Accuracy of each vote (dot, with its interval) and the mean of its members (ring)"
    return _chart(title, rows, [_axis("accuracy", _values(rows, 0), " %")])


def length_strips(study: ReportData) -> list[dict[str, Any]]:
    """Completion tokens and truncated responses of the cells, a chart for each benchmark, a group for each checkpoint.

    Of more than MOST_ROWS cells those with the largest share of truncated responses are drawn, then the longest, in
    the order of the study.
    """
    charts = []
    for benchmark, cells in grouped(study.cells, lambda cell: cell.benchmark):
        if len(cells) < 2:
            continue
        order = sorted(cells, key=lambda cell: (-cell.truncated_rate, -cell.completion_tokens))
        first = set(map(id, order[:MOST_ROWS]))
        kept = [cell for cell in cells if id(cell) in first]
        thought = any(cell.thinking_tokens for cell in cells)
        rows = [_lengths(cell, thought) for cell in kept]
        axes = [_axis("completion tokens", _values(rows, 0), ""), _axis("truncated", [0.0, 100.0], " %")]
        title = f"{benchmark}: length and truncation" + (", thinking in the stronger colour" if thought else "")
        chart = _chart(title, rows, axes)
        if chart is not None:
            which = "those with the most truncated responses"
            charts.append({**chart, "more": len(cells) - len(kept), "which": which})
    return charts


def _lengths(cell: ReportedCell, thought: bool) -> Row:
    bars = (cell.completion_tokens, cell.thinking_tokens) if thought else (cell.completion_tokens,)
    return Row(
        cell.checkpoint,
        f"test {cell.test}",
        (
            Mark(f"{cell.completion_tokens:,.1f}", bars=bars),
            Mark(percent(cell.truncated_rate), bars=(100 * cell.truncated_rate,), alert=cell.truncated_rate >= CUT),
        ),
    )


def _values(rows: Sequence[Row], place: int) -> list[float]:
    return [value for row in rows for value in row.marks[place].values()]


def _axis(name: str, values: Sequence[float], unit: str, zero: float | None = None) -> dict[str, Any]:
    """An axis from zero, or from the least value below it, to the largest; `zero` is where a line crosses all rows."""
    ticks = round_ticks(min(0.0, *values), max(0.0, *values)) if values else [0.0, 1.0]
    ticks = [0.0, 50.0, 100.0] if (ticks[0], ticks[-1], unit) == (0.0, 100.0, " %") else ticks
    return {"name": name, "ticks": ticks, "unit": unit, "zero": zero}


def _chart(title: str, rows: Sequence[Row], axes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    if not rows:
        return None
    drawn = rows[:MOST_ROWS]

    def place(axis: dict[str, Any], value: float) -> float:
        low, high = float(axis["ticks"][0]), float(axis["ticks"][-1])
        return round(100 * (value - low) / (high - low), 2)

    def placed(axis: dict[str, Any], mark: Mark) -> dict[str, Any]:
        dot, ring = (None if value is None else place(axis, value) for value in (mark.dot, mark.ring))
        span = (dot, ring) if mark.to_ring else mark.span and tuple(place(axis, value) for value in mark.span)
        bars = [place(axis, value) for value in mark.bars]
        words = mark.words.replace(" %", "\u00a0%")  # a narrow column breaks between words only
        return {"words": words, "dot": dot, "ring": ring, "span": span, "bars": bars, "alert": mark.alert}

    groups = [
        {
            "name": name,
            "rows": [
                {"name": row.name, "small": row.small, "marks": list(map(placed, axes, row.marks))} for row in members
            ],
        }
        for name, members in grouped(drawn, lambda row: row.group)
    ]
    return {
        "title": title,
        "axes": [
            {
                "name": axis["name"],
                "zero": None if axis["zero"] is None else place(axis, axis["zero"]),
                "ticks": [(place(axis, tick), f"{tick:g}{axis['unit']}") for tick in _few(axis["ticks"])],
            }
            for axis in axes
        ],
        "groups": groups,
        "more": len(rows) - len(drawn),
        "which": "the first ones",
    }


def _few(ticks: Sequence[float]) -> list[float]:
    """The ends of an axis with zero, or with what is halfway if a tick is there: a phone has room for three."""
    middle = [0.0] if 0.0 in ticks[1:-1] else [ticks[len(ticks) // 2]] if len(ticks) % 2 else []
    return distinct([ticks[0], *middle, ticks[-1]])
