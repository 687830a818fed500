"""The train x test table of a benchmark: which cell stands where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from its.report.grouping import distinct, mean
from its.report.numbers import percent

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One field of a table: one cell, or the mean over the training seeds of a pair of strategies.

    Over several seeds `low` and `high` are the interval for other seeds and problems where the study has it (`pair`),
    else the outermost ends of the seeds' own intervals.
    """

    cells: Sequence[Row]
    pair: Row | None = None

    @property
    def avg(self) -> float:
        return mean(cell["avg"] for cell in self.cells)

    @property
    def low(self) -> float:
        return float(self.pair["low"]) if self.pair else min(float(cell["low"]) for cell in self.cells)

    @property
    def high(self) -> float:
        return float(self.pair["high"]) if self.pair else max(float(cell["high"]) for cell in self.cells)


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

    @property
    def spans(self) -> bool:
        """Whether brackets span the intervals of several seeds, since the study has none for the mean."""
        return any(len(entry.cells) > 1 and not entry.pair for row in self.entries for entry in row if entry)


def matrices(study: Row) -> list[Matrix]:
    """One per (benchmark, model, dataset), in the order of the design; base is in each one of its model."""
    cells: Sequence[Row] = study.get("cells") or []
    design: Row = study.get("design") or {}
    orders = {
        field: distinct([*(design.get(key) or []), *(cell[field] for cell in cells)])
        for field, key in (("benchmark", "benchmarks"), ("model", "models"), ("train", "train"), ("test", "test"))
    }
    pairs = {
        (p["benchmark"], p["model"], p["dataset"], p["train"], p["test"]): p
        for p in study.get("pairs") or []
        if len(p["seeds"]) > 1
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
                entries = [
                    [
                        _entry([*base, *mine], row, column, pairs.get((benchmark, model, dataset, row, column)))
                        for column in columns
                    ]
                    for row in rows
                ]
                role = here[0].get("role") or "report"
                out.append(Matrix(benchmark, role, model, dataset, rows, columns, entries))
    return out


def terms(cells: Sequence[Row]) -> str:
    """`200 problems, n = 1, grader v1`; several values of one term are all listed.

    Where rules took rows out of the benchmark, its denominator is said: `269 problems of 272 rows`.
    """

    def listed(key: str) -> str:
        values = distinct(c[key] for c in cells if c.get(key) is not None)
        return "/".join(str(v) for v in sorted(values, key=lambda v: (isinstance(v, str), v)))

    grader = listed("grader_version")
    less = any(c["problems"] < c.get("rows_read", 0) for c in cells)
    rows = f" of {listed('rows_read')} rows" if less else ""
    return f"{listed('problems')} problems{rows}, n = {listed('n')}" + (f", grader v{grader}" if grader else "")


def fallback_note(matrix: Matrix) -> str:
    """What share of each row's responses has its answer by the fallback; "" where it is the same in all cells, or not
    known (cells of earlier graders)."""
    if any("fallback" not in cell for cell in matrix.cells):
        return ""
    shares = [[float(c["fallback"]) for entry in entries if entry for c in entry.cells] for entries in matrix.entries]
    if len({percent(share) for row in shares for share in row}) < 2:
        return ""
    named = zip(matrix.rows, shares, strict=True)
    return "answers by the fallback: " + ", ".join(f"{name or 'base'} {_range(row)}" for name, row in named if row)


def _range(shares: Sequence[float]) -> str:
    least, most = percent(min(shares)), percent(max(shares))
    return least if least == most else f"{least.removesuffix(' %')} to {most}"


def of(study: Row, name: str, benchmark: str) -> list[Row]:
    """The rows of one list of the study that belong to a benchmark."""
    return [row for row in study.get(name) or [] if row["benchmark"] == benchmark]


def fewest(cells: Sequence[Row]) -> int | None:
    """The least number of problems of any cell; None without cells."""
    return min((int(cell["problems"]) for cell in cells), default=None)


def _entry(cells: Sequence[Row], train: str | None, test: str, pair: Row | None) -> Entry | None:
    found = [cell for cell in cells if cell["train"] == train and cell["test"] == test]
    # Base may be listed once per dataset; it is one measurement, and the first listing stands for it.
    found = found[:1] if train is None else found
    return Entry(found, pair) if found else None
