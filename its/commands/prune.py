"""Remove the files of trainings that are no longer in the design; never anything that ITS did not write.

A combination (`MODEL-DATASET-STRATEGY-SEED`) is one stage of the graph, and has one folder for all its variants and
earlier checkpoints. `dvc repro` replaces the folders of a stage that it runs, so only those of combinations that no
stage makes any more stay behind, and those that `only` or `except` have left out since.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from its.errors import ItsError
from its.home import remove
from its.recipe.document import read_document
from its.study.study import Checkpoint, Study

_PLACES = (
    ("models", "", ""),
    ("results/loss", "", ""),
    ("results/loss", "", ".csv"),  # of former versions
    ("results/cost", "train-", ".json"),
)
"""(folder, text before a combination's name there, text after it)."""
_TRAINED = re.compile(r"[a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+-[0-9]+")
"""MODEL-DATASET-STRATEGY-SEED, as `Checkpoint.combination` joins them."""
_PART = re.compile(r"[a-z0-9_]+(-[0-9]+of[0-9]+)?")
"""The folder of a variant or an earlier checkpoint in that of its combination: `lora`, `1of3`, `lora-1of3`."""
_OWN_FILES = ("axolotl.yaml", "its_parity.json")
"""What stage `train` writes beside a model; a folder with both, or whose folders have both, is its own."""
_HALF_REMOVED = re.compile(rf"\.{_TRAINED.pattern}\.prune\.tmp")
"""A folder while it is removed, which a killed run leaves behind. DVC ignores the name (.dvcignore)."""


def prune(study: Study, dry_run: bool) -> tuple[list[str], dict[str, str]]:
    """Remove what belongs to no training of the design.

    Models are removed only if their folder has the name of a combination and the files that `train` writes beside a
    model, and if no recipe of the project names it or something in it. A symbolic link is removed as a link. What is in
    a linked folder is kept: it may be shared, or not part of the study. A folder disappears as a whole: a killed run
    leaves no half of it under its name, and the next run removes the rest.

    Args:
        dry_run: only name it.

    Returns:
        What was removed, and what was kept with the reason, as paths from the study's folder.
    """
    removed: list[str] = []
    kept: dict[str, str] = {}
    for path, reason in sorted(_found(study)):
        shown = path.relative_to(study.project).as_posix()
        if not reason and not dry_run:
            try:
                _remove(path)
            except OSError as error:
                reason = str(error.strerror).lower()
        if reason:
            kept[shown] = reason
        else:
            removed.append(shown)
    return removed, kept


def _remove(path: Path) -> None:
    if path.is_dir() and not _HALF_REMOVED.fullmatch(path.name):
        half = path.with_name(f".{path.name}.prune.tmp")
        remove(half)
        os.rename(path, half)
        path = half
    remove(path)


def _found(study: Study) -> Iterator[tuple[Path, str]]:
    """(path, why it is kept) of all that may belong to a training outside the design; no reason: it can go."""
    trained = {checkpoint.combination for checkpoint in study.checkpoints()}
    design = study.recipe.design
    stages = {
        Checkpoint(*values).combination
        for values in product(design.models, design.datasets, design.train, design.seeds)
    }
    named = _NamedPaths(study.project)
    halves = set[Path]()
    for place, before, after in _PLACES:
        folder = study.project / place
        linked = next((item for item in (folder.parent, folder) if item != study.project and item.is_symlink()), None)
        for path in folder.iterdir() if folder.is_dir() else ():
            name = path.name.removeprefix(before).removesuffix(after)
            if place in _FOLDERS and linked is None and _HALF_REMOVED.fullmatch(path.name):
                if path not in halves:
                    halves.add(path)
                    yield path, ""
            elif path.name != f"{before}{name}{after}" or (name in trained and after != ".csv"):
                continue
            elif name in stages and after != ".csv" and not _is_model(path):
                continue  # what its stage writes where the design leaves it out
            elif _TRAINED.fullmatch(name):
                yield path, _why_kept(path, place, linked, study, named) or ""
            elif place == "models" and name.count("-") >= 3:
                yield path, "it does not have the name of a checkpoint"


def _why_kept(path: Path, place: str, linked: Path | None, study: Study, named: _NamedPaths) -> str | None:
    """Why a path with a checkpoint's name must be kept; None if it can go."""
    if linked is not None:
        return f"`{linked.relative_to(study.project).as_posix()}` is a symbolic link: check it yourself"
    if why := named.by(path):
        return why
    if path.is_symlink():
        return None
    if place == "models":
        own = " and ".join(f"`{name}`" for name in _OWN_FILES)
        return None if _is_model(path) else f"it has no {own}: `train` did not write it"
    if place == "results/loss" and not path.name.endswith(".csv"):
        return None if _has_only_losses(path) else "it is not a folder of loss curves"
    return None if path.is_file() else "it is not a file"


def _is_model(path: Path) -> bool:
    """Whether `train` wrote a folder of models: the model of a combination, or only variants and earlier ones in it."""
    if path.is_symlink() or not path.is_dir():
        return False
    if all((path / name).is_file() for name in _OWN_FILES):
        return True
    inside = list(path.iterdir())
    return bool(inside) and all(
        _PART.fullmatch(each.name) and not each.is_symlink() and all((each / name).is_file() for name in _OWN_FILES)
        for each in inside
    )


def _has_only_losses(path: Path) -> bool:
    return path.is_dir() and all(
        each.name.startswith(path.name) and each.name.endswith(".csv") and each.is_file() for each in path.iterdir()
    )


_FOLDERS = ("models", "results/loss")


class _NamedPaths:
    """The paths that the recipes of a project name, params.yaml included: any text in one may be a path."""

    def __init__(self, project: Path) -> None:
        self._paths: dict[str, str] = {}
        self._unreadable: str | None = None
        recipes = [project / "params.yaml", *sorted((project / "recipes").rglob("*.y*ml"))]
        for recipe in recipes:
            shown = recipe.relative_to(project).as_posix()
            try:
                values = read_document(recipe).values
            except ItsError:
                self._unreadable = shown
                continue
            for text in _texts(values):
                if "\0" not in text and len(text) < 4096:
                    self._paths.setdefault(os.path.realpath(project / text), shown)
                    self._paths.setdefault(os.path.normpath(project / text), shown)

    def by(self, path: Path) -> str | None:
        """Which recipe names a path, or something in it; None if none does."""
        for own in {os.path.realpath(path), os.path.normpath(path)}:
            for text, recipe in self._paths.items():
                if text == own or text.startswith(f"{own}{os.sep}"):
                    return f"{recipe} names it"
        return None if self._unreadable is None else f"{self._unreadable} cannot be read and may name it: fix it"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
