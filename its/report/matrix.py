"""The train x test table of a benchmark: which cell belongs where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from its.report.data import ReportData, ReportedCell
from its.report.grouping import distinct, grouped, mean, table_title
from its.report.numbers import percent
from its.results import CheckpointSpread, PairResult
from its.shown import listed
from its.types import LAST


@dataclass(frozen=True)
class Entry:
    """One field of a table: one cell, or the mean over the training seeds of a pair of strategies.

    Over several seeds `low` and `high` are the interval for other seeds and problems where the study has it (`pair`),
    else the outermost ends of the seeds' own intervals. `spread` is the range over checkpoints near the end.
    """

    cells: Sequence[ReportedCell]
    pair: PairResult | None = None
    spread: CheckpointSpread | None = None

    @property
    def over_checkpoints(self) -> str:
        """`33 to 37`, in percent: the range over checkpoints near the end; empty where only the last was evaluated."""
        found = self.spread
        return "" if found is None else f"{100 * found.lowest:.0f} to {100 * found.highest:.0f}"

    @property
    def avg(self) -> float:
        return mean(cell.avg for cell in self.cells)

    @property
    def low(self) -> float:
        return self.pair.low if self.pair else min(cell.low for cell in self.cells)

    @property
    def high(self) -> float:
        return self.pair.high if self.pair else max(cell.high for cell in self.cells)


@dataclass(frozen=True)
class Matrix:
    """The train x test table of one (benchmark, model, dataset, variant), of last checkpoints and base.

    `entries[row][column]` is None where not measured. `saved_at` is the latest checkpoint that was measured where no
    last one was, else None.
    """

    benchmark: str
    role: str
    model: str
    dataset: str | None
    variant: str | None
    saved_at: str | None
    rows: Sequence[str | None]
    columns: Sequence[str]
    entries: Sequence[Sequence[Entry | None]]

    @cached_property
    def cells(self) -> list[ReportedCell]:
        return [cell for row in self.entries for entry in row if entry for cell in entry.cells]

    @property
    def title(self) -> str:
        if self.dataset is None:
            return f"{self.model}, untrained"
        title = table_title(self.model, self.dataset, self.variant, " trained on ")
        return title if self.saved_at is None else f"{title}, checkpoint {self.saved_at}"

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({cell.seed for cell in self.cells if cell.seed is not None})

    @property
    def checkpoints(self) -> list[str]:
        """The checkpoints that a range in the table is over; empty where there is none."""
        spreads = [entry.spread for row in self.entries for entry in row if entry and entry.spread]
        return distinct(name for spread in spreads for name in spread.checkpoints)

    @property
    def spans(self) -> bool:
        """Whether brackets span the intervals of several seeds, since the study has no interval of the mean."""
        return any(len(entry.cells) > 1 and not entry.pair for row in self.entries for entry in row if entry)


def matrices(study: ReportData) -> list[Matrix]:
    """One per (benchmark, model, dataset, variant), in the order of the design; base is in each one of its model."""
    cells, design = study.cells, study.design

    def ordered(key: str, found: Sequence[str | None]) -> list[str | None]:
        return distinct([*(design.get(key) or []), *found])

    trains = ordered("train", [cell.train for cell in cells])
    tests = ordered("test", [cell.test for cell in cells])
    pairs: dict[tuple[str | None, ...], PairResult] = {
        (p.benchmark, p.model, p.dataset, p.variant, p.train, p.test): p for p in study.pairs
    }
    out = []
    for benchmark in ordered("benchmarks", [cell.benchmark for cell in cells]):
        for model in ordered("models", [cell.model for cell in cells]):
            here = [cell for cell in cells if (cell.benchmark, cell.model) == (benchmark, model)]
            trained = [cell for cell in here if cell.train is not None]
            base = [cell for cell in here if cell.train is None]
            found = {(cell.dataset, cell.variant) for cell in trained}
            tables = [
                (dataset, variant)
                for dataset in ordered("datasets", [cell.dataset for cell in trained])
                for variant in ordered("variants", [cell.variant for cell in trained])
                if (dataset, variant) in found
            ]
            for dataset, variant in tables or ([(None, None)] if base else []):
                own, saved_at = _latest([c for c in trained if (c.dataset, c.variant) == (dataset, variant)])
                rows = ([None] if base else []) + [t for t in trains if t and any(c.train == t for c in own)]
                columns = [t for t in tests if t is not None and any(c.test == t for c in [*base, *own])]
                at = dict(grouped([*base, *own], lambda cell: (cell.train, cell.test)))
                table = (benchmark, model, dataset, variant)
                entries = [
                    [_entry(at.get((row, test), []), row, pairs.get((*table, row, test))) for test in columns]
                    for row in rows
                ]
                first = here[0]
                out.append(
                    Matrix(first.benchmark, first.role, first.model, dataset, variant, saved_at, rows, columns, entries)
                )
    return out


def _latest(cells: Sequence[ReportedCell]) -> tuple[list[ReportedCell], str | None]:
    """The cells of last checkpoints; where there is none, those of the latest one, and which it is."""
    last = [cell for cell in cells if cell.saved_at in (None, LAST)]
    if last or not cells:
        return last, None
    latest = max((str(cell.saved_at) for cell in cells), key=Fraction)
    return [cell for cell in cells if cell.saved_at == latest], latest


def _entry(cells: Sequence[ReportedCell], train: str | None, pair: PairResult | None) -> Entry | None:
    # Base may be listed once per dataset; it is one measurement, and the first entry is taken.
    found = cells[:1] if train is None else cells
    if not found:
        return None
    over_seeds = pair if pair is not None and len(pair.seeds) > 1 else None
    return Entry(found, over_seeds, None if pair is None else pair.over_checkpoints)


def terms(cells: Sequence[ReportedCell]) -> str:
    """`200 problems, n = 1, grader v1`; several values of one term are all listed.

    Where rules removed rows of the benchmark, its denominator is stated: `269 problems of 272 rows`; a pool names its
    benchmarks. Settings of sampling are stated where the cells of the study differ in them.
    """
    less = any(cell.rows_read is not None and cell.problems < cell.rows_read for cell in cells)
    rows = f" of {_listed([cell.rows_read for cell in cells])} rows" if less else ""
    if pool := distinct(name for cell in cells for name in cell.pool or ()):
        rows = f" of {listed(pool)}"
    grader = _listed([cell.grader_version or None for cell in cells])
    problems, n = _listed([cell.problems for cell in cells]), _listed([cell.n for cell in cells])
    sampling = "; ".join(distinct(cell.sampling for cell in cells if cell.sampling))
    more = [sampling] if sampling else []
    more += [f"grader v{grader}"] if grader else []
    measured = "1 problem" if problems == "1" else f"{problems} problems"
    return ", ".join([f"{measured}{rows}, n = {n}", *more])


def _listed(values: Sequence[int | str | None]) -> str:
    """The different values in order, those that are None left out."""
    return "/".join(str(v) for v in sorted(distinct(v for v in values if v is not None)))


def fallback_note(matrix: Matrix) -> str:
    """What share of each row's responses has its answer by the fallback; "" where all cells have the same."""
    shares = [[c.fallback_rate for entry in entries if entry for c in entry.cells] for entries in matrix.entries]
    if len({percent(share) for row in shares for share in row}) < 2:
        return ""
    named = zip(matrix.rows, shares, strict=True)
    return "answers by the fallback: " + ", ".join(f"{name or 'base'} {_range(row)}" for name, row in named if row)


def _range(shares: Sequence[float]) -> str:
    least, most = percent(min(shares)), percent(max(shares))
    return least if least == most else f"{least.removesuffix(' %')} to {most}"
