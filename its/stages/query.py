"""Stage `query`: problems and personas -> `data/queries/train/...` and `data/queries/test/...`; rendering alone."""

from __future__ import annotations

from collections.abc import Iterator

from its.errors import DataError
from its.prompts.render import read_template
from its.rows import read_rows, write_rows
from its.stages.study import Study, join_query_id
from its.strategies.query import query_messages
from its.types import Persona, Problem, Query


def run(study: Study) -> str:
    """Render every query of the design, train and test by the same function."""
    counts = {"train": 0, "test": 0}
    for side, name, strategies in study.sets():
        for strategy_name in strategies:
            path = study.queries_path(side, name, strategy_name)
            counts[side] += write_rows(path, _queries(study, side, name, strategy_name))
    return f"data/queries: {counts['train']} train, {counts['test']} test queries"


def _queries(study: Study, side: str, name: str, strategy_name: str) -> Iterator[Query]:
    strategy = study.recipe.strategies[strategy_name]
    template = read_template(study.template_path(strategy.query))
    personas = _texts(study, name, strategy_name)
    for problem in read_rows(study.problems_path(name), Problem, key=lambda row: row.problem_id):
        texts = personas.get(problem.problem_id)
        if texts is None:
            raise DataError(
                f"{study.personas_path(name, strategy_name)}: no persona row for problem_id `{problem.problem_id}`",
                "`dvc repro -f persona`",
            )
        yield Query(
            query_id=join_query_id(name, problem.problem_id, strategy_name),
            problem_id=problem.problem_id,
            strategy=strategy_name,
            messages=query_messages(strategy, template, study.recipe.prompt, problem, texts),
            solution=problem.solution if side == "train" else None,
        )


def _texts(study: Study, name: str, strategy_name: str) -> dict[str, list[str]]:
    """The personas of each problem in order; [] where it has none."""
    out: dict[str, list[str]] = {}
    path = study.personas_path(name, strategy_name)
    for row in read_rows(path, Persona, key=lambda row: (row.problem_id, row.index)):
        texts = out.setdefault(row.problem_id, [])
        if row.text:
            texts.append(row.text)
    return out
