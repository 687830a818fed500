"""Stage `query`: problems and personas -> `data/queries/train/...` and `data/queries/test/...`.

What is known of the rows before a training, their lengths above all, is in `data/queries/lengths.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from its.control_tokens import ControlTokens, declared_control_tokens
from its.errors import DataError, Fault, FaultsError
from its.prompts.render import read_template
from its.recipe.schema import LAST
from its.rows import count_lines, read_rows, write_json, write_rows
from its.strategies.query import query_messages
from its.study.row_check import check_rows
from its.study.study import Study, join_query_id
from its.training.steps import expected_steps, fraction_faults
from its.types import Persona, Problem, Query


def run(study: Study) -> str:
    """Render every query of the design, train and test by the same function; check the rows to train on.

    Raises:
        DataError, FaultsError: if a text contains a control token, or as `check_rows`.
    """
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
    account = check_rows(study)
    for name, problem_ids in account.dropped.items():
        gone = set(problem_ids)
        for strategy_name in recipe.design.train:
            path = study.queries_path("train", name, strategy_name)
            kept = write_rows(path, (row for row in read_rows(path, Query) if row.problem_id not in gone))
            counts["train"] -= len(gone)
            if not kept:
                raise DataError(
                    f"`{name}` has no row of at most {recipe.train.sequence_length} tokens",
                    "raise `train.sequence_length`",
                )
    write_json(study.lengths_path(), account.document)
    _write_trainings(study)
    return f"data/queries: {counts['train']} train, {counts['test']} test queries{account.summary}"


def _write_trainings(study: Study) -> None:
    """What `train` does for each combination, which is all that it depends on of `train` and of the design.

    DVC runs a stage for every combination of the design's lists, so one that `only` or `except` leave out has files
    too: no training, and no row where no combination needs the rows.
    """
    recipe, design = study.recipe, study.recipe.design
    used = {(name, strategy) for side, name, several in study.sets() if side == "train" for strategy in several}
    for pair in product(design.datasets, design.train):
        if pair not in used:
            write_rows(study.queries_path("train", *pair), ())
    too_few: dict[str, list[str]] = {}
    for model, dataset, strategy in product(design.models, design.datasets, design.train):
        rows = count_lines(study.queries_path("train", dataset, strategy))
        for seed in design.seeds:
            trainings = []
            for wanted in study.trainings(model, dataset, strategy, seed):
                train = recipe.train.of(model, dataset, wanted[0].variant)
                saved = [item.saved_at for item in wanted]
                trainings.append(
                    {
                        "variant": wanted[0].variant,
                        "checkpoints": saved,
                        "train": train.model_dump(exclude_defaults=True),
                    }
                )
                # Packed rows make fewer steps, which only the trainer can count: it checks them before its first.
                steps = expected_steps(rows, train.global_batch_size, train.epochs)
                for fault in fraction_faults([name for name in saved if name != LAST], steps):
                    too_few.setdefault(fault, []).append(wanted[0].last.name)
            write_json(study.trainings_path(model, dataset, strategy, seed), {"trainings": trainings})
    if too_few:
        raise FaultsError([_too_few(fault, names) for fault, names in too_few.items()])


def _too_few(fault: str, names: Sequence[str]) -> Fault:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    hint = "leave it out, or more rows, epochs or a smaller `global_batch_size`: more steps"
    return Fault("params.yaml", f"`design.checkpoints`: {fault} ({names[0]}{more})", hint)


def _queries(study: Study, side: str, name: str, strategy_name: str, control: ControlTokens) -> Iterator[Query]:
    strategy, prompt = study.recipe.strategies[strategy_name], study.recipe.prompt
    frames = {model: prompt.of(model) for model in study.recipe.design.models if model in prompt.models}
    frames = {model: frame for model, frame in frames.items() if frame != prompt.model_copy(update={"models": {}})}
    template = read_template(study.template_path(strategy.template))
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
            messages=query_messages(strategy, template, prompt, problem, texts),
            by_model={
                model: query_messages(strategy, template, frame, problem, texts) for model, frame in frames.items()
            }
            or None,
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
            turns = [turn for several in [query.messages, *(query.by_model or {}).values()] for turn in several]
            control.look(at, row, [(f"the {turn.role} turn", turn.content) for turn in turns])
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
