"""Stage `grade`: responses -> `data/verdicts/CHECKPOINT/BENCHMARK/STRATEGY.jsonl`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from its.errors import DataError
from its.grading.grade import Grader, Item
from its.progress import Progress
from its.rows import read_rows, row_file
from its.shown import counted
from its.study.study import Cell, Study, split_query_id
from its.types import Response


def run(study: Study) -> str:
    """Grade every response of the design; each one gets exactly one verdict. Memory does not grow with them."""
    counts: Counter[str] = Counter()
    cells = study.cells()
    with Progress("grade", len(cells), "cells") as progress, open_grader(study) as grader:
        for cell in cells:
            with row_file(study.verdicts_path(*cell)) as write:
                for verdict in grader.grade(cell_items(study, cell)):
                    write(verdict)
                    counts[verdict.verdict] += 1
            progress.add()
    shown = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return f"data/verdicts: {counted(sum(counts.values()), 'verdict')} ({shown})"


def open_grader(study: Study) -> Grader:
    """The grader with the settings of the recipe."""
    grading = study.recipe.grading
    return Grader(grading.timeout_seconds, grading.workers, grading.fallback)


def cell_items(study: Study, cell: Cell) -> Iterator[Item]:
    """The responses of a cell with their references.

    `generate` has removed the thinking; where the recipe declared its marks only later, it is removed here.
    """
    checkpoint, benchmark, test = cell
    path = study.responses_path(*cell)
    problems = {problem.problem_id: problem for problem in study.problems(benchmark)}
    kind = study.recipe.benchmarks[benchmark].answer
    marks = study.recipe.models[checkpoint.model].thinking
    for response in read_rows(path, Response, key=lambda row: (row.query_id, row.sample_index)):
        set_name, problem_id, strategy = split_query_id(response.query_id)
        problem = problems.get(problem_id)
        if problem is None or problem.reference is None or (set_name, strategy) != (benchmark, test):
            what = f"`{response.query_id}` is not a query of `{benchmark}` under test strategy `{test}`"
            raise DataError(f"{path}: {what}", "`dvc repro` writes the rows of this design")
        yield Item(
            query_id=response.query_id,
            sample_index=response.sample_index,
            text=response.text,
            reference=problem.reference,
            kind=kind,
            thinking=marks if response.thinking is None else None,
            cut_short=response.finish_reason == "length",
            question=problem.text,
        )
