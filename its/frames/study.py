"""A study as data frames: what `measure` found, and the rows behind it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from its.commands.outdated import outdated
from its.errors import DataError, MissingError, did_you_mean, nearest
from its.frames.cell_rows import cell_rows
from its.frames.columns import frame, warn
from its.frames.result_columns import COMPARISONS, VOTES, cell_columns, spread
from its.frames.row_columns import PERSONAS, PROBLEMS, RESPONSES
from its.results import Cells, Comparisons, File, Votes, read_results
from its.rows import read_rows
from its.shown import counted
from its.strategies.members import expanded
from its.study.study import Study, cell_name, find_project, load_study
from its.types import Persona, Problem

if TYPE_CHECKING:
    from pandas import DataFrame

NAMED = 4
"""Cells that a note names."""


@dataclass(frozen=True)
class StudyFrames:
    """A study as data frames, each read at its first use and then kept; docs/python.md lists every column.

    Reading a frame raises what `its results table` and the stages report: MissingError where a file is not here yet,
    FaultsError with every value that does not fit, DataError for results of another recipe.

    Args:
        folder: of the study, with dvc.yaml and params.yaml.
        recipe: the name of its recipe.
        missing: cells of the design, `CHECKPOINT/BENCHMARK/STRATEGY`, without graded responses; no frame has them.
        notes: what to know before the numbers are read: cells that are missing, what is outdated.
    """

    folder: Path
    recipe: str
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    _study: Study = field(repr=False)

    @cached_property
    def cells(self) -> DataFrame:
        """A row for each cell, those of pools last: a checkpoint on a benchmark under a test strategy.

        It warns of cells of the design that were graded and not measured.
        """
        path = self._study.results("cells.json")
        cells = self._results(path, Cells).cells
        measured = {(row.checkpoint, row.benchmark, row.test) for row in cells}
        names = [tuple(cell_name(cell).split("/")) for cell in self._study.cells()]
        left = ["/".join(name) for name in names if name not in measured]
        if left:
            told = f"{counted(len(left), 'cell')} of the design, not measured yet: {_some(left)}"
            warn([f"{path.name}: lacks {told}"], depth=3)
        columns = cell_columns(cells, str(path))
        absent = dict.fromkeys(column.name for column in columns)
        return frame(columns, ({**absent, **dict(row), **spread(row, str(path))} for row in cells), "cells")

    @cached_property
    def comparisons(self) -> DataFrame:
        """A row for each planned comparison and contrast on each benchmark, paired by problem."""
        rows = self._results(self._study.results("comparisons.json"), Comparisons).comparisons
        return frame(COMPARISONS, (row.model_dump() for row in rows), "comparisons")

    @cached_property
    def votes(self) -> DataFrame:
        """A row for each vote of several cells on each benchmark; `members` has them as `CHECKPOINT/STRATEGY`."""
        rows = self._results(self._study.results("votes.json"), Votes).votes
        members = ([f"{member.checkpoint}/{member.test}" for member in row.members] for row in rows)
        return frame(VOTES, ({**row.model_dump(), "members": m} for row, m in zip(rows, members, strict=True)), "votes")

    @cached_property
    def responses(self) -> DataFrame:
        """A row for each graded response of every cell; with long thoughts that may exceed the memory: `responses_of`.

        Cells without verdicts are left out: `missing` lists them.
        """
        found = [name for name in map(cell_name, self._study.cells()) if name not in self.missing]
        if not found:
            raise MissingError(f"{self.folder}: no cell has graded responses yet", "`dvc repro` generates and grades")
        return self.responses_of(*found)

    def responses_of(self, *cells: str) -> DataFrame:
        """The rows of `responses` of some cells, read again at each call.

        Args:
            cells: `CHECKPOINT/BENCHMARK/STRATEGY` each, as `its recipe check --cells` lists them.

        Raises:
            DataError: if the design has no such cell.
            MissingError: if it has no graded responses yet.
            FaultsError: if a response has no verdict or the reverse, or a problem has too few.
        """
        known = {cell_name(cell): cell for cell in self._study.cells()}
        for name in cells:
            if name not in known:
                hint = did_you_mean(nearest(name, known), "`its recipe check params.yaml --cells` lists the cells")
                raise DataError(f"the design has no cell `{name}`", hint)
        wanted = [known[name] for name in dict.fromkeys(cells)]
        problems = {name: {row.problem_id for row in self._study.problems(name)} for _, name, _ in wanted}
        rows = (row for cell in wanted for row in cell_rows(self._study, cell, problems[cell[1]]))
        return frame(RESPONSES, rows, "responses")

    @cached_property
    def personas(self) -> DataFrame:
        """A row for each persona; also for a problem whose strategy gives none, with an empty text."""
        return frame(PERSONAS, self._personas(), "personas")

    @cached_property
    def problems(self) -> DataFrame:
        """A row for each prepared problem of every dataset and benchmark of the design."""
        return frame(PROBLEMS, self._problems(), "problems")

    def _personas(self) -> Iterator[dict[str, Any]]:
        for side, name, strategies in self._study.sets():
            for strategy in expanded(self._study.recipe.strategies, strategies):
                path = self._study.personas_path(name, strategy)
                for row in read_rows(path, Persona, key=lambda row: (row.problem_id, row.index)):
                    yield {"side": side, "problem_set": name, **row.model_dump()}

    def _problems(self) -> Iterator[dict[str, Any]]:
        for side, name, _ in self._study.sets():
            for row in read_rows(self._study.problems_path(name), Problem, key=lambda row: row.problem_id):
                yield {"side": side, "problem_set": name, **row.model_dump()}

    def _results(self, path: Path, kind: type[File]) -> File:
        found = read_results(path, kind)
        if found.recipe != self.recipe:
            what = f"{path}: measured with the recipe `{found.recipe}`; params.yaml contains `{self.recipe}`"
            raise DataError(what, f"`dvc repro` runs it, `its recipe use {found.recipe}` goes back")
        return found


def read_study(folder: str | os.PathLike[str] = ".") -> StudyFrames:
    """Open a study; its frames are read when they are used.

    An unfinished or outdated study is opened: each of its `notes` is given as a StudyWarning, too. What is outdated is
    found by dvc.lock and by the files that it lists; folders that stages write are compared as it has them, not by
    their content.

    Args:
        folder: of the study, or one in it.

    Raises:
        MissingError: if there is no such folder, it is in no study, or the study has no params.yaml.
        FaultsError: with every fault of params.yaml.
    """
    place = Path(folder)
    if not os.path.isdir(place):
        raise MissingError(f"{place}: no such folder", "name the folder of a study, with its dvc.yaml")
    study = load_study(find_project(place))
    cells = [cell for cell in study.cells() if not _is_graded(study, cell)]
    missing = tuple(map(cell_name, cells))
    notes = []
    if missing:
        told = f"{counted(len(missing), 'cell')} of the design without graded responses yet, left out"
        notes.append(f"{study.project}: {told}: {_some(missing)}")
    notes += [f"{study.project}: {told}" for told in outdated(study.project)]
    warn(notes, depth=2)
    return StudyFrames(study.project, study.recipe.recipe, missing, tuple(notes), study)


def _is_graded(study: Study, cell: Any) -> bool:
    return study.responses_path(*cell).is_file() and study.verdicts_path(*cell).is_file()


def _some(names: Any) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
