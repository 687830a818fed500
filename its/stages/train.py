"""Stage `train`: train queries -> `models/MODEL-DATASET-STRATEGY-SEED/` by Axolotl, and the loss curves as plots.

One combination of the design is one stage: all its variants, and their earlier checkpoints, are made here.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from its.control_tokens import ControlTokens
from its.engines.protocol import EngineModel
from its.environments import find_environment
from its.errors import DataError, Fault, FaultsError
from its.files import atomic_file
from its.model_files import final_template, model_control_tokens
from its.models import SOUND_FILE, ready_model, require_opening
from its.progress import Progress, say
from its.prompts.chat import closes_thought
from its.prompts.render import read_template
from its.recipe.schema import LAST, Model, Section, Train
from its.recipe.schema.base import Name
from its.recipe.schema.study import Fraction
from its.recipe.trust import code_settings, refusal, refused
from its.rows import read_json, read_rows, write_json
from its.seeds import derive_seed
from its.shown import counted, shown
from its.strategies.query import SolutionTurns
from its.study.study import Checkpoint, Study
from its.thinking import SOLUTION_MARKS
from its.training.nodes import Meeting, Node, announced, meeting, node_of, require_machines
from its.training.run import (
    Trained,
    Training,
    copy_model,
    join_training,
    kept_config,
    replaced_folder,
    train_checkpoint,
    unsaved_checkpoints,
)
from its.training.steps import expected_steps
from its.types import Query

_AGAIN = "`dvc repro -f query` writes it again"


class _Row(Section):
    """A training in the file that `query` writes."""

    variant: Name
    checkpoints: Annotated[list[Fraction], Field(min_length=1)]
    train: Train


class _File(Section):
    """That file."""

    trainings: list[_Row]


@dataclass(frozen=True)
class _Wanted:
    """A training of the combination: its last checkpoint, those that are evaluated, its settings."""

    last: Checkpoint
    checkpoints: list[Checkpoint]
    train: Train


def run(study: Study, model: str, dataset: str, strategy: str, seed: int, node: Node | None = None) -> str:
    """Run the trainings of one combination, or reuse those in the ITS home that were finished before.

    Args:
        node: this machine among those that train together; the first one does what the stage does, and the others
            take part in the trainings that need them and write nothing in the study.

    Raises:
        FaultsError: before the first training, naming each that is finished without a checkpoint that is wanted of it.
    """
    combination = Checkpoint(model, dataset, strategy, seed)
    wanted = _wanted(study.trainings_path(model, dataset, strategy, seed), combination)
    several = [item.last.name for item in wanted if require_machines(item.last.folder, item.train, node)]
    if node is not None and wanted and not several:
        raise DataError(
            f"{combination.name}: its trainings take one machine each",
            f"`launcher_args: [--nnodes={node.nodes}, ...]` and `devices` in `train`; or leave `--node` out",
        )
    trainings = _trainings(study, combination, seed, wanted) if wanted else {}
    fractions: dict[str, dict[str, None]] = {}
    for item in wanted:
        key = trainings[item.last.name].key
        fractions.setdefault(key, {}).update(dict.fromkeys(c.saved_at for c in item.checkpoints if c.saved_at != LAST))
    # Before the first training: the next error may otherwise come hours later.
    unsaved = [unsaved_checkpoints(study.home, key, [*names]) for key, names in fractions.items()]
    if faults := [fault for fault in unsaved if fault is not None]:
        raise FaultsError(faults)
    if node is not None and node.rank:
        return _join(study, {name: trainings[name] for name in several}, fractions, node)
    done: dict[str, Trained] = {}
    members: dict[str, list[_Wanted]] = {}
    for item in wanted:
        training = trainings[item.last.name]
        members.setdefault(training.key, []).append(item)
        if training.key not in done:
            others = node if item.last.name in several else None
            parts = list(fractions[training.key])
            done[training.key] = _train(study, item.last.name, training, parts, study.model_path(combination), others)
    with (
        replaced_folder(study.model_path(combination)) as models,
        replaced_folder(study.results("loss", combination.name)) as losses,
    ):
        for item in wanted:
            trained = done[trainings[item.last.name].key]
            for checkpoint in item.checkpoints:
                place = study.model_path(checkpoint).relative_to(study.model_path(combination))
                _keep(trained, checkpoint, models / place, study.home)
            _write_losses(losses / f"{item.last.name}.csv", trained.losses)
        if not wanted:  # git keeps no empty folder, and a clone without it would not be up to date
            _write_losses(losses / f"{combination.name}.csv", [])
    costs = [_cost(members[key], trained) for key, trained in done.items()]
    write_json(study.results("cost", f"train-{combination.name}.json"), costs)
    if not wanted:
        return f"models/{combination.name}: not in the design (`design.only`, `design.except`): nothing to train"
    return "\n".join(_summary(members[key], trained) for key, trained in done.items())


def this_node(rank: int | None, nodes: int | None, rendezvous: str | None, wait_seconds: float) -> Node | None:
    """This machine among those that train together, as its options say; None if it trains alone.

    Raises:
        DataError: as `node_of`.
    """
    return node_of(rank, nodes, rendezvous, wait_seconds)


def training_keys(study: Study, model: str, dataset: str, strategy: str, seed: int) -> list[str]:
    """The keys of the trainings of a combination, of what `query` last wrote; converts no model.

    Raises:
        ItsError: if one cannot be computed here: a model, an environment or rows are missing or invalid.
    """
    combination = Checkpoint(model, dataset, strategy, seed)
    wanted = _wanted(study.trainings_path(model, dataset, strategy, seed), combination)
    found = _trainings(study, combination, seed, wanted, make=False) if wanted else {}
    return [training.key for training in found.values()]


def _wanted(path: Path, combination: Checkpoint) -> list[_Wanted]:
    """What `query` wrote of the trainings of a combination; none where the design leaves it out.

    The file may come from someone else's remote, so it is checked as a recipe is: its names become folders, and its
    settings may run code.

    Raises:
        DataError: if it wrote something else.
        FaultsError: if a setting may run code, and the owner of the machine does not allow it.
    """
    out, faults = [], []
    try:
        for row in _File.model_validate(read_json(path)).trainings:
            saved = [replace(combination, variant=row.variant, saved_at=name) for name in row.checkpoints]
            out.append(_Wanted(saved[0].last, saved, row.train))
            if not row.train.template.startswith("axolotl/") or ".." in row.train.template.split("/"):
                faults.append(Fault(str(path), f"`{row.train.template}` is outside `recipes/axolotl/`", _AGAIN))
            settings = {"train": row.train.model_dump()}
            faults += [Fault(str(path), *refusal(item)) for item in refused(code_settings(settings))]
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}"
        raise DataError(f"{path}: not what `query` writes ({shown(reason)})", _AGAIN) from error
    if faults:
        raise FaultsError(faults)
    return out


def _trainings(
    study: Study, combination: Checkpoint, seed: int, wanted: Sequence[_Wanted], *, make: bool = True
) -> dict[str, Training]:
    """The trainings of a combination, by the name of their last checkpoint; all have the same rows.

    Args:
        make: as in `ready_model`.

    Raises:
        DataError, FaultsError: if a row has no solution, a text contains a control token, or a thought is not as the
            model's template expects.
    """
    recipe, model = study.recipe, combination.model
    declared = recipe.models[model]
    base = ready_model(model, declared, study.project, study.home, say, make=make)
    messages = _rows(study, combination, declared, base)
    return {
        item.last.name: Training(
            messages=messages,
            train=item.train,
            template=read_template(study.template_path(item.train.template)),
            tokens=declared.special_tokens,
            base=base,
            seed=derive_seed(recipe.seed, "train", seed),
            environment=find_environment("axolotl", study.project, study.home),
        )
        for item in wanted
    }


def _rows(study: Study, combination: Checkpoint, declared: Model, base: EngineModel) -> list[list[dict[str, str]]]:
    """The rows to train on, as chat messages whose last turn is the solution."""
    model = combination.model
    path = study.queries_path("train", str(combination.dataset), str(combination.train))
    rows = []
    control = ControlTokens(model_control_tokens([(base, declared)], study.recipe.prompt))
    trained_turns = _trained_turns(model, declared, base)
    for line, query in enumerate(read_rows(path, Query, key=lambda row: row.query_id), 1):
        if not query.solution:
            raise DataError(f"{path}: `{query.query_id}` has no solution to train on", "map `fields.solution`")
        turns, where = query.turns(model), f"{path.relative_to(study.project)}:{line}"
        solution = trained_turns.turn(where, query.query_id, query.solution)
        rows.append([*turns, {"role": "assistant", "content": solution}])
        parts = [(f"the {turn['role']} turn", turn["content"]) for turn in turns] + [("the solution", solution)]
        control.look(where, f"`{query.query_id}`", parts)
    trained_turns.refuse()
    control.refuse()
    return rows


def _meeting(study: Study, name: str, training: Training, node: Node) -> Meeting:
    return meeting(study.home, node, name, training.key, training.identity, training.base.path)


def _join(study: Study, trainings: dict[str, Training], fractions: dict[str, dict[str, None]], node: Node) -> str:
    """Take part in the trainings, each key once, in the order of the first machine."""
    lines: dict[str, str] = {}
    for name, training in trainings.items():
        if training.key in lines:
            continue
        place = _meeting(study, name, training, node)
        with announced(place):
            took_part = join_training(
                training, home=study.home, say=say, meeting=place, fractions=list(fractions[training.key])
            )
        how = "its part is done" if took_part else "was finished already"
        lines[training.key] = f"node {node.rank} of {node.nodes}: {name}: {how} (key {training.key})"
    return "\n".join(lines.values())


def _train(
    study: Study, name: str, training: Training, fractions: list[str], copied_to: Path, node: Node | None
) -> Trained:
    say(f"train: {name}, {counted(len(training.messages), 'row')}")
    train, rows = training.train, len(training.messages)
    with Progress(f"train {name}", expected_steps(rows, train.global_batch_size, train.epochs), "steps") as bar:
        seen = 0

        def progress(row: dict[str, Any]) -> None:
            nonlocal seen
            bar.add(max(0, row["step"] - seen), note=f"loss {row['loss']:.3f}")
            seen = row["step"]

        others = None if node is None else _meeting(study, name, training, node)
        with announced(others):
            return train_checkpoint(
                training,
                home=study.home,
                say=say,
                progress=progress,
                fractions=fractions,
                copied_to=copied_to,
                meeting=others,
            )


def _keep(trained: Trained, checkpoint: Checkpoint, target: Path, home: Path) -> None:
    """Write one checkpoint with what `generate` and the report need beside it."""
    earlier = trained.earlier.get(checkpoint.saved_at)
    folder, sound = (trained.folder, trained.sound) if earlier is None else (earlier.folder, earlier.sound)
    copy_model(folder, target)
    (target / "axolotl.yaml").write_text(kept_config(trained, home), encoding="utf-8")
    write_json(target / "its_parity.json", trained.parity)
    write_json(target / SOUND_FILE, sound)


def _write_losses(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with atomic_file(path) as out:
        writer = csv.DictWriter(
            out, ["step", "loss", "learning_rate", "grad_norm"], extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)


def _cost(same: Sequence[_Wanted], trained: Trained) -> dict[str, Any]:
    """What one training cost, once, whatever it is called."""
    return {
        "what": f"train {' and '.join(item.last.name for item in same)}",
        "seconds": trained.seconds,
        "tokens": trained.parity["prompt_tokens"] + trained.parity["trained_tokens"],
    }


def _summary(same: Sequence[_Wanted], trained: Trained) -> str:
    train = same[0].train
    how = "reused" if trained.reused else f"trained in {trained.seconds:.0f} s"
    steps = trained.sound["steps"]
    done, loss = counted(steps["done"], "step"), trained.losses[-1]["loss"]
    summary = f"models/{same[0].last.folder}: {how}, {done}, last loss {loss:.3f}"
    if abs(steps["epochs"] - train.epochs) >= 0.01:
        summary += f"; {steps['epochs']:.2f} of {train.epochs:g} epochs, as Axolotl counts steps"
    if steps["left_out"]:
        summary += f"; {counted(steps['left_out'], 'step')} skipped by the loss scaler"
    if trained.sound["changed"] is None:
        summary += f"; {trained.sound['compared']}"
    for fraction, saved in trained.earlier.items():
        summary += f"; {fraction} is step {saved.sound['steps']['done']}"
        if saved.sound["changed"] is None and trained.sound["changed"] is not None:
            summary += f" ({saved.sound['compared']})"
    if len(same) > 1:
        summary += f"; {' and '.join(item.last.name for item in same[1:])}: the same training"
    return summary


def _trained_turns(name: str, declared: Model, base: EngineModel) -> SolutionTurns:
    """What makes a model's trained turns of solutions; its chat template says whether the prompt ends a thought.

    Raises:
        DataError: if the template and `thinking` disagree on who begins the first thought.
    """
    marks, template = declared.thinking, final_template(base)
    require_opening(name, declared, template)
    closed = template is not None and closes_thought(template, marks or SOLUTION_MARKS)
    return SolutionTurns(name, marks, closed)
