"""Recipes as files: list them, compare one with params.yaml, write one to params.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from its.errors import DataError, Fault, FaultsError, ItsError, MissingError, did_you_mean, nearest
from its.files import atomic_file
from its.recipe.document import Document, parse_document
from its.recipe.last_used import keep_copy, last_used, note_used
from its.recipe.load import checked, read_document
from its.recipe.scalars import quoted
from its.recipe.schema import MAX_NAME, NAME_PATTERN, Recipe
from its.recipe.values import seen
from its.secrets import redacted
from its.shown import shown

_NAMED = 5  # differences that an error names
MAX_DESCRIBED = 300
"""Longest description in a list, in characters: three lines of a terminal."""
Check = Callable[[Document, Path, Mapping[Path, str]], Recipe]
"""(document, project, texts of unwritten templates by path) -> the recipe; raises FaultsError with every fault."""
Committed = Callable[[Path, str], str | None]
"""(project, name of a recipe) -> its text in the commit of an unmodified params.yaml, or None."""
Kept = Callable[[Path], str | None]
"""(project) -> the experiment that has params.yaml as it is, or None."""
Tell = Callable[[str], object]
"""Receives a line for the user."""


def recipe_paths(project: Path) -> list[Path]:
    """Every recipe of a project, by name."""
    return sorted((project / "recipes").glob("*.yaml"))


def recipe_path(project: Path, name: str) -> Path:
    """The file of a recipe, by a name or path that a person typed; for a name from a file see `own_path`.

    Raises:
        MissingError: if there is no such recipe; it names the existing ones.
        DataError: if it is a link out of `recipes/`.
    """
    if not name.endswith((".yaml", ".yml")):
        return own_path(project, name)
    if Path(os.path.abspath(name)).parent == project / "recipes":
        require_own(Path(name), project)
    return Path(name)


def own_path(project: Path, name: str) -> Path:
    """The file in `recipes/` of a recipe, by its name; never another file.

    Raises:
        MissingError: if there is no such recipe; it names the existing ones.
        DataError: if it is a link out of `recipes/`.
    """
    path = project / "recipes" / f"{name}.yaml"
    if len(name) > MAX_NAME or not re.fullmatch(NAME_PATTERN, name) or not os.path.lexists(path):
        names = [item.stem for item in recipe_paths(project)]
        known = ", ".join(f"`{item}`" for item in names[:100]) or "none"
        hint = did_you_mean(nearest(name, names), f"available: {known}")
        raise MissingError(f"no recipe {quoted(name)} under recipes/", hint)
    require_own(path, project)
    return path


def require_own(path: Path, project: Path) -> None:
    """Refuse a recipe of `recipes/` that is a link to a file elsewhere.

    Raises:
        DataError: if it is one.
    """
    if not Path(os.path.realpath(path)).is_relative_to(Path(os.path.realpath(project)) / "recipes"):
        raise DataError(f"{path}: a link leads out of recipes/", "copy the file there")


def readable(project: Path) -> tuple[list[tuple[str, Document]], FaultsError | None]:
    """(name, document) of every readable recipe, and the faults of the others."""
    found, faults = [], []
    for path in recipe_paths(project):
        try:
            require_own(path, project)
            found.append((path.stem, read_document(path)))
        except FaultsError as error:
            faults += error.faults
        except ItsError as error:
            faults.append(Fault(f"{path}:1:1", error.message, error.hint))
    return found, FaultsError(faults) if faults else None


def description(document: Document) -> str:
    """What a recipe says of itself, on one line, without secrets."""
    text = document.values.get("description", "")
    return shown(redacted(text) if isinstance(text, str) else seen(text))[:MAX_DESCRIBED]


def departures(recipe: Mapping[str, Any], params: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted path, value in the recipe, value in params.yaml) of every difference; None if absent."""
    return list(_differ(recipe, params, ""))


def name_in_use(project: Path) -> str:
    """The recipe that params.yaml names.

    Raises:
        DataError: if it names none.
        MissingError: without params.yaml.
    """
    name = read_document(project / "params.yaml").values.get("recipe")
    if not isinstance(name, str):
        raise DataError("params.yaml names no recipe (`recipe:`)", "`its recipe use NAME`")
    return name


def differing(project: Path, path: Path) -> list[tuple[str, Any, Any]]:
    """(dotted path, value in params.yaml, value in the recipe's file) of every difference.

    Without params.yaml one entry, of `recipe`.
    """
    values = read_document(path).values
    target = project / "params.yaml"
    if not target.is_file():
        return [("recipe", None, values.get("recipe"))]
    return departures(read_document(target).values, values)


def use_recipe(
    project: Path,
    path: Path,
    force: bool,
    check: Check = checked,
    committed: Committed = lambda project, name: None,
    kept: Kept = lambda project: None,
    tell: Tell = lambda line: None,
) -> Recipe:
    """Validate a recipe and write it to params.yaml, comments and all.

    An unmodified params.yaml is overwritten: one that equals what was last written there, or its recipe, now or as both
    were committed. So is one that an experiment has; `tell` receives its name. With `force` any other one is too, and a
    copy of it stays in `.its/replaced/`; `tell` receives its path.

    Args:
        check: run on the recipe before anything is written.
        committed: reads git, for a params.yaml without a record: a clone.
        kept: reads git, for a params.yaml that `dvc exp run -S` wrote.

    Raises:
        FaultsError: if the recipe has faults; params.yaml stays as it is.
        DataError: if params.yaml was modified and would be lost, unless `force`; or if no copy can be kept.
    """
    document = read_document(path)
    recipe = check(document, project, {})
    target = project / "params.yaml"
    same = False
    if target.is_file():
        try:
            current = read_document(target)
            same = current.text == document.text
            if not same:
                _refuse_to_lose(project, current, committed, kept, tell)
        except DataError:
            if not force:
                raise
            tell(f"the former params.yaml is kept as {keep_copy(project, target)}")
    note_used(project, document)
    if not same:
        with atomic_file(target) as out:
            out.write(document.text)
    return recipe


def _refuse_to_lose(project: Path, current: Document, committed: Committed, kept: Kept, tell: Tell) -> None:
    """Raises DataError if params.yaml differs from every recipe and every experiment."""
    used = last_used(project)
    if used is not None and not departures(used.values, current.values):
        return
    name = current.values.get("recipe")
    try:
        changed = departures(read_document(own_path(project, str(name))).values, current.values)
    except MissingError:
        changed = [("recipe", None, None)]
    if not changed or _was_committed(project, current, committed):
        return
    if (experiment := kept(project)) is not None:
        experiment = shown(experiment)
        tell(f"params.yaml had the values of experiment `{experiment}`: `dvc exp apply {experiment}` restores them")
        return
    keep = "keep it as a separate recipe, or add `--force`, which keeps a copy"
    if used is not None and used.values.get("recipe") == name:
        changed = departures(used.values, current.values)
        raise DataError(
            f"params.yaml was changed since `its recipe use` wrote {seen(name)} there ({_first(changed)}) and would be"
            " overwritten",
            f"{keep}; `its recipe diff --used` shows all",
        )
    raise DataError(
        f"params.yaml differs from its recipe {seen(name)} ({_first(changed)}) and would be overwritten",
        f"{keep}; `its recipe diff` shows all",
    )


def _first(changed: list[tuple[str, Any, Any]]) -> str:
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return ", ".join(quoted(name) for name, _, _ in changed[:_NAMED]) + more


def _was_committed(project: Path, current: Document, committed: Committed) -> bool:
    """Whether params.yaml equals its recipe as both were committed."""
    name = current.values.get("recipe")
    text = committed(project, name) if isinstance(name, str) and re.fullmatch(NAME_PATTERN, name) else None
    try:
        return text is not None and not departures(parse_document(current.path, text).values, current.values)
    except FaultsError:
        return False


def _differ(left: Any, right: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in [*left, *(key for key in right if key not in left)]:
            yield from _differ(left.get(key), right.get(key), f"{path}.{key}" if path else str(key))
    elif not _same(left, right):
        yield path, left, right


def _same(left: Any, right: Any) -> bool:
    """Whether two values are equal in YAML: to Python, `true` is 1."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
