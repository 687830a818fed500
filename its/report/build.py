"""The report of a study: one self-contained HTML page.

Values in, a string out: no file of the study is opened here. Shares are shown in percent, differences in points
(percentage points).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from its.report.charts import curve_charts, token_charts
from its.report.data import ReportData, ReportedCell
from its.report.grouping import distinct, grouped, table_title
from its.report.lead import TRAINED, lead_matrix, lead_sentences
from its.report.loss_chart import loss_chart
from its.report.matrix import Entry, Matrix, matrices, terms
from its.report.numbers import duration, ends, figures, number, p_value, percent, points, text
from its.report.sentences import FEW_PROBLEMS, contrast_text, cut_text, headline_sentences, pool_text, unmatched_text
from its.report.strips import choice_strip, held_out_strip, length_strips, similarity_strip, vote_strip
from its.results import Block, CellTest, Comparison, IntervalMethod
from its.secrets import redacted
from its.shown import shown

INTERVALS: dict[IntervalMethod, str] = {
    "nearest_coverage": "over problems, from the counts",
    "agresti_coull": "over problems, Agresti-Coull",
    "cluster_agresti_coull": "over problems, Agresti-Coull with the design effect",
    "seeds_and_problems": "over problems and training seeds",
    "none": "unknown: one problem",
}
BLOCKS: dict[Block, str] = {
    "base": "the untrained model",
    "NN": "trained without a context, tested without",
    "NX": "trained without a context, tested with one",
    "XN": "trained with a context, tested without",
    "XX": "a context on both sides: the co-design cells",
    "NC": "trained without a context, tested under a control",
    "CN": "trained under a control, tested without a context",
    "XC": "trained with a context, tested under a control",
    "CX": "trained under a control, tested with a context",
    "CC": "a control on both sides",
}
MOST_WORDS = 240
"""Characters of a description that the first screen shows."""
CONTENTS = {
    "headline": "What the study shows",
    "matrix": "Train by test",
    "selection": "The pair to report",
    "blocks": "Blocks",
    "comparisons": "Comparisons",
    "tests": "Cells against each other",
    "curves": "Learning curves",
    "efficiency": "Tokens against accuracy",
    "lengths": "Length and truncation",
    "votes": "Votes",
    "cells": "Every cell",
    "personas": "Personas",
    "solutions": "Solutions",
    "losses": "Training loss",
    "cost": "Cost",
    "parity": "Prompt parity",
    "responses": "Responses behind the cells",
    "run": "What was run",
}
"""Section -> its name in the contents, in the order of the page."""
MOST_TESTS = 20
"""Pairs of cells that the page lists; comparisons.json has all."""


def build_report(study: ReportData) -> str:
    """The study as one HTML page that loads nothing: styles, drawings and the one script are inside."""
    environment = Environment(
        loader=PackageLoader("its.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        points=points,
        ends=ends,
        number=number,
        figures=figures,
        duration=duration,
        p_value=p_value,
        text=text,
        metric=metric_value,
        redacted=redacted,
    )
    page = environment.get_template("report.html.j2").render(page_values(study))
    # Models wrote some of the text: escape sequences, marks of direction and lone surrogates, which no file takes.
    return shown(page.replace("\r\n", "\n").replace("\0", "\ufffd"), lines=True)


def page_values(study: ReportData) -> dict[str, Any]:
    """All that the template is given: texts, numbers, lists and mappings, nothing that can be called."""
    tables = matrices(study)
    names = distinct([*(m.benchmark for m in tables), *(cell.benchmark for cell in study.cells)])
    scales = {
        name: _scale([m for m in tables if m.benchmark == name]) for name in distinct(m.benchmark for m in tables)
    }
    cells = {name: [cell for cell in study.cells if cell.benchmark == name] for name in names}
    values = study.model_dump(exclude={"losses"})
    script = _own("explorer/explorer.js")
    first = lead_matrix(tables)
    few = [(name, p) for name, rows in cells.items() if 0 < (p := min(c.problems for c in rows)) < FEW_PROBLEMS]
    found: dict[str, Any] = dict(
        css=Markup(_own("style.css") + _own("explorer/explorer.css") + _shades()),
        explorer_js=Markup(script),
        explorer_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        study=values,
        headline=headline_sentences(study),
        matrices=[{**_plain(matrix, scales[matrix.benchmark]), "lead": matrix is first} for matrix in tables],
        scales=scales,
        swatches=list(range(0, SHADES + 1, SHADES // 10)),
        terms={name: terms(rows) for name, rows in cells.items()},
        cell_groups=grouped(values["cells"], lambda cell: cell["benchmark"]),
        metrics={name: _metrics(rows) for name, rows in cells.items()},
        intervals=_interval_name(study),
        few=few,
        lead=lead_sentences(study, tables),
        question=_question(study.description),
        alerts=_alerts(len(study.warnings), len(study.caveats) + len(few)),
        axes=_axes(study.comparisons),
        cut=[cut_text(row, study.cells) for row in study.efficiency],
        scatter=token_charts(study),
        explain=BLOCKS,
        bars=_bars(study.comparisons),
        contrasts=[(contrast_text(row), unmatched_text(row)) for row in study.comparisons],
        not_possible=_not_possible(study),
        controls=any("C" in row.block for row in study.blocks),
        curve_charts=curve_charts(study),
        test_groups=_test_groups(study.tests),
        loss=loss_chart(study),
        strips={
            "similarity": similarity_strip(study),
            "choice": choice_strip(study),
            "held_out": held_out_strip(study),
            "votes": vote_strip(study),
            "lengths": length_strips(study),
        },
        settings=grouped(values["settings"], lambda row: row["group"]),
        cost_total={
            key: sum(row[key] for row in values["cost"] if row[key] is not None)
            for key in ("responses", "generated", "from_store", "tokens", "seconds")
        },
        provenance=_provenance(study.provenance),
    )
    return {**found, "contents": _contents(found)}


def _contents(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sections that the page has, as (id, name)."""
    study = found["study"]
    shown = {
        **study,
        **found,
        "headline": True,
        "matrix": found["matrices"],
        "selection": study["selection"] or study["nested"],
        "tests": found["test_groups"],
        "curves": found["curve_charts"],
        "lengths": found["scatter"],
        "cells": found["cell_groups"],
        "losses": found["loss"],
        "responses": study["explorer"],
        "run": True,
    }
    return [(place, title) for place, title in CONTENTS.items() if shown[place]]


def _question(description: str | None) -> str:
    """A description as far as the first screen has room; the rest is in the section below it."""
    text = description or ""
    if len(text) <= MOST_WORDS:
        return text
    return text[:MOST_WORDS].rsplit(maxsplit=1)[0].rstrip(",;:") + " …"


def _alerts(warnings: int, caveats: int) -> str:
    """`2 warnings, 1 caveat`; empty where there is none."""
    counts = ((warnings, "warning"), (caveats, "caveat"))
    return ", ".join(f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count)


def _own(name: str) -> str:
    """A file of the page beside this one."""
    return files("its.report").joinpath(name).read_text(encoding="utf-8")


def _plain(matrix: Matrix, scale: tuple[float, float]) -> dict[str, Any]:
    """A table as the template reads it: values alone."""

    def field(entry: Entry | None) -> dict[str, Any] | None:
        if entry is None:
            return None
        seeds = [f"seed {cell.seed}: {percent(cell.avg)}" for cell in entry.cells] if len(entry.cells) > 1 else []
        if len(entry.cells) == 1 < len(matrix.seeds) and entry.cells[0].train is not None:
            seeds = [f"seed {entry.cells[0].seed} only"]
        step = shade(entry.avg, *scale)
        over = [f"over checkpoints {entry.over_checkpoints} %"] if entry.spread else []
        links = [f"{each.checkpoint}/{each.benchmark}/{each.test}" for each in entry.cells if each.pool is None]
        found = {"avg": entry.avg, "low": entry.low, "high": entry.high, "shade": step, "seeds": seeds + over}
        return {**found, "links": links}

    return {
        "benchmark": matrix.benchmark,
        "role": matrix.role,
        "title": matrix.title,
        "terms": terms(matrix.cells),
        "seeds": matrix.seeds,
        "checkpoints": matrix.checkpoints,
        "rows": matrix.rows,
        "columns": matrix.columns,
        "entries": [[field(entry) for entry in row] for row in matrix.entries],
    }


STOPS = [(239, 246, 252), (158, 202, 225), (49, 130, 189), (8, 48, 107)]
DARK_STOPS = [(22, 32, 46), (18, 60, 112), (49, 130, 189), (190, 224, 245)]
"""The dark ramp is inverted: in both schemes a low value is near the page and a high one far from it."""


SHADES = 40
"""Steps of the colour scale: in a page of 4,800 cells a style in each took half a megabyte."""


def shade(value: float, low: float, high: float) -> int:
    """The step of a value on the scale [low, high], from 0 to SHADES."""
    return round(SHADES * min(max((value - low) / (high - low), 0.0), 1.0))


def heat_style(step: int) -> str:
    """Background of a step of the colour scale and the text colour with the better contrast (at least 4.5).

    A light and a dark pair; browsers without `light-dark()` take the light one.
    """
    place = step / SHADES
    (back, ink), (dark_back, dark_ink) = (_colours(place, stops) for stops in (STOPS, DARK_STOPS))
    both = f"background:light-dark({back},{dark_back});color:light-dark({ink},{dark_ink})"
    return f"background:{back};color:{ink};{both}"


def _shades() -> str:
    """The rules of all steps, `.h0` to `.h40`."""
    return "".join(f".h{step} {{ {heat_style(step)} }}\n" for step in range(SHADES + 1))


def _colours(share: float, stops: Sequence[tuple[int, int, int]]) -> tuple[str, str]:
    place = share * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    rgb = [round(a + (b - a) * (place - index)) for a, b in zip(stops[index], stops[index + 1], strict=True)]
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    ink = "#000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#fff"
    return f"#{rgb[0]:02x}{rgb[1]:02x}{rgb[2]:02x}", ink


def _metrics(cells: Sequence[ReportedCell]) -> list[str]:
    """The further metrics of a benchmark's cells (`pass@4`), in order of their columns; with k = 1 they are avg@n."""
    return distinct(name for cell in cells for name in cell.intervals if not name.endswith("@1"))


def metric_value(cell: Mapping[str, Any], name: str) -> float | None:
    """The value of `pass@4`, `all@4` or `maj@3` in a cell."""
    metric, _, k = name.partition("@")
    value: float | None = cell[f"{metric}_at_k"].get(k)
    return value


def _test_groups(tests: Sequence[CellTest]) -> list[dict[str, Any]]:
    """The tests of pairs of cells, a group a table: how many, and the significant ones by p value."""
    out = []
    for table, rows in grouped(tests, lambda t: (t.benchmark, t.model, t.dataset, t.variant)):
        significant = sorted((t for t in rows if t.significant), key=lambda t: (t.p_value, -abs(t.difference)))
        shown = [test.model_dump() for test in significant[:MOST_TESTS]]
        found = [t.minimum_detectable_difference for t in rows if t.minimum_detectable_difference is not None]
        out.append(
            {
                "name": f"{table[0]}, {table_title(table[1], table[2], table[3], ' trained on ')}",
                "tests": len(rows),
                "significant": shown,
                "more": len(significant) - len(shown),
                "smallest": min(t.p_value for t in rows),
                "detectable": found,
            }
        )
    return out


def _not_possible(study: ReportData) -> list[tuple[str, str, str]]:
    """(benchmark, what, why) of what the recipe wants and the cells do not allow."""
    pooled = [(pool.name, "the pool", f"it is without {pool_text(pool)}") for pool in study.pools if pool.left_out]
    return [*pooled, *((row.benchmark or "choice of a pair", row.name, row.reason) for row in study.not_possible)]


def _interval_name(study: ReportData) -> str:
    methods = "; ".join(distinct(INTERVALS[cell.interval_method] for cell in study.cells))
    level = f"{100 * study.confidence:g} % " if study.confidence else ""
    return f"{level}interval" + (f" ({methods})" if methods else "")


def _scale(matrices: Sequence[Matrix]) -> tuple[float, float]:
    """The ends of the colour scale of one benchmark, at least 25 points apart: noise must not look like an effect."""
    values = [entry.avg for matrix in matrices for row in matrix.entries for entry in row if entry]
    low, high = min(values), max(values)
    spare = max(0.0, 0.25 - (high - low)) / 2
    low, high = low - spare, high + spare
    shift = max(0.0, -low) - max(0.0, high - 1.0)
    return low + shift, high + shift


def _axes(rows: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The comparisons by the axis that they share: the effect of training would flatten all others on its own axis.

    `places` are indices into the comparisons, `scale` the ends of the axis.
    """
    groups = grouped(range(len(rows)), lambda place: rows[place].name == TRAINED)
    return [
        {"places": places, "scale": f"± {100 * _axis_end([rows[place] for place in places]):.1f} points"}
        for _, places in groups
    ]


def _axis_end(rows: Sequence[Comparison]) -> float:
    return 1.05 * max([0.01, *(abs(end) for row in rows for end in (row.low, row.high, row.difference))])


def _bars(rows: Sequence[Comparison]) -> list[dict[str, float]]:
    """Per comparison its interval on the axis of its group, 160 units with zero at 80."""
    ends_of = {trained: _axis_end(several) for trained, several in grouped(rows, lambda row: row.name == TRAINED)}

    def place(row: Comparison, value: float) -> float:
        return round(80 + 80 * value / ends_of[row.name == TRAINED], 1)

    return [
        {"low": place(row, row.low), "high": place(row, row.high), "at": place(row, row.difference)} for row in rows
    ]


def _provenance(value: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The provenance as titled lists of (name, value), nested tables flattened with dots."""
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    single = [(key, text(item)) for key, item in value.items() if not isinstance(item, Mapping)]
    for key, item in value.items():
        if key == "environments" and isinstance(item, Mapping):
            groups += [(f"environment {name}", _flat(inner)) for name, inner in item.items()]
        elif isinstance(item, Mapping):
            groups.append((key, _flat(item)))
    return ([("core", single)] if single else []) + [(name, rows) for name, rows in groups if rows]


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if not isinstance(value, Mapping):
        return [(prefix or "value", text(value))]
    return [pair for key, item in value.items() for pair in _flat(item, f"{prefix}.{key}" if prefix else str(key))]
