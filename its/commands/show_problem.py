"""One problem in every cell: persona, query, thinking, response, answer and verdict."""

from __future__ import annotations

from typing import Any

from its.errors import DataError, MissingError, nearest
from its.rows import read_rows
from its.study.study import Cell, Study, cell_name
from its.types import Problem, Query, Response, Verdict


def show_problem(study: Study, name: str, cells: tuple[str, ...], sample: int | None) -> dict[str, Any]:
    """A problem and its responses in each cell.

    Args:
        name: `PROBLEM`, or `BENCHMARK/PROBLEM` where several benchmarks have one of this name.
        cells: only these, as CHECKPOINT/BENCHMARK/STRATEGY; () is all of its benchmark.
        sample: only the response with this index, from 0.

    Raises:
        DataError: if the design has no such problem, cell or sample, or several benchmarks have the problem.
        MissingError: if no chosen cell has responses yet.
    """
    benchmark, problem = _problem(study, name)
    own = {cell_name(cell): cell for cell in study.cells(benchmark)}
    for cell in cells:
        if cell not in own:
            close = nearest(cell, own)
            hint = f"did you mean `{close[0]}`?" if close else "`its recipe check params.yaml --cells` lists the cells"
            raise DataError(f"{benchmark} has no cell `{cell}`", hint)
    found, missing = [], []
    for cell in cells or own:
        if study.responses_path(*own[cell]).is_file() and study.verdicts_path(*own[cell]).is_file():
            found.append({"cell": cell, **_shown(study, own[cell], problem.problem_id, sample)})
        else:
            missing.append(cell)
    if not found:
        where = f" in {', '.join(f'`{cell}`' for cell in cells)}" if cells else ""
        raise MissingError(f"`{name}` has no graded responses{where} yet", "`dvc repro` generates and grades them")
    if sample is not None and not any(row["responses"] for row in found):
        raise DataError(f"`{name}` has no response with the index {sample}", "leave out `--sample`: it shows all")
    return {
        "benchmark": benchmark,
        "problem": problem.problem_id,
        "text": problem.text,
        "reference": problem.reference,
        "cells": found,
        "missing_cells": missing,
    }


def _problem(study: Study, name: str) -> tuple[str, Problem]:
    known: list[str] = []
    found: list[tuple[str, Problem]] = []
    for benchmark in study.recipe.design.benchmarks:
        for problem in study.problems(benchmark):
            known.append(problem.problem_id)
            if name in (problem.problem_id, f"{benchmark}/{problem.problem_id}"):
                found.append((benchmark, problem))
    if not found:
        close = nearest(name, known)
        hint = f"did you mean `{close[0]}`?" if close else "`its data show` lists the sets and their problems"
        raise DataError(f"no benchmark of the design has a problem `{name}`", hint)
    if len(found) > 1:
        names = ", ".join(f"`{benchmark}/{problem.problem_id}`" for benchmark, problem in found)
        raise DataError(f"several benchmarks have a problem `{name}`", f"name one of {names}")
    return found[0]


def _shown(study: Study, cell: Cell, problem: str, sample: int | None) -> dict[str, Any]:
    """The persona, query and responses of a problem in one cell, with the verdict of each."""
    checkpoint, benchmark, test = cell
    query = (
        next(
            (row for row in read_rows(study.queries_path("test", benchmark, test), Query) if row.problem_id == problem),
            None,
        )
        if study.queries_path("test", benchmark, test).is_file()
        else None
    )
    writer = test if query is None or query.member is None else query.member  # a mix has the personas of its members
    has_personas = study.personas_path(benchmark, writer).is_file()
    personas = study.persona_texts(benchmark, writer).get(problem, []) if has_personas else []
    query_id = f"{benchmark}/{problem}/{test}"
    verdicts = {
        row.sample_index: row for row in read_rows(study.verdicts_path(*cell), Verdict) if row.query_id == query_id
    }
    responses = [
        {
            "sample": row.sample_index,
            "thinking": row.thinking,
            "text": row.text,
            "finish_reason": row.finish_reason,
            "completion_tokens": row.completion_tokens,
            "answer": verdicts[row.sample_index].answer if row.sample_index in verdicts else None,
            "verdict": verdicts[row.sample_index].verdict if row.sample_index in verdicts else None,
            "rule": verdicts[row.sample_index].rule if row.sample_index in verdicts else None,
        }
        for row in read_rows(study.responses_path(*cell), Response)
        if row.query_id == query_id and sample in (None, row.sample_index)
    ]
    return {
        "personas": personas,
        "query": None if query is None else query.turns(checkpoint.model),
        "responses": sorted(responses, key=lambda row: int(str(row["sample"]))),
    }
