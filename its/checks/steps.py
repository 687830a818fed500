"""Checks of the number of steps of trainings, where the number of problems is known before anything is prepared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from its.errors import Fault
from its.recipe.document import Document
from its.recipe.schema import LAST, Recipe, Train
from its.study.counts import Size
from its.study.study import Checkpoint, Study
from its.training.steps import MORE_STEPS, expected_steps, fraction_faults


def step_faults(document: Document, recipe: Recipe, sizes: Mapping[str, Size], project: Path) -> list[Fault]:
    """The earlier checkpoints that a training has no step for; stage `query` would refuse them, after the personas.

    Rows may turn out fewer, and so may steps: then no more checkpoints have one.

    Args:
        sizes: of the sets, as far as they are known.
    """
    if recipe.design.checkpoints == [LAST]:
        return []
    found: dict[str, list[str]] = {}
    for training, steps in _steps(recipe, sizes, project):
        fractions = [item.saved_at for item in training if item.saved_at != LAST]
        for fault in fraction_faults(fractions, steps):
            found.setdefault(fault, []).append(training[0].last.name)
    where = document.where(["design", "checkpoints"])
    return [
        Fault(where, f"`design.checkpoints`: {fault} ({names[0]}{_more(names)})", MORE_STEPS)
        for fault, names in found.items()
    ]


def step_notes(recipe: Recipe, sizes: Mapping[str, Size], project: Path) -> list[str]:
    """Trainings that never save a state, although `train.save_every_steps` asks for it, and those of one step."""
    unsaved: dict[tuple[int, int], list[str]] = {}
    single: list[str] = []
    for training, steps in _steps(recipe, sizes, project):
        name, train = training[0].last.name, _train(recipe, training[0])
        if train.save_every_steps is not None and train.save_every_steps > steps:
            unsaved.setdefault((train.save_every_steps, steps), []).append(name)
        if steps == 1:
            single.append(name)
    out = [
        f"`train.save_every_steps` is {every}: a training of at most {steps} steps saves no state ({names[0]}"
        f"{_more(names)}), and starts again after a kill"
        for (every, steps), names in unsaved.items()
    ]
    if single:
        out.append(
            f"a training has one step ({single[0]}{_more(single)}): its rows and epochs fill one `global_batch_size`"
        )
    return out


def _steps(recipe: Recipe, sizes: Mapping[str, Size], project: Path) -> Iterator[tuple[list[Checkpoint], int]]:
    """Each training of known size, as the checkpoints wanted of it, and the most steps that it can have."""
    study, design = Study(project, recipe), recipe.design
    for dataset in (name for name in design.datasets if name in sizes):
        for strategy in design.train:
            union = recipe.strategies[strategy].union
            rows = sizes[dataset].problems * (1 if union is None else len(union.of))
            for model in design.models:
                for seed in design.seeds:
                    for training in study.trainings(model, dataset, strategy, seed):
                        train = _train(recipe, training[0])
                        yield training, expected_steps(rows, train.global_batch_size, train.epochs)


def _train(recipe: Recipe, item: Checkpoint) -> Train:
    assert item.dataset is not None
    return recipe.train.of(item.model, item.dataset, item.variant)


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
