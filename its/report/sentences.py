"""What a study shows, in sentences that claim no more than its tests support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from its.report.data import ReportData, ReportedCell
from its.report.grouping import distinct, grouped, mean, table_title
from its.report.matrix import Entry, Matrix, fallback_note, matrices, terms
from its.report.numbers import ends, p_value, percent, points
from its.results import (
    CellTest,
    ChosenPair,
    Comparison,
    HeldOutChoice,
    NotPossible,
    PoolResult,
    TokenComparison,
    VoteResult,
)
from its.shown import counted, listed
from its.types import LAST

FEW_PROBLEMS = 60  # below this a single problem moves a table by 1.7 points or more, and the page says by how much

ROUNDING = 1e-9
"""Means that differ by less are equal but for the order in which they were added."""

MOST_NAMED = 3
"""Cells that a sentence names."""


def headline_sentences(study: ReportData) -> list[str]:
    """What training did against base, which pair is reported, comparisons of blocks and contrasts, tokens, named votes.

    Only benchmarks with the role `report` are included, or all of them where there is none. One sentence a string.
    """
    tables = matrices(study)
    included = [m for m in tables if m.role == "report"] or tables
    if not included:
        return ["Nothing was measured: the study has no cells."]
    out = [_training(matrix, study) for matrix in included]
    out += _fallback(included)
    out += [f"The pool {pool.name} is without {pool_text(pool)}." for pool in study.pools if pool.left_out]
    out += selection_sentences(study.selection, study.nested)
    out += _not_possible([row for row in study.not_possible if row.benchmark is None])
    for benchmark in distinct(m.benchmark for m in included):
        out += _comparisons(benchmark, [row for row in study.comparisons if row.benchmark == benchmark])
        out += _not_possible([row for row in study.not_possible if row.benchmark == benchmark])
        out += _tests(benchmark, [row for row in study.tests if row.benchmark == benchmark])
        out += _tokens(benchmark, [row for row in study.efficiency if row.benchmark == benchmark], study.cells)
        out += [_vote(row) for row in study.votes if row.benchmark == benchmark and row.ensemble is not None]
        out += _strategy_votes([row for row in study.votes if row.benchmark == benchmark])
        least = min(cell.problems for cell in study.cells if cell.benchmark == benchmark)
        if least == 1:
            out.append(f"{benchmark} has a single problem: its cells say nothing about others.")
        elif 0 < least < FEW_PROBLEMS:
            out.append(f"On the {least} problems of {benchmark} one problem is {100 / least:.1f} points.")
    if study.comparisons and all(row.seeds == 1 for row in study.comparisons):
        out.append("One training seed: the differences apply to these checkpoints and may change with another seed.")
    return out


def selection_sentences(selection: Sequence[ChosenPair], nested: Sequence[HeldOutChoice]) -> list[str]:
    """The chosen pair with its held-out score; without one, the held-out score of choosing on the same problems."""
    out = []
    for choice in selection:
        tied = f", first of {len(choice.tied) + 1} that tie" if choice.tied else ""
        scores = "; ".join(
            f"{row.benchmark} {percent(row.avg)} {ends(row)}, {points(row.gain)} points above the mean of the cells, "
            f"{points(choice.select.gain)} where it was chosen (shrinkage {points(row.shrinkage, signed=False)})"
            for row in choice.report
        )
        out.append(
            f"Of the {choice.pairs} pairs of {_table(choice)} {_but(choice)}train {choice.train}, test "
            f"{choice.test} is best on {listed(choice.select.benchmarks)} ({percent(choice.select.avg)}{tied}); its "
            f"held-out score: {scores}."
        )
    chosen = {_table(choice) for choice in selection}
    for row in nested:
        if row.maximum is not None:
            out.append(
                f"On {row.benchmark} the largest cell of {_table(row)} is {row.maximum.pair} with "
                f"{percent(row.maximum.avg)}: {row.maximum.warning}. The held-out score of the choice is "
                f"{percent(row.held_out_score)} {ends(row)}."
            )
        elif _table(row) not in chosen:
            out.append(
                f"No benchmark has the role `select`, so no pair of {_table(row)} is named best: the "
                f"held-out score of choosing among its {row.pairs} on {row.benchmark} is {percent(row.held_out_score)} "
                f"{ends(row)}; the mean of the largest cell is "
                f"{points(max(0.0, row.optimism), signed=False)} points above that."
            )
    return out


def _table(row: ChosenPair | HeldOutChoice) -> str:
    return table_title(row.model, row.dataset, row.variant)


def _but(choice: ChosenPair) -> str:
    """Pairs that could not be chosen."""
    if not choice.left_out:
        return ""
    return f"that every one of its benchmarks has (left out: {', '.join(choice.left_out)}) "


def _fallback(tables: Sequence[Matrix]) -> list[str]:
    notes = [f"on {matrix.benchmark} {note}" for matrix in tables if (note := fallback_note(matrix))]
    if not notes:
        return []
    return [
        f"Cells rely on the fallback to different degrees ({'; '.join(notes)}): it takes the last number or formula of "
        "a response that states no answer, so a difference between cells may in part be one of how answers are "
        "stated; with `grading.fallback: false` only stated answers count."
    ]


def _training(matrix: Matrix, study: ReportData) -> str:
    base = {c.test: c for c in reversed(matrix.cells) if c.train is None}
    trained = [c for c in matrix.cells if c.train is not None]
    start = f"On {matrix.benchmark} ({terms(matrix.cells)}) "
    if not trained:
        entry = Entry(list(base.values()))
        return f"{start}only base was measured: {matrix.model} has {_average(entry, len(base), 'test strategy')}."
    entry = Entry(trained)
    start += f"{matrix.title} has {_average(entry, len(trained), 'trained cell')}"
    if not base:
        return f"{start}; base was not measured, so the effect of training is unknown."
    before = Entry(list(base.values()))
    start += f", base {_average(before, len(base), 'test strategy')}"
    gains = [cell.avg - base[cell.test].avg for cell in trained if cell.test in base]
    if not gains:
        return f"{start}; base was not measured under a test strategy of theirs, so the effect of training is unknown."
    out = f"{start}: {points(mean(gains))} points"
    # In a table with holes the two means are of other test strategies, and their difference is not the effect.
    if abs(mean(gains) - (entry.avg - before.avg)) > ROUNDING:
        out += " under the same test strategies"
    tests = [
        test
        for test in study.tests
        if (test.benchmark, test.model, test.dataset, test.variant)
        == (matrix.benchmark, matrix.model, matrix.dataset, matrix.variant)
        and test.second.startswith("base/")
    ]
    if not tests:
        return f"{out}."
    significant = [test for test in tests if test.significant]
    if not significant:
        return f"{out}; no pair differs significantly from base under the same test strategy; {_detectable(tests)}."
    above = sum(test.difference > 0 for test in significant)
    sides = (above, "above"), (len(significant) - above, "below")
    counts = [f"{count} significantly {side}" for count, side in sides if count]
    return f"{out}; of {len(tests)} trained pairs {' and '.join(counts)} base under the same test strategy."


def _average(entry: Entry, count: int, noun: str) -> str:
    if count == 1:
        return f"{percent(entry.avg)} {ends(entry)}"
    plural = "test strategies" if noun == "test strategy" else f"{noun}s"
    return f"{percent(entry.avg)} on average over {count} {plural} (their intervals span {ends(entry)})"


def _comparisons(benchmark: str, rows: Sequence[Comparison]) -> list[str]:
    out = []
    significant = [row for row in rows if row.significant]
    others = [row for row in rows if not row.significant]
    if significant:
        out.append(f"Significant on {benchmark}: {'; '.join(map(_comparison, significant))}.")
    if others:
        start = "Not significant" if significant else "No significant difference"
        out.append(f"{start} on {benchmark}: {'; '.join(map(_comparison, others))}; {_detectable(others)}.")
    against = [row for row in rows if row.name.startswith("XX - ")]
    if against:
        blocks = [row.name.removeprefix("XX - ") for row in against]
        below = [row.name.removeprefix("XX - ") for row in against if row.significant and row.difference > 0]
        found = "found" if below == blocks else f"found against {listed(below)} only" if below else "not found"
        out.append(f"Co-design predicts XX significantly above {listed(blocks)}; on {benchmark} this is {found}.")
    return out


def _tests(benchmark: str, tests: Sequence[CellTest]) -> list[str]:
    pairs = [test for test in tests if not test.second.startswith("base/")]
    if not pairs:
        return []
    significant = sum(test.significant for test in pairs)
    if not significant:
        return [
            f"No two trained cells of {benchmark} differ significantly ({counted(len(pairs), 'comparison')}); "
            f"{_detectable(pairs)}."
        ]
    return [f"Of {len(pairs)} pairs of trained cells of {benchmark} {significant} differ significantly."]


CUT = 0.05
"""Share of truncated responses from which lengths say more about the limit than about the model."""


def cut_text(row: TokenComparison, cells: Sequence[ReportedCell]) -> str:
    """`47.0 % of base and 1.0 % of trained responses were cut at the limit`; empty below 5 % on both sides."""
    shares = {side: _cut(side, row.benchmark, cells) for side in row.name.split(" - ")}
    if all(share < CUT for share in shares.values()):
        return ""
    return " and ".join(f"{percent(share)} of {side}" for side, share in shares.items()) + " responses were cut"


def _cut(side: str, benchmark: str, cells: Sequence[ReportedCell]) -> float:
    """The share of the responses of a block, or of all trained cells, that were cut at the limit of tokens."""
    found = [
        (cell.truncated_rate, cell.problems * cell.n)
        for cell in cells
        if cell.benchmark == benchmark
        and cell.saved_at in (None, LAST)
        and (cell.train is not None if side == "trained" else cell.block == side)
    ]
    total = sum(count for _, count in found)
    return sum(share * count for share, count in found) / total if total else 0.0


def _tokens(benchmark: str, rows: Sequence[TokenComparison], cells: Sequence[ReportedCell]) -> list[str]:
    if not any(row.name.startswith("XX - ") for row in rows):
        return []
    claim = "Fewer tokens at equal or better accuracy"
    unclear = [f"{row.name} ({text})" for row in rows if (text := cut_text(row, cells))]
    clear = [row for row in rows if not cut_text(row, cells)]
    shown = [f"{row.name} ({100 * (row.ratio - 1):+.0f} %, {row.claim})" for row in clear if row.shown]
    out = []
    if shown:
        out.append(f"{claim} is shown on {benchmark} by {'; '.join(shown)}.")
    elif clear:
        out.append(f"{claim} is not shown on {benchmark} by any of {len(clear)} comparisons.")
    if unclear:
        out.append(f"Whether fewer tokens are needed on {benchmark} is not known from {'; '.join(unclear)}.")
    return out


def _vote(row: VoteResult) -> str:
    """A vote that the recipe names."""
    tied = f", {row.tied} of {row.problems} problems tied" if row.tied else ""
    voters = f"{counted(len(row.members), 'cell')} (n = {row.n})"
    return f"The vote {row.ensemble} of {voters} has {percent(row.accuracy)} {ends(row)} on {row.benchmark}{tied}."


def _strategy_votes(rows: Sequence[VoteResult]) -> list[str]:
    """Votes over test strategies, all checkpoints of a vote in one sentence."""
    out = []
    for name, votes in grouped([row for row in rows if row.strategies is not None], lambda row: row.strategies):
        first = votes[0]
        tests = ", ".join(member.test for member in first.members)
        start = f"The vote {name} over the test strategies {tests} has on {first.benchmark}"
        if len(votes) == 1:
            out.append(f"{start} {percent(first.accuracy)} {ends(first)} ({first.members[0].checkpoint}).")
            continue
        least, most = (pick(votes, key=lambda row: row.accuracy) for pick in (min, max))
        out.append(
            f"{start} {percent(least.accuracy)} ({least.members[0].checkpoint}) to {percent(most.accuracy)} "
            f"({most.members[0].checkpoint}), {counted(len(votes), 'checkpoint')}."
        )
    return out


def _not_possible(rows: Sequence[NotPossible]) -> list[str]:
    """What the recipe wants and the cells do not allow; comparisons of single pairs are counted."""
    out = []
    if named := [row for row in rows if row.kind != "cells"]:
        where = f" on {named[0].benchmark}" if named[0].benchmark is not None else ""
        out.append(f"Not possible{where}: {'; '.join(f'{row.name} ({row.reason})' for row in named)}.")
    if more := len(rows) - len(named):
        out.append(f"On {rows[0].benchmark} {more} pairs of cells share no training seed and are not compared.")
    return out


def _comparison(row: Comparison) -> str:
    interval = f"[{points(row.low)}, {points(row.high)}]"
    said = [text for text in (contrast_text(row), unmatched_text(row)) if text]
    told = f" ({'; '.join(said)})" if said else ""
    return f"{row.name}{told} = {points(row.difference)} points {interval}, {p_value(row.p_value)}"


def contrast_text(row: Comparison) -> str:
    """`dataset ot_1k against dataset ot_15k`: what a contrast of the recipe compares. Empty for a planned one."""
    if row.of is None or row.against is None:
        return ""
    return f"{_side(row.of)} against {_side(row.against)}"


def pool_text(pool: PoolResult) -> str:
    """The cells that a pool does not have, as far as a line takes them."""
    several, more = pool.left_out[:MOST_NAMED], len(pool.left_out) - MOST_NAMED
    named = ", ".join(several) + (f" and {more} more" if more > 0 else "")
    where = listed(pool.benchmarks)
    return f"{counted(len(pool.left_out), 'cell that was', 'cells that were')} not measured on all of {where} ({named})"


def unmatched_text(row: Comparison) -> str:
    """How many cells a comparison leaves out; empty where it has all."""
    if not row.unmatched_cells:
        return ""
    what = "1 cell" if row.unmatched_cells == 1 else f"{row.unmatched_cells} cells"
    return f"{what} without a partner left out"


def _side(values: Mapping[str, Sequence[str | int]]) -> str:
    return ", ".join(f"{axis} {'/'.join(map(str, several))}" for axis, several in values.items()) or "all others"


def _detectable(rows: Sequence[Comparison | CellTest]) -> str:
    found = [row.minimum_detectable_difference for row in rows if row.minimum_detectable_difference is not None]
    if not found:
        return "with so few problems no difference can be significant"
    least, most = points(min(found), signed=False), points(max(found), signed=False)
    return f"minimum detectable difference (80 % power) {least if least == most else f'{least} to {most}'} points"
