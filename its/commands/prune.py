"""Remove what checkpoints left behind that are no longer in the design; never anything that ITS did not make."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from its.errors import ItsError
from its.home import remove
from its.recipe.document import read_document
from its.study.study import Study

_PLACES = (("models", "", ""), ("results/loss", "", ".csv"), ("results/cost", "train-", ".json"))
"""(folder, what stands before a checkpoint's name there, what stands behind it)."""
_TRAINED = re.compile(r"[a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+-[0-9]+")
"""MODEL-DATASET-STRATEGY-SEED, as `Checkpoint.name` joins them."""
_OWN_FILES = ("axolotl.yaml", "its_parity.json")
"""What stage `train` writes beside a model; nobody else's folder has both."""


def prune(study: Study, dry_run: bool) -> tuple[list[str], dict[str, str]]:
    """Remove what belongs to no checkpoint of the design.

    A model goes only if it has the name of a checkpoint and the files that `train` writes beside one, and if no recipe
    of the project names it or something in it. A symbolic link is removed as a link. What lies in a folder that is one
    is left: it may be shared, or no part of the study.

    Args:
        dry_run: only name it.

    Returns:
        What went, and what was left with the reason, as paths from the study's folder.
    """
    removed: list[str] = []
    left: dict[str, str] = {}
    for path in sorted(_found(study, left)):
        shown = path.relative_to(study.project).as_posix()
        if not dry_run:
            try:
                remove(path)
            except OSError as error:
                left[shown] = str(error.strerror).lower()
                continue
        removed.append(shown)
    return removed, left


def _found(study: Study, left: dict[str, str]) -> Iterator[Path]:
    kept = {checkpoint.name for checkpoint in study.checkpoints()}
    named = _Named(study.project)
    for place, before, after in _PLACES:
        folder = study.project / place
        linked = next((item for item in (folder.parent, folder) if item != study.project and item.is_symlink()), None)
        for path in folder.iterdir() if folder.is_dir() else ():
            name = path.name.removeprefix(before).removesuffix(after)
            if path.name != f"{before}{name}{after}" or name in kept:
                continue
            if not _TRAINED.fullmatch(name):
                if place == "models" and name.count("-") >= 3:
                    left[path.relative_to(study.project).as_posix()] = "it does not have the name of a checkpoint"
                continue
            if why := _not_ours(path, place, linked, study, named):
                left[path.relative_to(study.project).as_posix()] = why
            else:
                yield path


def _not_ours(path: Path, place: str, linked: Path | None, study: Study, named: _Named) -> str | None:
    """Why a path with a checkpoint's name has to stay; None if it may go."""
    if linked is not None:
        return f"`{linked.relative_to(study.project).as_posix()}` is a symbolic link: look for yourself"
    if why := named.by(path):
        return why
    if place != "models":
        return None if path.is_symlink() or path.is_file() else "it is no file"
    if not path.is_symlink() and not all((path / name).is_file() for name in _OWN_FILES):
        return f"it has no {' and '.join(f'`{name}`' for name in _OWN_FILES)}: `train` did not make it"
    return None


class _Named:
    """The paths that the recipes of a project name, the active one and all others: each text may be one."""

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
        """Why a path may be what a recipe names, or hold something that one names; None if none does."""
        for own in {os.path.realpath(path), os.path.normpath(path)}:
            for text, recipe in self._paths.items():
                if text == own or text.startswith(f"{own}{os.sep}"):
                    return f"{recipe} names it"
        return None if self._unreadable is None else f"{self._unreadable} cannot be read and may name it: correct it"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
