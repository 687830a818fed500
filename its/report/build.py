"""A study's results as one self-contained HTML page, as sentences, and as a table for terminals.

Values in, strings out: no file of the study is opened here. Averages and intervals arrive as shares in [0, 1] and are
shown in percent; differences are shown in points (percentage points).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from its.errors import DataError
from its.report.charts import loss_charts
from its.report.grouping import distinct, grouped, mean

Row = Mapping[str, Any]

BLOCKS = {
    "base": "the untrained model",
    "NN": "trained without a persona, tested without",
    "NX": "trained without a persona, tested with one",
    "XN": "trained with a persona, tested without",
    "XX": "a persona on both sides: the co-design cells",
}
FEW_PROBLEMS = 60  # below this a single problem moves a table by 1.7 points or more, and the page says by how much
DASH = "—"

_NUMBERS = ("problems", "n", "avg", "low", "high")  # of a cell; null there is a fault too
# What each list of the study must carry; any other key of the contract may be absent and is shown as a dash.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "settings": ("name", "value"),
    "cells": (
        *("checkpoint", "model", "dataset", "train", "seed", "benchmark", "test", "block"),
        *_NUMBERS,
    ),
    "blocks": ("benchmark", "block", "avg", "low", "high"),
    "contrasts": ("benchmark", "name", "difference", "low", "high", "p_value", "within_noise"),
    "votes": ("benchmark", "name", "accuracy", "low", "high", "problems"),
    "personas": ("set", "strategy", "personas"),
    "parity": ("checkpoint",),
    "cost": ("what",),
    "examples": ("problem_id", "benchmark", "checkpoint", "test", "problem", "response", "verdict"),
}
_OPTIONAL = ("description", "commit", "dirty", "created", "design", "warnings", "caveats", *_REQUIRED)


@dataclass(frozen=True)
class Entry:
    """One field of a train x test table: one cell, or the mean over the training seeds of a pair of strategies.

    Over several seeds `low` and `high` are the outermost ends of the seeds' intervals, not an interval of the mean.
    """

    cells: Sequence[Row]

    @property
    def avg(self) -> float:
        return mean(cell["avg"] for cell in self.cells)

    @property
    def low(self) -> float:
        return min(float(cell["low"]) for cell in self.cells)

    @property
    def high(self) -> float:
        return max(float(cell["high"]) for cell in self.cells)


@dataclass(frozen=True)
class Matrix:
    """The train x test table of one (benchmark, model, dataset): `entries[row][column]`, None where not measured."""

    benchmark: str
    role: str
    model: str
    dataset: str | None
    rows: Sequence[str | None]
    columns: Sequence[str]
    entries: Sequence[Sequence[Entry | None]]

    @property
    def cells(self) -> list[Row]:
        return [cell for row in self.entries for entry in row if entry for cell in entry.cells]

    @property
    def title(self) -> str:
        return f"{self.model} trained on {self.dataset}" if self.dataset else f"{self.model}, untrained"

    @property
    def seeds(self) -> list[Any]:
        return distinct(cell["seed"] for cell in self.cells if cell["train"] is not None)


def build_report(study: Mapping[str, Any]) -> str:
    """The study as one HTML page that loads nothing: styles and drawings are inside, there is no script.

    Lists that are absent or empty leave their section out. `confidence` (0.95, say), where given, names the intervals.

    Raises:
        DataError: if a row of the study lacks a field that the page cannot do without; all such rows are named.
    """
    _check(study)
    environment = Environment(
        loader=PackageLoader("its.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, points=points, ends=_ends, number=_number, duration=_duration, p_value=_p_value, text=_text
    )
    matrices = _matrices(study)
    scales = {
        name: _scale([m for m in matrices if m.benchmark == name]) for name in distinct(m.benchmark for m in matrices)
    }
    page = environment.get_template("report.html.j2").render(
        css=Markup(files("its.report").joinpath("style.css").read_text(encoding="utf-8")),
        study={**dict.fromkeys(_OPTIONAL), **study},
        recipe=study.get("recipe") or "unnamed",
        headline=headline_sentences(study),
        matrices=matrices,
        scales=scales,
        heat=lambda entry, name: heat_style(entry.avg, *scales[name]),
        swatches=[heat_style(i / 10, 0.0, 1.0) for i in range(11)],
        terms={name: _terms(_of(study, "cells", name)) for name in scales},
        seeds=lambda entry: [f"seed {c['seed']}: {percent(c['avg'])}" for c in entry.cells],
        cell_groups=grouped(study.get("cells") or [], lambda cell: cell["benchmark"]),
        intervals=_interval_name(study),
        few=[(n, p) for n in scales for p in [_fewest(_of(study, "cells", n))] if p and p < FEW_PROBLEMS],
        explain=BLOCKS,
        bars=_bars(study.get("contrasts") or []),
        charts=loss_charts(study),
        settings=grouped(study.get("settings") or [], lambda row: row.get("group") or ""),
        problems=grouped(study.get("examples") or [], lambda row: (row["benchmark"], row["problem_id"])),
        cost_total={
            key: sum(row[key] for row in study.get("cost") or [] if row.get(key) is not None)
            for key in ("responses", "asked", "from_store", "tokens", "seconds")
        },
        provenance=_provenance(study.get("provenance") or {}),
    )
    # JSON may hold NUL and lone surrogates (a model wrote the text); neither may stop the page from being written.
    return page.replace("\0", "\ufffd").encode("utf-8", "backslashreplace").decode("utf-8")


def headline_sentences(study: Mapping[str, Any]) -> list[str]:
    """What the study shows, in words: what training did against base, then each contrast of blocks, then co-design.

    Only benchmarks with the role `report` speak, or all of them where there is none. One sentence a string.

    Raises:
        DataError: as `build_report`.
    """
    _check(study)
    matrices = _matrices(study)
    spoken = [m for m in matrices if m.role == "report"] or matrices
    if not spoken:
        return ["Nothing was measured: the study holds no cell."]
    out = [_training_sentence(matrix) for matrix in spoken]
    for benchmark in distinct(m.benchmark for m in spoken):
        out += _contrast_sentences(benchmark, _of(study, "contrasts", benchmark))
        fewest = _fewest(_of(study, "cells", benchmark))
        if fewest and fewest < FEW_PROBLEMS:
            out.append(f"With the {fewest} problems of {benchmark} one problem is {100 / fewest:.1f} points.")
    return out


def text_table(study: Mapping[str, Any]) -> str:
    """The train x test tables for a terminal, one per benchmark, model and dataset; `-` where nothing was measured.

    Raises:
        DataError: as `build_report`.
    """
    _check(study)
    tables = []
    for matrix in _matrices(study):
        grid = [["train \\ test", *matrix.columns]]
        for name, entries in zip(matrix.rows, matrix.entries, strict=True):
            shown = [f"{percent(e.avg)} [{100 * e.low:.0f}, {100 * e.high:.0f}]" if e else "-" for e in entries]
            grid.append([name or "base", *shown])
        widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
        lines = [f"{matrix.benchmark} ({matrix.role}), {matrix.title}: {_terms(matrix.cells)}"]
        lines += ["  ".join(text.ljust(width) for text, width in zip(r, widths, strict=True)).rstrip() for r in grid]
        if len(matrix.seeds) > 1:
            seeds = ", ".join(map(str, matrix.seeds))
            lines.append(f"mean over training seeds {seeds}; brackets span the intervals of all seeds")
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n" if tables else "nothing was measured\n"


def percent(share: float | None) -> str:
    """A share in [0, 1] as `27.0 %`; a dash for None."""
    return DASH if share is None else f"{100 * share:.1f} %"


def points(difference: float | None, signed: bool = True) -> str:
    """A difference of shares in percentage points, `-2.0`; zero has no sign but `+`, a dash stands for None."""
    if difference is None:
        return DASH
    value = round(100 * difference, 1) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{value:+.1f}" if signed else f"{value:.1f}"


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


def _check(study: Mapping[str, Any]) -> None:
    faults = [
        f"{name}[{i}] lacks `{key}`"
        for name, keys in _REQUIRED.items()
        for i, row in enumerate(study.get(name) or [])
        for key in keys
        if key not in row or (name == "cells" and key in _NUMBERS and row[key] is None)
    ]
    if faults:
        raise DataError("the study cannot be reported: " + "; ".join(faults), "rerun the measure stage")


def _matrices(study: Mapping[str, Any]) -> list[Matrix]:
    """One per (benchmark, model, dataset), in the order of the design; base is in each one of its model."""
    cells: Sequence[Row] = study.get("cells") or []
    design: Row = study.get("design") or {}
    orders = {
        field: distinct([*(design.get(key) or []), *(cell[field] for cell in cells)])
        for field, key in (("benchmark", "benchmarks"), ("model", "models"), ("train", "train"), ("test", "test"))
    }
    out = []
    for benchmark in orders["benchmark"]:
        for model in orders["model"]:
            here = [cell for cell in cells if cell["benchmark"] == benchmark and cell["model"] == model]
            trained = [cell for cell in here if cell["train"] is not None]
            base = [cell for cell in here if cell["train"] is None]
            wanted = distinct([*(design.get("datasets") or []), *(cell["dataset"] for cell in trained)])
            datasets = [d for d in wanted if any(cell["dataset"] == d for cell in trained)]
            for dataset in datasets or ([None] if base else []):
                mine = [cell for cell in trained if cell["dataset"] == dataset]
                rows: list[Any] = [None] if base else []
                rows += [t for t in orders["train"] if t is not None and any(c["train"] == t for c in mine)]
                columns = [t for t in orders["test"] if any(c["test"] == t for c in [*base, *mine])]
                entries = [[_entry([*base, *mine], row, column) for column in columns] for row in rows]
                role = here[0].get("role") or "report"
                out.append(Matrix(benchmark, role, model, dataset, rows, columns, entries))
    return out


def _entry(cells: Sequence[Row], train: str | None, test: str) -> Entry | None:
    found = [cell for cell in cells if cell["train"] == train and cell["test"] == test]
    # Base may be listed once per dataset; it is one measurement, and the first listing stands for it.
    found = found[:1] if train is None else found
    return Entry(found) if found else None


def _training_sentence(matrix: Matrix) -> str:
    base = {c["test"]: c for c in reversed(matrix.cells) if c["train"] is None}
    trained = [c for c in matrix.cells if c["train"] is not None]
    start = f"On {matrix.benchmark} ({_terms(matrix.cells)}) "
    if not trained:
        entry = Entry(list(base.values()))
        return f"{start}only base was measured: {matrix.model} has {_spoken(entry, len(base), 'test strategy')}."
    entry = Entry(trained)
    start += f"{matrix.title} has {_spoken(entry, len(trained), 'trained cell')}"
    if not base:
        return f"{start}; base was not measured, so what training did cannot be told."
    before = Entry(list(base.values()))
    pairs = [(c, base[c["test"]]) for c in trained if c["test"] in base]
    above = sum(c["low"] > b["high"] for c, b in pairs)
    below = sum(c["high"] < b["low"] for c, b in pairs)
    gain = points(entry.avg - before.avg)
    out = f"{start}, base {_spoken(before, len(base), 'test strategy')}: {gain} points"
    if not pairs:
        return f"{out}, but no test strategy was measured on both."
    if not above and not below:
        return f"{out}; no trained cell is clear of base under the same test strategy (their intervals overlap)."
    clear = " and ".join(f"{count} {word}" for count, word in ((above, "above"), (below, "below")) if count)
    return f"{out}; of {len(pairs)} trained cells {clear} base under the same test strategy with intervals apart."


def _spoken(entry: Entry, count: int, noun: str) -> str:
    if count == 1:
        return f"{percent(entry.avg)} {_ends(entry)}"
    plural = "test strategies" if noun == "test strategy" else f"{noun}s"
    return f"{percent(entry.avg)} on average over {count} {plural} (their intervals span {_ends(entry)})"


def _contrast_sentences(benchmark: str, contrasts: Sequence[Row]) -> list[str]:
    if not contrasts:
        return []
    out = []
    loud = [c for c in contrasts if not c["within_noise"]]
    quiet = [c for c in contrasts if c["within_noise"]]
    if loud:
        out.append(f"On {benchmark} larger than the noise: {'; '.join(map(_contrast_words, loud))}.")
    if quiet:
        start = f"On {benchmark} within the noise" if loud else f"On {benchmark} no difference larger than the noise"
        out.append(f"{start}: {'; '.join(map(_contrast_words, quiet))}{_seen(quiet)}.")
    against = [c for c in contrasts if c["name"].startswith("XX - ")]
    if against:
        others = [c["name"].removeprefix("XX - ") for c in against]
        won = [c["name"].removeprefix("XX - ") for c in against if not c["within_noise"] and c["difference"] > 0]
        seen = "is seen" if won == others else f"is seen against {_listed(won)} only" if won else "is not seen"
        out.append(f"Co-design predicts XX above {_listed(others)} by more than the noise; on {benchmark} this {seen}.")
    return out


def _contrast_words(row: Row) -> str:
    return f"{row['name']} = {points(row['difference'])} points {_signed_ends(row)}, {_p_value(row['p_value'])}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _seen(rows: Sequence[Row]) -> str:
    seen = [row["detectable"] for row in rows if row.get("detectable") is not None]
    if not seen:
        return ""
    least, most = points(min(seen), signed=False), points(max(seen), signed=False)
    return f"; this design could have seen {least if least == most else f'{least} to {most}'} points"


def _terms(cells: Sequence[Row]) -> str:
    """`200 problems, n = 1, grader v1`; several values of one term are all listed."""

    def listed(key: str) -> str:
        values = distinct(c[key] for c in cells if c.get(key) is not None)
        return "/".join(str(v) for v in sorted(values, key=lambda v: (isinstance(v, str), v)))

    grader = listed("grader_version")
    return f"{listed('problems')} problems, n = {listed('n')}" + (f", grader v{grader}" if grader else "")


def _interval_name(study: Mapping[str, Any]) -> str:
    methods = ", ".join(distinct(c["interval"] for c in study.get("cells") or [] if c.get("interval")))
    level = f"{100 * study['confidence']:g} % " if study.get("confidence") else ""
    return f"{level}interval" + (f" ({methods})" if methods else "")


def _ends(row: Any) -> str:
    low, high = (row.low, row.high) if isinstance(row, Entry) else (row["low"], row["high"])
    return DASH if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"


def _signed_ends(row: Row) -> str:
    return f"[{points(row['low'])}, {points(row['high'])}]"


def _p_value(p: float | None) -> str:
    if p is None:
        return f"p {DASH}"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _number(value: float | None) -> str:
    """`12,345` for whole numbers, one decimal for others, a dash for None."""
    if value is None:
        return DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _text(value: Any) -> str:
    return DASH if value is None or value == "" else str(value)


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
    single = [(key, _text(item)) for key, item in value.items() if not isinstance(item, Mapping)]
    for key, item in value.items():
        if key == "environments" and isinstance(item, Mapping):
            groups += [(f"environment {name}", _flat(inner)) for name, inner in item.items()]
        elif isinstance(item, Mapping):
            groups.append((key, _flat(item)))
    return ([("core", single)] if single else []) + [(name, rows) for name, rows in groups if rows]


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if not isinstance(value, Mapping):
        return [(prefix or "value", _text(value))]
    return [pair for key, item in value.items() for pair in _flat(item, f"{prefix}.{key}" if prefix else str(key))]


def _of(study: Mapping[str, Any], name: str, benchmark: str) -> list[Row]:
    return [row for row in study.get(name) or [] if row["benchmark"] == benchmark]


def _fewest(cells: Sequence[Row]) -> int | None:
    return min((int(cell["problems"]) for cell in cells), default=None)
