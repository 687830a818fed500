"""Stage `query`: problems and personas -> `data/queries/train/...` and `data/queries/test/...`; rendering alone."""

from __future__ import annotations

from collections.abc import Iterator

from its.errors import DataError
from its.rows import write_rows
from its.stages.study import Study, join_query_id, load_study
from its.strategies.query import query_messages
from its.types import Query


def run() -> str:
    """Render every query of the design, train and test by the same function."""
    study = load_study()
    counts = {"train": 0, "test": 0}
    for side, name, strategies in study.sets():
        for strategy_name in strategies:
            path = study.queries_path(side, name, strategy_name)
            counts[side] += write_rows(path, _queries(study, side, name, strategy_name))
    return f"data/queries: {counts['train']} train, {counts['test']} test queries"


def _queries(study: Study, side: str, name: str, strategy_name: str) -> Iterator[Query]:
    strategy = study.recipe.strategies[strategy_name]
    template = study.template(strategy.query)
    personas = study.personas(name, strategy_name)
    for problem in study.problems(name):
        persona = personas.get(problem.problem_id)
        if persona is None:
            raise DataError(
                f"{study.personas_path(name, strategy_name)}: no persona row for problem_id `{problem.problem_id}`",
                "`dvc repro -f persona`",
            )
        yield Query(
            query_id=join_query_id(name, problem.problem_id, strategy_name),
            problem_id=problem.problem_id,
            strategy=strategy_name,
            messages=query_messages(strategy, template, study.recipe.prompt, problem, persona.text),
            solution=problem.solution if side == "train" else None,
        )
