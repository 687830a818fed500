"""Stage `train`: train queries -> `models/CHECKPOINT/` by Axolotl, and the loss curve as a plot."""

from __future__ import annotations

import csv
from typing import Any

from its.control_tokens import ControlTokens
from its.engines.protocol import EngineModel
from its.environments import find_environment
from its.errors import DataError
from its.files import atomic_file
from its.model_files import final_template, model_control_tokens
from its.models import SOUND_FILE, ready_model, require_opening
from its.progress import Progress, say
from its.prompts.chat import closes_thought
from its.prompts.render import read_template
from its.recipe.schema import Model
from its.rows import read_rows, write_json
from its.seeds import derive_seed
from its.strategies.query import SolutionTurns
from its.study.study import Checkpoint, Study
from its.thinking import SOLUTION_MARKS
from its.training.checkpoint import expected_steps
from its.training.run import copy_model, train_checkpoint
from its.types import Query


def run(study: Study, model: str, dataset: str, strategy: str, seed: int) -> str:
    """Train one checkpoint, or reuse the one in the ITS home that was trained before."""
    recipe = study.recipe
    checkpoint = Checkpoint(model, dataset, strategy, seed)
    path = study.queries_path("train", dataset, strategy)
    rows = []
    declared = recipe.models[model]
    base = ready_model(model, declared, study.project, study.home, say)
    control = ControlTokens(model_control_tokens([(base, declared)], recipe.prompt))
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
    environment = find_environment("axolotl", study.project, study.home)
    say(f"train: {checkpoint.name}, {len(rows)} rows")
    with Progress(
        f"train {checkpoint.name}",
        expected_steps(len(rows), recipe.train.global_batch_size, recipe.train.epochs),
        "steps",
    ) as bar:
        seen = 0

        def progress(row: dict[str, Any]) -> None:
            nonlocal seen
            bar.add(max(0, row["step"] - seen), note=f"loss {row['loss']:.3f}")
            seen = row["step"]

        trained = train_checkpoint(
            messages=rows,
            train=recipe.train,
            template=read_template(study.template_path(recipe.train.template)),
            tokens=declared.special_tokens,
            base=base,
            seed=derive_seed(recipe.seed, "train", seed),
            environment=environment,
            home=study.home,
            say=say,
            progress=progress,
        )
    target = study.model_path(checkpoint)
    copy_model(trained.folder, target)
    _keep_config(trained.folder.parent / "axolotl.yaml", target, str(study.home))
    write_json(target / "its_parity.json", trained.parity)
    write_json(target / SOUND_FILE, trained.sound)
    with atomic_file(study.results("loss", f"{checkpoint.name}.csv")) as out:
        writer = csv.DictWriter(
            out, ["step", "loss", "learning_rate", "grad_norm"], extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(trained.losses)
    write_json(
        study.results("cost", f"train-{checkpoint.name}.json"),
        [
            {
                "what": f"train {checkpoint.name}",
                "seconds": trained.seconds,
                "tokens": trained.parity["prompt_tokens"] + trained.parity["trained_tokens"],
            }
        ],
    )
    how = "reused" if trained.reused else f"trained in {trained.seconds:.0f} s"
    steps = trained.sound["steps"]
    summary = f"models/{checkpoint.name}: {how}, {steps['done']} steps, last loss {trained.losses[-1]['loss']:.3f}"
    if abs(steps["epochs"] - recipe.train.epochs) >= 0.01:
        summary += f"; {steps['epochs']:.2f} of {recipe.train.epochs:g} epochs, as Axolotl counts steps"
    if steps["left_out"]:
        summary += f"; {steps['left_out']} steps skipped by the loss scaler"
    if trained.sound["changed"] is None:
        summary += f"; {trained.sound['compared']}"
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


def _keep_config(source: Any, target: Any, home: str) -> None:
    """The rendered Axolotl config beside the model, without this machine's paths (same recipe, same bytes)."""
    text = source.read_text(encoding="utf-8").replace(home, "$ITS_HOME")
    (target / "axolotl.yaml").write_text(text, encoding="utf-8")
