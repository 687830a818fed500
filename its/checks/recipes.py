"""Every check of `its recipe check`, and what a person should know of a recipe that passes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from its.checks.data import check_data, preset_notes
from its.checks.engine import engine_faults, machine_faults
from its.checks.personas import persona_notes
from its.checks.precision import precision_notes
from its.checks.sizes import set_sizes
from its.checks.steps import step_notes
from its.checks.train import train_faults
from its.checks.untracked import untracked_files, unwatched_models
from its.errors import Fault, FaultsError, ItsError, MissingError
from its.recipe.apply import recipe_path, recipe_paths, require_own
from its.recipe.axolotl import template_code
from its.recipe.document import Document, read_document
from its.recipe.load import validate
from its.recipe.schema import Recipe
from its.recipe.template_checks import template_notes
from its.recipe.trainings import recipe_trainings
from its.recipe.trust import allowances
from its.study.counts import Counts, study_counts
from its.study.study import Study, cell_name

MOST_NAMED = 10
"""Most files that a note names, and most folders that have one."""


@dataclass(frozen=True)
class Remarks:
    """What to know of a valid recipe; none of it is a fault."""

    notes: Sequence[str] = ()
    """Known faults of published rows, and references that answers are compared with as text."""
    untracked: Sequence[str] = ()
    """Paths of its templates, sources and model folders that git does not track; a queued experiment lacks them."""
    unpinned: Sequence[str] = ()
    """Its models in folders without a hash; a folder may be regenerated for each run on purpose."""


@dataclass(frozen=True)
class CheckedRecipe:
    """A valid recipe."""

    name: str
    """Its path; of a file in the project, below the project."""
    allowed: Sequence[str]
    """What it may do with the owner's allowance, and which key it sends to which server; one line each."""
    denominators: dict[str, dict[str, Any]]
    """By name of a benchmark that was read, if rules remove rows of it."""
    remarks: Remarks
    counts: Counts
    """What it takes: trainings, cells and requests."""
    cells: Sequence[str] = ()
    """Names of its cells, `CHECKPOINT/BENCHMARK/STRATEGY`, if they were requested."""


@dataclass(frozen=True)
class RecipesCheck:
    """Either every fault of the recipes, or the recipes, in the order checked."""

    recipes: Sequence[CheckedRecipe] = ()
    faults: Sequence[Fault] = ()


def check_recipes(
    project: Path,
    names: Sequence[str] = (),
    *,
    engine: bool = False,
    train: bool = False,
    cells: bool = False,
) -> RecipesCheck:
    """Check recipes; nothing is fetched and no engine is started.

    Args:
        names: names or paths of recipes; without one all of `recipes/`, and params.yaml if there is one.
        engine: check against vLLM's argument classes, and `engine.replicas` against this machine, too.
        train: check each training against Axolotl's schema too.
        cells: list the cells of each recipe.

    Raises:
        MissingError: if there is no recipe of such a name, or the environment of vLLM or Axolotl is not installed.
        DataError: if a recipe named is a link out of `recipes/`.
        RunError: if the check of `engine` or `train` itself fails.
    """
    paths = [recipe_path(project, name) for name in names] or _all_paths(project)
    faults: list[Fault] = []
    valid: list[tuple[Document, Recipe]] = []
    for path in paths:
        try:
            if path.parent == project / "recipes":
                require_own(path, project)
            document = read_document(path)
            recipe, found = validate(document, project)
        except FaultsError as error:
            recipe, found = None, error.faults
        except ItsError as error:  # not a regular file, too large, a link out of recipes/
            if names and isinstance(error, MissingError):
                raise
            recipe, found = None, [Fault(f"{path}:1:1", error.message, error.hint)]
        faults += found
        if recipe is not None:
            valid.append((document, recipe))
    data = check_data(project, valid)
    faults += data.faults
    if engine:
        faults += machine_faults(valid) + engine_faults(project, valid)
    if train:
        faults += train_faults(project, valid)
    if faults:
        return RecipesCheck(
            faults=[Fault(_in_project(project, fault.where), fault.message, fault.hint) for fault in faults]
        )
    return RecipesCheck(
        [
            CheckedRecipe(
                _in_project(project, str(document.path)),
                allowances(
                    document.values,
                    [code for _, _, train in recipe_trainings(recipe) for code in template_code(project, train)],
                ),
                data.denominators.get(document.path, {}),
                recipe_remarks(project, recipe, data.notes.get(document.path, [])),
                recipe_counts(project, recipe, data.sizes.get(document.path)),
                tuple(cell_name(cell) for cell in Study(project, recipe).cells()) if cells else (),
            )
            for document, recipe in valid
        ]
    )


def recipe_remarks(project: Path, recipe: Recipe, notes: Sequence[str] = ()) -> Remarks:
    """The remarks of a valid recipe.

    Args:
        notes: of rows that were read; they come first.
    """
    sizes = set_sizes(project, recipe)
    lines = [*notes, *preset_notes(recipe), *persona_notes(recipe, sizes), *step_notes(recipe, sizes, project)]
    lines += [*template_notes(recipe), *precision_notes(recipe)]
    return Remarks(lines, untracked_files(project, recipe), unwatched_models(recipe))


def recipe_counts(project: Path, recipe: Recipe, read: Mapping[str, int] | None = None) -> Counts:
    """What a valid recipe takes, before anything is prepared.

    Args:
        read: the numbers of problems of sets that were read just now.
    """
    return study_counts(Study(project, recipe), set_sizes(project, recipe, read))


def remark_lines(remarks: Sequence[Remarks]) -> list[str]:
    """The remarks of several recipes as sentences, each fact once."""
    lines = list(dict.fromkeys(note for item in remarks for note in item.notes))
    if paths := list(dict.fromkeys(path for item in remarks for path in item.untracked)):
        named = ", ".join(f"`{path}`" for path in paths[:MOST_NAMED])
        more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
        lines.append(
            f"git does not track {named}{more}: a queued experiment (`--queue`, `--temp`) would run without; `git add`"
            " them (large ones `dvc add`)"
        )
    models = list(dict.fromkeys(name for item in remarks for name in item.unpinned))
    lines += [
        f"the folder of `{name}` is not pinned: when its weights change, `dvc repro` does not rerun what depends on"
        f" them; `models.{name}.source.sha256` pins it"
        for name in models[:MOST_NAMED]
    ]
    return lines


def _all_paths(project: Path) -> list[Path]:
    params = project / "params.yaml"
    return [*recipe_paths(project), *([params] if os.path.lexists(params) else [])]


def _in_project(project: Path, where: str) -> str:
    return where.replace(f"{project}/", "", 1)
