"""What `its results compare` and `cases` compare: a cell, all cells of a revision, a file of others."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from its.commands.foreign_scores import file_scores
from its.commands.outdated import outdated, some
from its.commands.scores import Scores, verdict_scores
from its.commands.side_settings import STAGES, changed_since, settings_of
from its.errors import DataError, Fault, ItsError, MissingError, nearest
from its.revisions import WORKSPACE, Files, Folder, open_files
from its.rows import json_lines, raise_faults
from its.study.study import cell_name, find_project, load_study

MAX_BYTES = 2**30
"""Of a file of a revision, which is read into memory."""
VERDICTS = "data/verdicts"


@dataclass
class Side:
    """A study's files at one state, and the cells that are compared: one, or all.

    Args:
        name: as the user typed it.
        cells: CHECKPOINT/BENCHMARK/STRATEGY of each; empty where the side is a file.
        whole: all cells of a state, not one that was named.
        missing: cells of the design that have no verdicts yet; only of the workspace.
    """

    name: str
    files: Files | None
    cells: list[str]
    whole: bool
    missing: list[str]
    file: Scores | None = None

    def scores(self, cell: str) -> Scores:
        """The scores of a cell, or of the file.

        Raises:
            FaultsError: with every line that is no verdict.
            DataError: if there are no verdicts.
        """
        if self.file is not None:
            return self.file
        assert self.files is not None
        path = f"{VERDICTS}/{cell}.jsonl"
        where = path if self.files.name == WORKSPACE else f"{self.files.name}:{path}"
        content = io.BytesIO(self.files.read(path, MAX_BYTES))
        label = cell if self.files.name == WORKSPACE else f"{self.files.name}:{cell}"
        found = verdict_scores(json_lines(content, where), label, "cell", lambda number: f"{where}:{number}")
        if not found.scores:
            raise DataError(f"{where}: has no verdicts", "`dvc repro` writes them")
        found.settings = settings_of(self.files, cell.split("/")[0])
        found.notes += self._outdated
        _add_problems(self.files, cell.split("/")[1], found)
        return found

    @cached_property
    def _outdated(self) -> list[str]:
        files = self.files
        if files is None:
            return []
        if isinstance(files, Folder):
            return [f"{files.name}: {told}" for told in outdated(files.path, "verdicts", STAGES)]
        changed = changed_since(files)
        return [f"{files.name}: the verdicts are outdated, changed since: {some(changed)}"] if changed else []


def open_side(name: str, filter_name: str | None = None, metric: str | None = None) -> Side:
    """Find what a name stands for: a cell of this study, a file, `REVISION:CELL`, a revision, an experiment, a folder.

    Args:
        name: `workspace` is all cells of this study.
        filter_name, metric: which score of a file of others is meant, where it has several.

    Raises:
        DataError: if it is none of these, or has no verdicts.
        MissingError: outside a study, for all but a file.
    """
    if os.path.isfile(name):
        found = file_scores(Path(name), filter_name, metric)
        return Side(name, None, [], False, [], found)
    revision, separator, cell = name.partition(":")
    if separator and revision and cell:
        files = open_files(find_project(), revision)
        return Side(name, files, [_known(cell, _cells(files), revision)], False, [])
    if name.count("/") == 2:
        study = load_study()
        design = [cell_name(each) for each in study.cells()]
        workspace = Folder(WORKSPACE, study.project)
        if name in design or nearest(name, design):
            _known(name, design, "this study")
            if name not in _cells(workspace):
                raise MissingError(f"`{name}` has no verdicts yet", "`dvc repro` generates and grades its responses")
            return Side(name, workspace, [name], False, [])
    try:
        files = open_files(find_project(), name)
    except ItsError as error:
        if isinstance(error, MissingError):
            raise
        raise DataError(
            f"`{name}`: not a cell of this study, a file, a git revision or a DVC experiment",
            "`its recipe check params.yaml --cells` lists cells, `dvc exp list` experiments, `git log` revisions",
        ) from error
    cells = _cells(files)
    missing: list[str] = []
    if name == WORKSPACE:
        design = [cell_name(each) for each in load_study().cells()]
        missing = [cell for cell in design if cell not in cells]
        cells = [cell for cell in design if cell in cells]
    if not cells:
        in_git = not isinstance(files, Folder)
        kept = "no run is in it: `git add dvc.lock params.yaml results` and a commit, or `dvc exp save`, keeps one"
        raise DataError(f"`{name}` has no verdicts in {VERDICTS}", kept if in_git else "`dvc repro` writes them")
    return Side(name, files, cells, True, missing)


def _known(cell: str, cells: list[str], where: str) -> str:
    if cell in cells:
        return cell
    close = nearest(cell, cells)
    hint = f"did you mean `{close[0]}`?" if close else "`its recipe check params.yaml --cells` lists the cells"
    raise DataError(f"{where} has no cell `{cell}`", hint)


def _cells(files: Files) -> list[str]:
    """Every cell with verdicts, as CHECKPOINT/BENCHMARK/STRATEGY."""
    paths = [Path(path).relative_to(VERDICTS).with_suffix("") for path in files.find(VERDICTS, ".jsonl")]
    return [path.as_posix() for path in paths if len(path.parts) == 3]


def _add_problems(files: Files, benchmark: str, found: Scores) -> None:
    """The texts and references of the problems, by which two states of a benchmark are told apart."""
    path = f"data/problems/{benchmark}.jsonl"
    try:
        content = files.read(path, MAX_BYTES)
    except MissingError:
        found.notes.append(f"{found.name}: {path} is missing, so problems are compared by their ids alone")
        return
    faults: list[Fault] = []
    for line in json_lines(io.BytesIO(content), f"{files.name}:{path}"):
        if isinstance(line, Fault):
            faults.append(line)
        elif isinstance(line.value, dict) and line.value.get("problem_id") in found.scores:
            problem, text, reference = (line.value.get(key) for key in ("problem_id", "text", "reference"))
            if isinstance(text, str):
                found.texts[str(problem)] = text
            if isinstance(reference, str):
                found.references[str(problem)] = reference
    raise_faults(faults)
