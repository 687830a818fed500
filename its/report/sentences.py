"""What a study shows, in words that claim no more than its tests do."""

from __future__ import annotations

from collections.abc import Sequence

from its.report.check import as_written, check_study
from its.report.grouping import distinct
from its.report.matrix import Entry, Matrix, Row, fallback_note, fewest, matrices, of, terms
from its.report.numbers import ends, p_value, percent, points, signed_ends

FEW_PROBLEMS = 60  # below this a single problem moves a table by 1.7 points or more, and the page says by how much


@as_written()
def headline_sentences(study: Row) -> list[str]:
    """What training did against base, which pair is reported, each contrast of blocks, co-design, tokens.

    Only benchmarks with the role `report` speak, or all of them where there is none. One sentence a string.

    Raises:
        DataError: as `build_report`.
    """
    check_study(study)
    tables = matrices(study)
    spoken = [m for m in tables if m.role == "report"] or tables
    if not spoken:
        return ["Nothing was measured: the study holds no cell."]
    out = [_training(matrix, study) for matrix in spoken]
    benchmarks = distinct(m.benchmark for m in spoken)
    out += _fallback(spoken)
    out += selection_sentences(study)
    for benchmark in benchmarks:
        out += _contrasts(benchmark, of(study, "contrasts", benchmark))
        out += _tests(benchmark, of(study, "tests", benchmark))
        out += _tokens(benchmark, of(study, "efficiency", benchmark))
        least = fewest(of(study, "cells", benchmark))
        if least and least < FEW_PROBLEMS:
            out.append(f"With the {least} problems of {benchmark} one problem is {100 / least:.1f} points.")
    contrasts = study.get("contrasts") or []
    if contrasts and all(c.get("seeds", 1) == 1 for c in contrasts):
        out.append("One training seed: the differences are of these checkpoints; another seed would move them.")
    return out


@as_written()
def selection_sentences(study: Row) -> list[str]:
    """The pair that was chosen and what it is on problems that did not choose it; else what choosing is worth."""
    out = []
    for choice in study.get("selection") or []:
        on = _listed(choice["select"]["benchmarks"])
        tied = f", first of {len(choice['tied']) + 1} that tie" if choice["tied"] else ""
        out.append(
            f"Of the {choice['cells']} pairs of {choice['model']} on {choice['dataset']} train {choice['train']}, test "
            f"{choice['test']} is best on {on} ({percent(choice['select']['avg'])}{tied}) and was therefore measured: "
            + "; ".join(
                f"{row['benchmark']} {percent(row['avg'])} {ends(row)}, {points(row['gain'])} points above the mean of "
                f"the cells against {points(choice['select']['gain'])} where it was chosen (shrinkage "
                f"{points(row['shrinkage'], signed=False)})"
                for row in choice["report"]
            )
            + "."
        )
    chosen = {(choice["model"], choice["dataset"]) for choice in study.get("selection") or []}
    for row in study.get("nested") or []:
        if "label" in row:
            out.append(
                f"On {row['benchmark']} the largest cell of {row['model']} on {row['dataset']} is {row['best']} with "
                f"{percent(row['maximum'])}: {row['label']}. Chosen on some of the problems and measured on the others "
                f"it is {percent(row['estimate'])} {ends(row)}."
            )
        elif (row["model"], row["dataset"]) not in chosen:
            out.append(
                f"No benchmark has the role `select`, so no pair of {row['model']} on {row['dataset']} is named best: "
                f"choosing among its {row['cells']} on {row['benchmark']} is worth {percent(row['estimate'])} "
                f"{ends(row)} on problems that did not choose; the largest cell stands "
                f"{points(max(0.0, row['optimism']), signed=False)} points above that."
            )
    return out


def _fallback(tables: Sequence[Matrix]) -> list[str]:
    notes = [f"on {matrix.benchmark} {note}" for matrix in tables if (note := fallback_note(matrix))]
    if not notes:
        return []
    return [
        f"Cells lean on the fallback unequally ({'; '.join(notes)}): where a model says no answer outright, the last "
        "number or formula stands for it, so part of a difference between cells may be how answers are said, not how "
        "many are right; with `grading.fallback: false` only what is said outright counts."
    ]


def _training(matrix: Matrix, study: Row) -> str:
    base = {c["test"]: c for c in reversed(matrix.cells) if c["train"] is None}
    trained = [c for c in matrix.cells if c["train"] is not None]
    start = f"On {matrix.benchmark} ({terms(matrix.cells)}) "
    if not trained:
        entry = Entry(list(base.values()))
        return f"{start}only base was measured: {matrix.model} has {_spoken(entry, len(base), 'test strategy')}."
    entry = Entry(trained)
    start += f"{matrix.title} has {_spoken(entry, len(trained), 'trained cell')}"
    if not base:
        return f"{start}; base was not measured, so what training did cannot be told."
    before = Entry(list(base.values()))
    out = f"{start}, base {_spoken(before, len(base), 'test strategy')}: {points(entry.avg - before.avg)} points"
    tests = [
        test
        for test in of(study, "tests", matrix.benchmark)
        if (test["model"], test["dataset"]) == (matrix.model, matrix.dataset) and test["second"].startswith("base/")
    ]
    if not tests:
        return f"{out}."
    loud = [test for test in tests if not test["within_noise"]]
    if not loud:
        return (
            f"{out}; no pair differs from base under the same test strategy by more than the noise ({_shows(tests)})."
        )
    above = sum(test["difference"] > 0 for test in loud)
    counts = [f"{count} {word}" for count, word in ((above, "above"), (len(loud) - above, "below")) if count]
    return f"{out}; of {len(tests)} trained pairs {' and '.join(counts)} base under the same test strategy."


def _spoken(entry: Entry, count: int, noun: str) -> str:
    if count == 1:
        return f"{percent(entry.avg)} {ends(entry)}"
    plural = "test strategies" if noun == "test strategy" else f"{noun}s"
    return f"{percent(entry.avg)} on average over {count} {plural} (their intervals span {ends(entry)})"


def _contrasts(benchmark: str, contrasts: Sequence[Row]) -> list[str]:
    if not contrasts:
        return []
    out = []
    loud = [c for c in contrasts if not c["within_noise"]]
    quiet = [c for c in contrasts if c["within_noise"]]
    if loud:
        out.append(f"On {benchmark} larger than the noise: {'; '.join(map(_contrast, loud))}.")
    if quiet:
        start = f"On {benchmark} within the noise" if loud else f"On {benchmark} no difference larger than the noise"
        out.append(f"{start}: {'; '.join(map(_contrast, quiet))}{_seen(quiet)}.")
    against = [c for c in contrasts if c["name"].startswith("XX - ")]
    if against:
        others = [c["name"].removeprefix("XX - ") for c in against]
        won = [c["name"].removeprefix("XX - ") for c in against if not c["within_noise"] and c["difference"] > 0]
        seen = "is seen" if won == others else f"is seen against {_listed(won)} only" if won else "is not seen"
        out.append(f"Co-design predicts XX above {_listed(others)} by more than the noise; on {benchmark} this {seen}.")
    return out


def _tests(benchmark: str, tests: Sequence[Row]) -> list[str]:
    pairs = [test for test in tests if not test["second"].startswith("base/")]
    if not pairs:
        return []
    loud = [test for test in pairs if not test["within_noise"]]
    if not loud:
        return [
            f"No two of the trained cells of {benchmark} differ by more than the noise of {len(pairs)} looks; "
            f"{_shows(pairs)}."
        ]
    return [f"Of {len(pairs)} pairs of trained cells of {benchmark} {len(loud)} differ by more than the noise."]


def _tokens(benchmark: str, rows: Sequence[Row]) -> list[str]:
    shown = [row for row in rows if row["shown"]]
    if not rows or not any(row["name"].startswith("XX - ") for row in rows):
        return []
    if not shown:
        return [
            f"Fewer tokens at equal or better accuracy is not shown on {benchmark} by any of {len(rows)} contrasts."
        ]
    words = "; ".join(f"{row['name']} ({100 * (row['ratio'] - 1):+.0f} %, {row['claim']})" for row in shown)
    return [f"Fewer tokens at equal or better accuracy is shown on {benchmark} by {words}."]


def _contrast(row: Row) -> str:
    return f"{row['name']} = {points(row['difference'])} points {signed_ends(row)}, {p_value(row['p_value'])}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _shows(rows: Sequence[Row]) -> str:
    seen = [row["detectable"] for row in rows if row["detectable"] is not None]
    if not seen:
        return "so few problems cannot show any"
    return f"each could have shown {points(max(seen), signed=False)} points"


def _seen(rows: Sequence[Row]) -> str:
    seen = [row["detectable"] for row in rows if row.get("detectable") is not None]
    if not seen:
        return "; so few problems cannot show any"
    least, most = points(min(seen), signed=False), points(max(seen), signed=False)
    return f"; this design could have seen {least if least == most else f'{least} to {most}'} points"
