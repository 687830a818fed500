"""Recipes as files: list them, compare one with params.yaml, put one in charge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from its.errors import DataError, MissingError
from its.recipe.load import load_recipe, read_document
from its.recipe.schema import Recipe
from its.rows import atomic_file


def recipe_paths(project: Path) -> list[Path]:
    """Every recipe of a project, by name."""
    return sorted((project / "recipes").glob("*.yaml"))


def recipe_path(project: Path, name: str) -> Path:
    """The file of a recipe by its name, or a path as given.

    Raises:
        MissingError: if there is none, naming the nearest.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    path = project / "recipes" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(f"`{item.stem}`" for item in recipe_paths(project)) or "none"
        raise MissingError(f"no recipe `{name}` under recipes/", f"there are: {known}")
    return path


def departures(recipe: Mapping[str, Any], params: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted path, value in the recipe, value in params.yaml) of all that differs; None where absent."""
    return list(_differ(recipe, params, ""))


def use_recipe(project: Path, path: Path, force: bool) -> Recipe:
    """Validate a recipe and write it to params.yaml, comments and all.

    Raises:
        FaultsError: if the recipe has faults; params.yaml stays as it is.
        DataError: if params.yaml departs from its own recipe and would be lost, unless `force`.
    """
    recipe = load_recipe(path, project)
    target = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return recipe
    if target.is_file() and not force:
        current = read_document(target).values
        own = project / "recipes" / f"{current.get('recipe')}.yaml"
        changed = departures(read_document(own).values, current) if own.is_file() else [("recipe", None, None)]
        if changed:
            names = ", ".join(f"`{name}`" for name, _, _ in changed[:5])
            raise DataError(
                f"params.yaml departs from its recipe `{current.get('recipe')}` ({names}) and would be overwritten",
                "keep it as a recipe of its own, or add `--force`; `its recipe diff` shows all",
            )
    with atomic_file(target) as out:
        out.write(text)
    return recipe


def _differ(left: Any, right: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in [*left, *(key for key in right if key not in left)]:
            yield from _differ(left.get(key), right.get(key), f"{path}.{key}" if path else str(key))
    elif left != right:
        yield path, left, right
