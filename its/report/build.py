"""A study's results as one self-contained HTML page.

Values in, a string out: no file of the study is opened here. Averages and intervals arrive as shares in [0, 1] and are
shown in percent; differences are shown in points (percentage points).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from its.report.charts import loss_charts
from its.report.check import REQUIRED, as_written, check_study
from its.report.grouping import distinct, grouped
from its.report.matrix import Entry, Matrix, Row, fewest, matrices, of, terms
from its.report.numbers import duration, ends, figures, number, p_value, percent, points, text
from its.report.sentences import FEW_PROBLEMS, headline_sentences
from its.shown import shown

INTERVALS = {
    "nearest_coverage": "over problems, from the counts",
    "agresti_coull": "over problems, Agresti-Coull",
    "cluster_agresti_coull": "over problems, Agresti-Coull with the design effect",
    "none": "unknown: one problem",
}
BLOCKS = {
    "base": "the untrained model",
    "NN": "trained without a persona, tested without",
    "NX": "trained without a persona, tested with one",
    "XN": "trained with a persona, tested without",
    "XX": "a persona on both sides: the co-design cells",
}
MOST_TESTS = 20
"""Pairs of cells that the page lists; comparisons.json has them all."""

_OPTIONAL = ("description", "commit", "dirty", "created", "design", "warnings", "caveats", *REQUIRED)


@as_written(also=(TemplateError,))
def build_report(study: Mapping[str, Any]) -> str:
    """The study as one HTML page that loads nothing: styles and drawings are inside, there is no script.

    Lists that are absent or empty leave their section out. `confidence` (0.95, say), where given, names the intervals.

    Raises:
        DataError: if a row of the study lacks a field that the page cannot do without; all such rows are named.
    """
    check_study(study)
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
    )
    page = environment.get_template("report.html.j2").render(page_values(study))
    # Models wrote some of the text: escape sequences, marks of direction and lone surrogates, which no file takes.
    return shown(page.replace("\r\n", "\n").replace("\0", "\ufffd"), lines=True)


def page_values(study: Mapping[str, Any]) -> dict[str, Any]:
    """All that the template is given: texts, numbers, lists and mappings, nothing that can be called."""
    tables = matrices(study)
    scales = {
        name: _scale([m for m in tables if m.benchmark == name]) for name in distinct(m.benchmark for m in tables)
    }
    return dict(
        css=Markup(files("its.report").joinpath("style.css").read_text(encoding="utf-8")),
        study={**dict.fromkeys(_OPTIONAL), **study},
        recipe=study.get("recipe") or "unnamed",
        headline=headline_sentences(study),
        matrices=[_plain(matrix, scales[matrix.benchmark]) for matrix in tables],
        scales=scales,
        swatches=[heat_style(i / 10, 0.0, 1.0) for i in range(11)],
        terms={name: terms(of(study, "cells", name)) for name in scales},
        cell_groups=grouped(study.get("cells") or [], lambda cell: cell["benchmark"]),
        metrics={name: _metrics(of(study, "cells", name)) for name in scales},
        intervals=_interval_name(study),
        few=[(n, p) for n in scales for p in [fewest(of(study, "cells", n))] if p and p < FEW_PROBLEMS],
        explain=BLOCKS,
        bars=_bars(study.get("contrasts") or []),
        test_groups=_test_groups(study.get("tests") or []),
        charts=loss_charts(study),
        settings=grouped(study.get("settings") or [], lambda row: row.get("group") or ""),
        problems=grouped(study.get("examples") or [], lambda row: (row["benchmark"], row["problem_id"])),
        cost_total={
            key: sum(row[key] for row in study.get("cost") or [] if row.get(key) is not None)
            for key in ("responses", "asked", "from_store", "tokens", "seconds")
        },
        provenance=_provenance(study.get("provenance") or {}),
    )


def _plain(matrix: Matrix, scale: tuple[float, float]) -> dict[str, Any]:
    """A table as the template reads it: values alone, as everything that it is given."""

    def field(entry: Entry | None) -> dict[str, Any] | None:
        if entry is None:
            return None
        seeds = [f"seed {cell['seed']}: {percent(cell['avg'])}" for cell in entry.cells] if len(entry.cells) > 1 else []
        style = heat_style(entry.avg, *scale)
        return {"avg": entry.avg, "low": entry.low, "high": entry.high, "style": style, "seeds": seeds}

    return {
        "benchmark": matrix.benchmark,
        "role": matrix.role,
        "title": matrix.title,
        "seeds": matrix.seeds,
        "rows": matrix.rows,
        "columns": matrix.columns,
        "entries": [[field(entry) for entry in row] for row in matrix.entries],
    }


def heat_style(value: float, low: float, high: float) -> str:
    """Background for a value on the scale [low, high] and the text colour with the better contrast (at least 4.5)."""
    stops = [(239, 246, 252), (158, 202, 225), (49, 130, 189), (8, 48, 107)]
    place = min(max((value - low) / (high - low), 0.0), 1.0) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2)
    rgb = [round(a + (b - a) * (place - index)) for a, b in zip(stops[index], stops[index + 1], strict=True)]
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    ink = "#000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#fff"
    return f"background:#{rgb[0]:02x}{rgb[1]:02x}{rgb[2]:02x};color:{ink}"


def _metrics(cells: Sequence[Row]) -> list[str]:
    """The further metrics of a benchmark's cells (`pass@4`), in order of their columns; with k = 1 they are avg@n."""
    return distinct(name for cell in cells for name in cell.get("intervals") or {} if not name.endswith("@1"))


def metric_value(cell: Row, name: str) -> float | None:
    """The value of `pass@4`, `all@4` or `maj@3` in a cell."""
    metric, _, k = name.partition("@")
    value = (cell.get(f"{metric}_at_k") or {}).get(k)
    return None if value is None else float(value)


def _test_groups(tests: Sequence[Row]) -> list[dict[str, Any]]:
    """The tests of pairs of cells, a group a table: how many, and those beyond the noise, the surest first."""
    out = []
    for (benchmark, model, dataset), rows in grouped(tests, lambda t: (t["benchmark"], t["model"], t["dataset"])):
        loud = sorted((t for t in rows if not t["within_noise"]), key=lambda t: (t["p_value"], -abs(t["difference"])))
        out.append(
            {
                "name": f"{benchmark}, {model}" + (f" trained on {dataset}" if dataset else ""),
                "looks": len(rows),
                "loud": loud[:MOST_TESTS],
                "more": len(loud) - len(loud[:MOST_TESTS]),
                "smallest": min(t["p_value"] for t in rows),
                "seen": [t["detectable"] for t in rows if t["detectable"] is not None],
            }
        )
    return out


def _interval_name(study: Mapping[str, Any]) -> str:
    found = distinct(c["interval"] for c in study.get("cells") or [] if c.get("interval"))
    methods = "; ".join(INTERVALS.get(name, name) for name in found)
    level = f"{100 * study['confidence']:g} % " if study.get("confidence") else ""
    return f"{level}interval" + (f" ({methods})" if methods else "")


def _scale(matrices: Sequence[Matrix]) -> tuple[float, float]:
    """The ends of the colour scale of one benchmark, at least 25 points apart: noise must not look like an effect."""
    values = [entry.avg for matrix in matrices for row in matrix.entries for entry in row if entry]
    low, high = min(values), max(values)
    spare = max(0.0, 0.25 - (high - low)) / 2
    low, high = low - spare, high + spare
    shift = max(0.0, -low) - max(0.0, high - 1.0)
    return low + shift, high + shift


def _bars(contrasts: Sequence[Row]) -> list[dict[str, float] | None]:
    """Per contrast its interval on one shared axis of 160 units with zero at 80; None where there is no interval."""
    ends = [abs(c[key]) for c in contrasts for key in ("low", "high", "difference") if c[key] is not None]
    scale: float = max([*ends, 0.01]) * 1.05

    def place(value: float) -> float:
        return round(80 + 80 * value / scale, 1)

    return [
        None
        if None in (c["low"], c["high"], c["difference"])
        else {"low": place(c["low"]), "high": place(c["high"]), "at": place(c["difference"])}
        for c in contrasts
    ]


def _provenance(value: Row) -> list[tuple[str, list[tuple[str, str]]]]:
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
