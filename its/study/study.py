"""The active study: the project, its recipe, its home, the paths of its rows, its checkpoints and cells."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from its.errors import Fault, FaultsError, MissingError
from its.home import find_above, is_study, its_home
from its.recipe.cells import design_grid
from its.recipe.document import Document, read_document
from its.recipe.load import checked
from its.recipe.schema import BASE, DEFAULT_VARIANT, LAST, Design, Recipe
from its.rows import read_rows
from its.sources.declared import mapping_faults
from its.types import Persona, Problem


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, or `base` (dataset, train strategy and seed None).

    `variant` and `saved_at` are `default` and `last` unless the design names others; those of base mean nothing.
    """

    model: str
    dataset: str | None = None
    train: str | None = None
    seed: int | None = None
    variant: str = DEFAULT_VARIANT
    saved_at: str = LAST

    @property
    def name(self) -> str:
        """Its name in results and folders: parts joined with `-`, which no name may contain.

        `MODEL-base`, or `MODEL-DATASET-STRATEGY-SEED` with `-VARIANT` and `-1of3` behind it where they are not the
        usual ones.
        """
        return "-".join([self.combination, *self._part])

    @property
    def combination(self) -> str:
        """`MODEL-DATASET-STRATEGY-SEED`, one stage of the graph, whose folder under `models/` has all its variants."""
        if self.train is None:
            return f"{self.model}-base"
        return "-".join([self.model, str(self.dataset), self.train, str(self.seed)])

    @property
    def _part(self) -> list[str]:
        variant = [] if self.variant == DEFAULT_VARIANT else [self.variant]
        return variant + ([] if self.saved_at == LAST else [self.saved_at.replace("/", "of")])

    @property
    def folder(self) -> str:
        """Its folder under `models/`: that of the combination, or one in it (`lora`, `1of3`, `lora-1of3`)."""
        return "/".join(filter(None, (self.combination, "-".join(self._part))))

    @property
    def last(self) -> Checkpoint:
        """The checkpoint at the end of the same training."""
        return replace(self, saved_at=LAST)

    def axes(self) -> dict[str, Any]:
        """Axis of a training -> its value, as `Selection.matches` reads them."""
        if self.train is None:
            return {"model": self.model, "train": BASE} | dict.fromkeys(("dataset", "variant", "seed", "checkpoint"))
        return {
            "model": self.model,
            "dataset": self.dataset,
            "train": self.train,
            "variant": self.variant,
            "seed": self.seed,
            "checkpoint": self.saved_at,
        }


Cell = tuple[Checkpoint, str, str]
"""A checkpoint on a benchmark under a test strategy."""


@dataclass(frozen=True)
class Study:
    """The active study: `project` holds dvc.yaml and params.yaml."""

    project: Path
    recipe: Recipe

    @property
    def home(self) -> Path:
        """The ITS home."""
        return its_home(self.project)

    def checkpoints(self) -> list[Checkpoint]:
        """The design's checkpoints with a cell, base first; from params.yaml, never from the files on disk."""
        return list(self._checkpoints)

    def trainings(self, model: str, dataset: str, strategy: str, seed: int) -> list[list[Checkpoint]]:
        """The trainings of one combination, one for each variant in the design, as the checkpoints wanted of each.

        In an order of their own, so that another order in the design changes no file: `default` first, then variants
        by name; `last` first, then shares from small to large.
        """
        return self._trainings.get((model, dataset, strategy, seed), [])

    def cells(self, benchmark: str | None = None) -> list[Cell]:
        """Every cell of the design, or of one benchmark of it, checkpoint by checkpoint."""
        return [cell for cell in self._cells if benchmark in (None, cell[1])]

    @cached_property
    def _cells(self) -> list[Cell]:
        return design_cells(self.recipe.design)

    @cached_property
    def _checkpoints(self) -> list[Checkpoint]:
        return list(dict.fromkeys(checkpoint for checkpoint, _, _ in self._cells))

    @cached_property
    def _trainings(self) -> dict[tuple[str, str, str, int], list[list[Checkpoint]]]:
        out: dict[tuple[str, str, str, int], dict[Checkpoint, list[Checkpoint]]] = {}
        for item in sorted(self._checkpoints, key=_own_order):
            if item.dataset is not None and item.train is not None and item.seed is not None:
                combination = out.setdefault((item.model, item.dataset, item.train, item.seed), {})
                combination.setdefault(item.last, []).append(item)
        return {combination: list(several.values()) for combination, several in out.items()}

    def sets(self, models: Collection[str] | None = None) -> Iterator[tuple[str, str, list[str]]]:
        """(side, problem set, strategies that some cell of the design has with it), train side first.

        The strategies are those of the design, `mix` and `union` among them, not their members.

        Args:
            models: only the cells of these. None: of all.
        """
        design = self.recipe.design
        cells = [cell for cell in self._cells if models is None or cell[0].model in models]
        trained = {(item.dataset, item.train) for item, _, _ in cells}
        tested = {(benchmark, test) for _, benchmark, test in cells}
        for name in design.datasets:
            yield "train", name, [strategy for strategy in design.train if (name, strategy) in trained]
        for name in design.benchmarks:
            yield "test", name, [strategy for strategy in design.test if (name, strategy) in tested]

    def pairs(self, side: str, models: Collection[str] | None = None) -> list[tuple[str, str]]:
        """(problem set, strategy) of one side, as `sets` has them."""
        return [(name, each) for of, name, several in self.sets(models) if of == side for each in several]

    def problems_path(self, name: str) -> Path:
        return self.project / "data" / "problems" / f"{name}.jsonl"

    def card_path(self, name: str) -> Path:
        """The card of a problem set; in the same folder are `card.md`, `quarantine.jsonl` and `overlap.jsonl`."""
        return self.project / "data" / "cards" / name / "card.json"

    def personas_path(self, name: str, strategy: str) -> Path:
        return self.project / "data" / "personas" / name / f"{strategy}.jsonl"

    def queries_path(self, side: str, name: str, strategy: str) -> Path:
        return self.project / "data" / "queries" / side / name / f"{strategy}.jsonl"

    def lengths_path(self) -> Path:
        """The lengths of the rows to train on, and the problems that were left out for theirs."""
        return self.project / "data" / "queries" / "lengths.json"

    def trainings_path(self, model: str, dataset: str, strategy: str, seed: int) -> Path:
        """What `train` does for one combination: its trainings with their settings; none if the design has none."""
        combination = Checkpoint(model, dataset, strategy, seed).combination
        return self.project / "data" / "queries" / "trainings" / f"{combination}.json"

    def solutions_path(self, name: str, strategy: str) -> Path:
        """The solutions that were regenerated for a dataset under a strategy."""
        return self.project / "data" / "solutions" / name / f"{strategy}.jsonl"

    def responses_path(self, checkpoint: Checkpoint, benchmark: str, strategy: str) -> Path:
        return self.project / "data" / "responses" / checkpoint.name / benchmark / f"{strategy}.jsonl"

    def sessions_path(self) -> Path:
        """The engine settings behind the responses of each checkpoint."""
        return self.project / "data" / "responses" / "sessions.json"

    def verdicts_path(self, checkpoint: Checkpoint, benchmark: str, strategy: str) -> Path:
        return self.project / "data" / "verdicts" / checkpoint.name / benchmark / f"{strategy}.jsonl"

    def model_path(self, checkpoint: Checkpoint) -> Path:
        return self.project / "models" / checkpoint.folder

    def results(self, *parts: str) -> Path:
        return self.project.joinpath("results", *parts)

    def problems(self, name: str) -> list[Problem]:
        """The prepared problems of a set."""
        return list(read_rows(self.problems_path(name), Problem, key=lambda row: row.problem_id))

    def personas(self, name: str, strategy: str) -> dict[str, list[Persona]]:
        """The personas of a set under a strategy, by problem_id; each problem has one row, or one an index."""
        out: dict[str, list[Persona]] = {}
        for row in read_rows(self.personas_path(name, strategy), Persona, key=lambda row: (row.problem_id, row.index)):
            out.setdefault(row.problem_id, []).append(row)
        return out

    def persona_texts(self, name: str, strategy: str) -> dict[str, list[str]]:
        """The texts of the personas of a set under a strategy, in order, by problem_id; [] for one without."""
        out: dict[str, list[str]] = {}
        for row in read_rows(self.personas_path(name, strategy), Persona, key=lambda row: (row.problem_id, row.index)):
            texts = out.setdefault(row.problem_id, [])
            if row.text:
                texts.append(row.text)
        return out

    def template_path(self, path: str) -> Path:
        """A template file of the recipe; `its.prompts.render.read_template` reads it."""
        return self.project / "recipes" / path


def design_cells(design: Design) -> list[Cell]:
    """The cells of a design, checkpoint by checkpoint, base first."""
    grid, bits = design_grid(design)
    made: dict[tuple[Any, ...], Checkpoint] = {}
    out = []
    for *axes, benchmark, test in grid.cells(bits):
        model, dataset, train, variant, seed, saved_at = key = tuple(axes)
        if key not in made and train == BASE:
            made[key] = Checkpoint(model)
        elif key not in made:
            made[key] = Checkpoint(model, dataset, train, seed, variant, saved_at)
        out.append((made[key], benchmark, test))
    return out


def _own_order(checkpoint: Checkpoint) -> tuple[bool, str, Fraction]:
    """Key of an order of the checkpoints of one training seed that does not depend on the design's lists."""
    share = Fraction(0) if checkpoint.saved_at == LAST else Fraction(checkpoint.saved_at)
    return checkpoint.variant != DEFAULT_VARIANT, checkpoint.variant, share


def load_study(project: Path | None = None) -> Study:
    """The study of the nearest folder with a dvc.yaml, its params.yaml validated.

    Raises:
        MissingError: outside a project, or without params.yaml.
        FaultsError: with every fault of params.yaml.
    """
    project = project or find_project()
    if not os.path.lexists(project / "params.yaml"):
        raise MissingError(f"{project / 'params.yaml'}: no such file", "`its recipe use quickstart` writes it")
    document = read_document(project / "params.yaml")
    checked_recipe(document, project, {})
    return Study(project, Recipe.model_validate(document.values))


def checked_recipe(document: Document, project: Path, unwritten: Mapping[Path, str]) -> Recipe:
    """The recipe of a document that passes every check that needs no rows; arguments as in `validate`.

    Raises:
        FaultsError: with every fault, in the order of the file.
    """
    recipe = checked(document, project, unwritten)
    faults = [
        Fault(document.where(here), message, hint)
        for section, sets in (("datasets", recipe.datasets), ("benchmarks", recipe.benchmarks))
        for name, declared in sets.items()
        for here, message, hint in mapping_faults(section, name, declared)
    ]
    if faults:
        raise FaultsError(faults)
    return recipe


def find_project(start: Path | None = None) -> Path:
    """The nearest folder at or above `start` with a dvc.yaml.

    Raises:
        MissingError: if there is none.
    """
    found = find_above((start or Path.cwd()).resolve(), is_study)
    if found is None:
        raise MissingError(
            "no dvc.yaml here or above", "change into a study or a clone; `its init FOLDER` creates a study"
        )
    return found


def join_query_id(set_name: str, problem_id: str, strategy: str) -> str:
    """`SET/PROBLEM/STRATEGY`; a problem_id may contain `/`, the names of sets and strategies may not."""
    return f"{set_name}/{problem_id}/{strategy}"


def cell_name(cell: Cell) -> str:
    """`CHECKPOINT/BENCHMARK/STRATEGY`."""
    checkpoint, benchmark, test = cell
    return f"{checkpoint.name}/{benchmark}/{test}"


def split_query_id(query_id: str) -> tuple[str, str, str]:
    """(set, problem_id, strategy) of an id of `join_query_id`; the last two are empty for any other text."""
    set_name, _, rest = query_id.partition("/")
    problem_id, _, strategy = rest.rpartition("/")
    return set_name, problem_id, strategy
