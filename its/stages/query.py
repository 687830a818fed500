"""Stage `query`: problems and personas -> `data/queries/train/...` and `data/queries/test/...`; rendering alone."""

from __future__ import annotations

from collections.abc import Iterator

from its.control_tokens import ControlTokens, declared_control_tokens
from its.errors import DataError
from its.prompts.render import read_template
from its.rows import read_rows, write_rows
from its.strategies.query import query_messages
from its.study.study import Study, join_query_id
from its.types import Persona, Problem, Query


def run(study: Study) -> str:
    """Render every query of the design, train and test by the same function."""
    counts = {"train": 0, "test": 0}
    recipe = study.recipe
    # The models that see problems and personas. `train` and `generate` search for all tokens of the tokenizers.
    seeing = {name: recipe.models[name] for name in [*recipe.design.models, recipe.writer.model]}
    control = ControlTokens(declared_control_tokens(seeing) if recipe.prompt.control_tokens is None else {})
    for side, name, strategies in study.sets():
        for strategy_name in strategies:
            path = study.queries_path(side, name, strategy_name)
            counts[side] += write_rows(path, _queries(study, side, name, strategy_name, control))
    control.refuse()
    return f"data/queries: {counts['train']} train, {counts['test']} test queries"


def _queries(study: Study, side: str, name: str, strategy_name: str, control: ControlTokens) -> Iterator[Query]:
    strategy = study.recipe.strategies[strategy_name]
    template = read_template(study.template_path(strategy.query))
    personas = _texts(study, name, strategy_name)
    rows = read_rows(study.problems_path(name), Problem, key=lambda row: row.problem_id)
    for line, problem in enumerate(rows, 1):
        texts = personas.get(problem.problem_id)
        if texts is None:
            raise DataError(
                f"{study.personas_path(name, strategy_name)}: no persona row for problem_id `{problem.problem_id}`",
                "`dvc repro -f persona`",
            )
        query = Query(
            query_id=join_query_id(name, problem.problem_id, strategy_name),
            problem_id=problem.problem_id,
            strategy=strategy_name,
            messages=query_messages(strategy, template, study.recipe.prompt, problem, texts),
            solution=problem.solution if side == "train" else None,
        )
        row = f"problem_id `{problem.problem_id}`"
        at = f"{study.problems_path(name).relative_to(study.project)}:{line}"
        parts = [("the problem", problem.text), ("the solution", query.solution or "")]
        found = control.look(at, row, parts)
        at = str(study.personas_path(name, strategy_name).relative_to(study.project))
        found |= control.look(at, row, [("the persona", text) for text in texts])
        if not found:  # the recipe's own text may contain one, or two parts together form one
            at = str(study.queries_path(side, name, strategy_name).relative_to(study.project))
            control.look(at, row, [(f"the {turn.role} turn", turn.content) for turn in query.messages])
        yield query


def _texts(study: Study, name: str, strategy_name: str) -> dict[str, list[str]]:
    """The personas of each problem in order; [] if it has none."""
    out: dict[str, list[str]] = {}
    path = study.personas_path(name, strategy_name)
    for row in read_rows(path, Persona, key=lambda row: (row.problem_id, row.index)):
        texts = out.setdefault(row.problem_id, [])
        if row.text:
            texts.append(row.text)
    return out
