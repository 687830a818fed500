"""The responses of a study, read for the page that shows them: verdicts of all, texts of as many as fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from its.errors import DataError
from its.report.explorer.pack import MOST_CHARACTERS, Explored, ExploredCell, Text, kept_order, packed
from its.rows import read_rows
from its.study.study import Cell, Study, join_query_id
from its.types import Problem, Query, Response, Verdict

Place = tuple[int, str, str]
"""(sample, benchmark, problem_id)."""


def explored(study: Study, day: str | None = None) -> Explored:
    """What the page contains of the responses.

    Responses are read twice, since together they may be far larger than what fits in memory: first all without their
    texts, then the texts that are candidates for the page, at most MOST_CHARACTERS.

    Args:
        day: on which the responses were generated, if it is known.

    Raises:
        DataError: where a response or a verdict belongs to no problem of its benchmark.
    """
    problems = {name: {row.problem_id: row for row in study.problems(name)} for name in study.recipe.design.benchmarks}
    places: Counter[Place] = Counter()
    cells = [_cell(study, cell, problems[cell[1]], places) for cell in study.cells()]
    samples = max((cell.samples for cell in cells), default=1)
    keys = [(name, each) for name, rows in problems.items() for each in rows]
    candidates: dict[Place, int] = {}
    characters = 0
    for order, place in enumerate(kept_order(keys, samples, study.recipe.seed)):
        characters += places[place]
        if candidates and characters > MOST_CHARACTERS:
            break
        candidates[place] = order
    found = [
        (candidates[text.sample, cell[1], problem_id], number, text)
        for number, cell in enumerate(study.cells())
        for problem_id, text in _texts(study, cell, number, problems[cell[1]], candidates)
    ]
    found.sort(key=lambda item: item[:2])
    return packed(cells, [text for _, _, text in found], study.recipe.report.examples, day)


def _cell(study: Study, cell: Cell, problems: Mapping[str, Problem], places: Counter[Place]) -> ExploredCell:
    """Everything of a cell but the texts, whose characters are added up in `places`."""
    checkpoint, benchmark, test = cell
    path = study.responses_path(*cell)
    at = {join_query_id(benchmark, each, test): (number, each) for number, each in enumerate(problems)}
    rows = []
    for row in read_rows(path, Response, key=lambda row: (row.query_id, row.sample_index)):
        number, problem_id = _known(at, row.query_id, str(path))
        places[row.sample_index, benchmark, problem_id] += len(row.text) + len(row.thinking or "")
        rows.append((number, row.model_copy(update={"text": "", "thinking": None})))
    out = ExploredCell(
        checkpoint=checkpoint.name,
        benchmark=benchmark,
        test=test,
        train=checkpoint.train,
        path=path.relative_to(study.project).as_posix(),
        problems=list(problems),
        samples=1 + max((row.sample_index for _, row in rows), default=0),
    )
    for number, row in rows:
        out.answered(number, row)
    verdicts = study.verdicts_path(*cell)
    for verdict in read_rows(verdicts, Verdict, key=lambda row: (row.query_id, row.sample_index)):
        number, _ = _known(at, verdict.query_id, str(verdicts))
        if verdict.sample_index >= out.samples:
            raise DataError(f"{verdicts}: a verdict of {verdict.query_id} has no response", "`dvc repro grade`")
        out.graded(number, verdict)
    return out


def _known(at: Mapping[str, tuple[int, str]], query_id: str, path: str) -> tuple[int, str]:
    found = at.get(query_id)
    if found is None:
        what = f"{path}: `{query_id}` is not a query of a problem of this benchmark under this strategy"
        raise DataError(what, "`dvc repro` makes both again")
    return found


def _texts(
    study: Study, cell: Cell, number: int, problems: Mapping[str, Problem], wanted: Mapping[Place, int]
) -> Iterator[tuple[str, Text]]:
    """(problem_id, text) of the responses of a cell that are wanted."""
    checkpoint, benchmark, test = cell
    queries = {row.query_id: row for row in read_rows(study.queries_path("test", benchmark, test), Query)}
    personas = {name: study.persona_texts(benchmark, name) for name in {row.member or test for row in queries.values()}}
    verdicts = {(row.query_id, row.sample_index): row for row in read_rows(study.verdicts_path(*cell), Verdict)}
    order = {each: place for place, each in enumerate(problems)}
    for row in read_rows(study.responses_path(*cell), Response):
        query = queries.get(row.query_id)
        if query is None or (row.sample_index, benchmark, query.problem_id) not in wanted:
            continue
        problem, verdict = problems[query.problem_id], verdicts.get((row.query_id, row.sample_index))
        yield (
            query.problem_id,
            Text(
                cell=number,
                problem=order[query.problem_id],
                sample=row.sample_index,
                response=row.text,
                thinking=row.thinking,
                answer=None if verdict is None else verdict.answer,
                reason=None if verdict is None else verdict.reason,
                question=problem.text,
                reference=problem.reference,
                personas=personas[query.member or test].get(query.problem_id, []),
                turns=query.turns(checkpoint.model),
            ),
        )
