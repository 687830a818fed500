"""The first screen of the report: the effect of training and the verdict on co-design, a sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from its.report.data import ReportData, ReportedCell
from its.report.grouping import mean
from its.report.matrix import Matrix
from its.report.numbers import percent, points
from its.report.sentences import ROUNDING
from its.results import Comparison

TRAINED, INTERACTION = "trained - base", "co-design: "
"""How the planned comparisons that the first screen tells are named."""


def lead_matrix(tables: Sequence[Matrix]) -> Matrix | None:
    """The table of the first screen: the first of a benchmark that is reported, else the first; None without one."""
    return next((table for table in tables if table.role == "report"), tables[0] if tables else None)


def lead_sentences(study: ReportData, tables: Sequence[Matrix]) -> list[str]:
    """What training does on the benchmark of the first table, with its interval, and whether co-design is found there.

    Returns:
        Two sentences; one where nothing, only base, or one side of a context was measured.
    """
    first = lead_matrix(tables)
    if first is None:
        return ["Nothing was measured: the study has no cells."]
    found = [table for table in tables if table.benchmark == first.benchmark]
    rows = [row for row in study.comparisons if row.benchmark == first.benchmark]
    return [_training(first.benchmark, found, rows), _co_design(first.benchmark, study, rows)]


def _training(benchmark: str, tables: Sequence[Matrix], rows: Sequence[Comparison]) -> str:
    cells = [cell for table in tables for cell in table.cells]
    trained = [cell for cell in cells if cell.train is not None]
    base = {(cell.model, cell.test): cell for cell in cells if cell.train is None}
    if not any(cell.correct for cell in cells):
        return f"No response is correct on {benchmark}, of base or trained: the cells do not differ."
    if all(cell.correct == cell.problems * cell.n for cell in cells):
        return f"Every response is correct on {benchmark}: the problems are too easy to tell the cells apart."
    if not trained:
        return f"Only base was measured on {benchmark}: {_mean(list(base.values()))}."
    row = next((row for row in rows if row.name == TRAINED), None)
    if row is None:
        why = "was not measured" if not base else "is not compared with it"
        return f"Trained cells have {_mean(trained)} on {benchmark}; base {why}, so the effect of training is unknown."
    # The two means have the difference as theirs only where every trained cell has its partner.
    pairs = [(cell, base[cell.model, cell.test]) for cell in trained if (cell.model, cell.test) in base]
    before, after = (mean(pair[side].avg for pair in pairs) if pairs else 0.0 for side in (1, 0))
    whole = bool(pairs) and abs(after - before - row.difference) < ROUNDING
    effect = f"{points(row.difference)} points, 95 % CI {points(row.low, signed=False)} to "
    effect += points(row.high, signed=False)
    if not row.significant:
        means = f" ({percent(before)} before, {percent(after)} after)" if whole else ""
        return f"No significant effect of training on {benchmark}{means}: {effect}; {_least(row)}."
    verb = "raises" if row.difference > 0 else "lowers"
    means = f" from {percent(before)} to {percent(after)}" if whole else ""
    return f"Training {verb} accuracy on {benchmark}{means} ({effect})."


def _co_design(benchmark: str, study: ReportData, rows: Sequence[Comparison]) -> str:
    row = next((row for row in rows if row.name.startswith(INTERACTION)), None)
    if row is not None:
        told = f"{points(row.difference)} points [{points(row.low)}, {points(row.high)}], {_least(row)}"
        if not row.significant:
            return f"Co-design: not significant, {told}."
        sign = "significant" if row.difference > 0 else "significant in the opposite direction"
        return f"Co-design: {sign}, {told}."
    against = [row for row in rows if row.name.startswith("XX - ")]
    if against:
        least = ", ".join(
            f"{row.name} {points(row.difference)} [{points(row.low)}, {points(row.high)}]" for row in against
        )
        above = all(row.significant and row.difference > 0 for row in against)
        found = "above every block that was measured" if above else "not above every block that was measured"
        return f"Co-design: not known without all four blocks; a context on both sides is {found} ({least})."
    reason = next(
        (row.reason for row in study.not_possible if row.benchmark == benchmark and row.name.startswith(INTERACTION)),
        "the design has no cells with a context on one side, both sides and neither to compare",
    )
    return f"Co-design: not known on {benchmark}, {reason}."


def _least(row: Comparison) -> str:
    least = row.minimum_detectable_difference
    if least is None:
        return "with so few problems no difference can be significant"
    return f"minimum detectable {points(least, signed=False)} points"


def _mean(cells: Sequence[ReportedCell]) -> str:
    if len(cells) == 1:
        (cell,) = cells
        return f"{percent(cell.avg)} (95 % CI {100 * cell.low:.1f} to {100 * cell.high:.1f})"
    return f"{percent(mean(cell.avg for cell in cells))} on average over {len(cells)} cells"
