"""Recipes as files: list them, compare one with params.yaml, put one in charge."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from its.errors import DataError, Fault, FaultsError, ItsError, MissingError
from its.files import atomic_file
from its.recipe.document import Document
from its.recipe.load import checked, read_document
from its.recipe.plain import seen
from its.recipe.scalars import quoted
from its.recipe.schema import MAX_NAME, NAME_PATTERN, Recipe
from its.secrets import redacted
from its.shown import shown

MAX_DESCRIBED = 300
"""Characters of a description in a list: three lines of a terminal."""
Check = Callable[[Document, Path, Mapping[Path, str]], Recipe]
"""(document, project, texts of unwritten templates by path) -> the recipe; raises with every fault of it."""


def recipe_paths(project: Path) -> list[Path]:
    """Every recipe of a project, by name."""
    return sorted((project / "recipes").glob("*.yaml"))


def recipe_path(project: Path, name: str) -> Path:
    """The file of a recipe by its name, or a path as a person typed it; of a name that a file holds, see `own_path`.

    Raises:
        MissingError: if there is none, naming those that are.
        DataError: if a link leads from `recipes/` elsewhere.
    """
    if not name.endswith((".yaml", ".yml")):
        return own_path(project, name)
    if Path(os.path.abspath(name)).parent == project / "recipes":
        require_own(Path(name), project)
    return Path(name)


def own_path(project: Path, name: str) -> Path:
    """The file of a recipe of `recipes/` by its name, and no other file, whatever the name.

    Raises:
        MissingError: if there is none, naming those that are.
        DataError: if a link leads from it elsewhere.
    """
    path = project / "recipes" / f"{name}.yaml"
    if len(name) > MAX_NAME or not re.fullmatch(NAME_PATTERN, name) or not os.path.lexists(path):
        known = ", ".join(f"`{item.stem}`" for item in recipe_paths(project)[:100]) or "none"
        raise MissingError(f"no recipe {quoted(name)} under recipes/", f"there are: {known}")
    require_own(path, project)
    return path


def require_own(path: Path, project: Path) -> None:
    """Refuse a recipe of `recipes/` that is a link to a file elsewhere.

    Raises:
        DataError: if it is one.
    """
    if not Path(os.path.realpath(path)).is_relative_to(Path(os.path.realpath(project)) / "recipes"):
        raise DataError(f"{path}: a link leads out of recipes/", "copy the file there")


def described(project: Path) -> tuple[list[tuple[str, str]], FaultsError | None]:
    """(name, description) of every recipe that can be read, and what is wrong with the others."""
    found, faults = [], []
    for path in recipe_paths(project):
        try:
            require_own(path, project)
            text = read_document(path).values.get("description", "")
            found.append(
                (path.stem, shown(redacted(str(text)) if isinstance(text, str) else seen(text))[:MAX_DESCRIBED])
            )
        except FaultsError as error:
            faults += error.faults
        except ItsError as error:
            faults.append(Fault(f"{path}:1:1", error.message, error.hint))
    return found, FaultsError(faults) if faults else None


def departures(recipe: Mapping[str, Any], params: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted path, value in the recipe, value in params.yaml) of all that differs; None where absent."""
    return list(_differ(recipe, params, ""))


def use_recipe(project: Path, path: Path, force: bool, check: Check = checked) -> Recipe:
    """Validate a recipe and write it to params.yaml, comments and all.

    Args:
        check: what the recipe has to pass before anything is written.

    Raises:
        FaultsError: if the recipe has faults; params.yaml stays as it is.
        DataError: if params.yaml departs from its own recipe and would be lost, unless `force`.
    """
    document = read_document(path)
    recipe = check(document, project, {})
    target = project / "params.yaml"
    current = read_document(target) if target.is_file() and not force else None
    if current is not None and current.text == document.text:
        return recipe
    if current is not None and (changed := _would_be_lost(project, current)):
        own, names = seen(current.values.get("recipe")), ", ".join(quoted(name) for name, _, _ in changed[:5])
        raise DataError(
            f"params.yaml departs from its recipe {own} ({names}) and would be overwritten",
            "keep it as a recipe of its own, or add `--force`; `its recipe diff` shows all",
        )
    with atomic_file(target) as out:
        out.write(document.text)
    return recipe


def _would_be_lost(project: Path, current: Document) -> list[tuple[str, Any, Any]]:
    """What params.yaml holds that its own recipe does not."""
    try:
        own = own_path(project, str(current.values.get("recipe")))
        return departures(read_document(own).values, current.values)
    except MissingError:
        return [("recipe", None, None)]


def _differ(left: Any, right: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in [*left, *(key for key in right if key not in left)]:
            yield from _differ(left.get(key), right.get(key), f"{path}.{key}" if path else str(key))
    elif left != right:
        yield path, left, right
