"""The names that a shell completes: cheap to find, and none where the study cannot be read.

Whoever wrote a recipe chose its names, and a shell inserts what is offered here into a command line: only names of
letters, digits, `_`, `-`, `.` and `/` are offered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from its.errors import ItsError
from its.files import read_regular
from its.home import find_above, is_study

MAX_NAMES = 5000
"""Entries of a folder that are looked at; a study of 24 checkpoints has 416 cells."""
MAX_BYTES = 256 * 1024
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_KEY = re.compile(r"( +)([a-z0-9_]+):(?: |$)")


def recipe_names() -> list[str]:
    """The recipes of `recipes/`, sorted."""
    return _found(lambda study: _stems(study / "recipes", ".yaml"))


def sides_of_diff() -> list[str]:
    """What `its recipe diff` takes, without what git has."""
    return [*recipe_names(), "params.yaml"]


def declared_names(sections: Iterable[str], recipe: str | None = None) -> list[str]:
    """The names that params.yaml, or a recipe, declares in some sections, in the order of the file.

    Read line by line, since a YAML reader takes longer than a person waits for Tab; of a section in braces there are
    none.
    """
    file = "params.yaml" if recipe is None else f"recipes/{recipe}.yaml"
    return _found(lambda study: (name for section in sections for name in _keys(study / file, section)))


def training_names() -> list[str]:
    """MODEL-DATASET-STRATEGY-SEED of the trainings that `query` listed."""
    return _found(lambda study: _stems(study / "data" / "queries" / "trainings", ".json"))


def checkpoint_names() -> list[str]:
    """The checkpoints that have responses."""
    return _found(lambda study: _folders(study / "data" / "responses"))


def cell_names() -> list[str]:
    """CHECKPOINT/BENCHMARK/STRATEGY of the cells that have verdicts."""

    def cells(study: Path) -> Iterator[str]:
        verdicts = study / "data" / "verdicts"
        for checkpoint in _folders(verdicts):
            for benchmark in _folders(verdicts / checkpoint):
                for strategy in _stems(verdicts / checkpoint / benchmark, ".jsonl"):
                    yield f"{checkpoint}/{benchmark}/{strategy}"

    return _found(cells)


def _found(find: Callable[[Path], Iterable[str]]) -> list[str]:
    """The plain names that are found in the study of the current folder; none outside one."""
    try:
        study = find_above(Path.cwd(), is_study)
        names = [] if study is None else list(islice(find(study), MAX_NAMES))
    except (ItsError, OSError, ValueError):  # ValueError: a name that no file can have
        return []
    return [name for name in dict.fromkeys(names) if _PLAIN.fullmatch(name)]


def _stems(folder: Path, ending: str) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name.removesuffix(ending) for entry in islice(entries, MAX_NAMES) if entry.name.endswith(ending)
        )


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in islice(entries, MAX_NAMES) if entry.is_dir())


def _keys(path: Path, section: str) -> Iterator[str]:
    """The keys directly in a section of a YAML file in block style."""
    lines = iter(read_regular(path, MAX_BYTES).decode("utf-8", "replace").splitlines())
    indent = None
    for line in lines:
        if line.partition(" #")[0].rstrip() == f"{section}:":
            break
    for line in lines:
        if line[:1] not in ("", " ", "#"):
            return
        found = _KEY.match(line)
        if found and indent in (None, found[1]):
            indent = found[1]
            yield found[2]
