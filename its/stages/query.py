"""Stage `query`: problems and personas -> `data/queries/train/...` and `data/queries/test/...`.

What is known of the rows before a training, their lengths above all, is in `data/queries/lengths.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import product
from typing import NamedTuple

from its.control_tokens import ControlTokens, declared_control_tokens
from its.errors import DataError, Fault, FaultsError
from its.prompts.render import read_template
from its.recipe.schema import LAST, Strategy
from its.rows import count_lines, read_rows, write_json, write_rows
from its.strategies.members import expanded, members_of, row_name
from its.strategies.query import query_messages
from its.study.counts import Size, evaluation_counts
from its.study.row_check import check_rows
from its.study.solutions import TrainedSolutions
from its.study.study import Study, join_query_id
from its.training.steps import MORE_STEPS, expected_steps, fraction_faults
from its.types import Problem, Query


def run(study: Study) -> str:
    """Render every query of the design, train and test by the same function; check the rows to train on.

    Raises:
        DataError, FaultsError: if a text contains a control token, or as `check_rows`.
    """
    counts = {"train": 0, "test": 0}
    sizes: dict[str, Size] = {}
    recipe = study.recipe
    # The models that see problems and personas. `train` and `generate` search for all tokens of the tokenizers.
    seeing = {name: recipe.models[name] for name in [*recipe.design.models, recipe.writer.model]}
    control = ControlTokens(declared_control_tokens(seeing) if recipe.prompt.control_tokens is None else {})
    solutions = TrainedSolutions(study)
    for side, name, strategies in study.sets():
        for strategy_name in strategies:
            path = study.queries_path(side, name, strategy_name)
            written = write_rows(path, _queries(study, side, name, strategy_name, control, solutions))
            counts[side] += written
            sizes[name] = Size(written)
    control.refuse()
    account = check_rows(study)
    for name, problem_ids in account.dropped.items():
        for strategy_name in [each for of, each in study.pairs("train") if of == name]:
            path = study.queries_path("train", name, strategy_name)
            counts["train"] -= count_lines(path)
            kept = write_rows(path, _without(read_rows(path, Query), set(problem_ids)))
            counts["train"] += kept
            if not kept:
                raise DataError(
                    f"`{name}` has no row of at most {recipe.train.sequence_length} tokens under `{strategy_name}`",
                    "raise `train.sequence_length`",
                )
    write_json(study.lengths_path(), account.document)
    _write_trainings(study)
    to_come = evaluation_counts(study, sizes)
    found = f"{account.summary}{solutions.summary}"
    return f"data/queries: {counts['train']} train, {counts['test']} test queries; {to_come}{found}"


def _without(rows: Iterator[Query], problem_ids: Set[str]) -> Iterator[Query]:
    return (row for row in rows if row.problem_id not in problem_ids)


def _write_trainings(study: Study) -> None:
    """What `train` does for each combination, which is all that it depends on of `train` and of the design.

    DVC runs a stage for every combination of the design's lists, so one that `only` or `except` leave out has files
    too: no training, and no row where no combination needs the rows.
    """
    recipe, design = study.recipe, study.recipe.design
    used = set(study.pairs("train"))
    rows: dict[tuple[str, str], int] = {}
    for pair in product(design.datasets, design.train):
        path = study.queries_path("train", *pair)
        rows[pair] = count_lines(path) if pair in used else write_rows(path, ())
    too_few: dict[str, list[str]] = {}
    for model, dataset, strategy in product(design.models, design.datasets, design.train):
        for seed in design.seeds:
            trainings = []
            for wanted in study.trainings(model, dataset, strategy, seed):
                train = recipe.train.of(model, dataset, wanted[0].variant)
                saved = [item.saved_at for item in wanted]
                trainings.append(
                    {
                        "variant": wanted[0].variant,
                        "checkpoints": saved,
                        # `long_rows` has done its work: the rows to train on are those that are written here.
                        "train": train.model_dump(exclude_defaults=True, exclude={"long_rows"}),
                    }
                )
                # Packed rows make fewer steps, which only the trainer can count: it checks them before its first.
                steps = expected_steps(rows[dataset, strategy], train.global_batch_size, train.epochs)
                for fault in fraction_faults([name for name in saved if name != LAST], steps):
                    too_few.setdefault(fault, []).append(wanted[0].last.name)
            write_json(study.trainings_path(model, dataset, strategy, seed), {"trainings": trainings})
    if too_few:
        raise FaultsError([_too_few(fault, names) for fault, names in too_few.items()])


def _too_few(fault: str, names: Sequence[str]) -> Fault:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return Fault("params.yaml", f"`design.checkpoints`: {fault} ({names[0]}{more})", MORE_STEPS)


def _queries(
    study: Study, side: str, name: str, strategy_name: str, control: ControlTokens, solutions: TrainedSolutions
) -> Iterator[Query]:
    """The queries of a set under a strategy, problem by problem; a mix or union takes those of its members."""
    recipe, prompt = study.recipe, study.recipe.prompt
    combined = recipe.strategies[strategy_name]
    frames = {model: prompt.of(model) for model in recipe.design.models if model in prompt.models}
    frames = {model: frame for model, frame in frames.items() if frame != prompt.model_copy(update={"models": {}})}
    parts = {item: _part(study, name, item) for item in expanded(recipe.strategies, [strategy_name])}
    rows = read_rows(study.problems_path(name), Problem, key=lambda row: row.problem_id)
    for line, problem in enumerate(rows, 1):
        for member in members_of(recipe.strategies, strategy_name, problem.problem_id, recipe.seed):
            part = parts[member]
            texts = part.personas.get(problem.problem_id)
            if texts is None:
                raise DataError(
                    f"{study.personas_path(name, member)}: no persona row for problem_id `{problem.problem_id}`",
                    "`dvc repro -f persona`",
                )
            solution = solutions.of(name, strategy_name, member, problem) if side == "train" else None
            if solution == "":  # none that was regenerated can be trained on
                continue
            own_name = row_name(strategy_name, member if combined.union is not None else None)
            query = Query(
                query_id=join_query_id(name, problem.problem_id, own_name),
                problem_id=problem.problem_id,
                strategy=strategy_name,
                messages=query_messages(part.strategy, part.template, prompt, problem, texts),
                by_model={
                    model: query_messages(part.strategy, part.template, frame, problem, texts)
                    for model, frame in frames.items()
                }
                or None,
                solution=solution,
                member=member if combined.members else None,
            )
            row = f"problem_id `{problem.problem_id}`"
            at = f"{study.problems_path(name).relative_to(study.project)}:{line}"
            found = control.look(at, row, [("the problem", problem.text)])
            found |= control.look(solutions.place(name, member) or at, row, [("the solution", query.solution or "")])
            at = str(study.personas_path(name, member).relative_to(study.project))
            found |= control.look(at, row, [("the persona", text) for text in texts])
            if not found:  # the recipe's own text may contain one, or two parts together form one
                at = str(study.queries_path(side, name, strategy_name).relative_to(study.project))
                turns = [turn for several in [query.messages, *(query.by_model or {}).values()] for turn in several]
                control.look(at, row, [(f"the {turn.role} turn", turn.content) for turn in turns])
            yield query


class _Part(NamedTuple):
    """A strategy with what its queries are made of; `personas` has the texts of each problem, [] if it has none."""

    strategy: Strategy
    template: str
    personas: dict[str, list[str]]


def _part(study: Study, name: str, strategy_name: str) -> _Part:
    strategy = study.recipe.strategies[strategy_name]
    template = read_template(study.template_path(strategy.template))
    return _Part(strategy, template, study.persona_texts(name, strategy_name))
