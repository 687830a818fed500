"""Scaffolds: a complete recipe begun from another one, templates and lines of a strategy; nothing is overwritten."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from its.errors import DataError
from its.recipe.apply import recipe_path
from its.recipe.load import Document, load_recipe, read_document
from its.recipe.schema import NAME_PATTERN
from its.rows import atomic_file

HEADER = """\
# {name}: a study begun from `{source}`.
#
#   its recipe use {name}
#   dvc repro
#
# Hardware: say here what it takes, with the hours. No number was measured with this recipe; those in the comments below
# are of `{source}`.
# To edit: description; models and writer; datasets and benchmarks; strategies (`its strategy new NAME` scaffolds one,
# `its strategy preview NAME` shows what it does); design (which cells exist); train and generation. `its recipe fields`
# lists what a section knows, `its recipe check {name}` names every fault with its line.
"""

PERSONA = """\
{{# What the writer is asked for a problem. Given: `problem` (text, problem_id, reference, solution, meta) and, if the
strategy has `domains`, `domain`. #}}
Problem: {{{{ problem.text }}}}

In one sentence that begins with "You are", describe a person to think of. Do not solve the problem and use no numbers.
"""

QUERY = """\
{{# How persona and problem become the query. Given: `problem`, `persona` (empty where there is none; several are joined
by a blank line) and `personas`, a list. With `place: system` the persona stands in the system turn instead. #}}
{{% if persona %}}
{{{{ persona }}}}

{{% endif %}}
{{{{ problem.text }}}}
"""

STRATEGY = """\
  {name}:
    persona:
      template: prompts/persona_{name}.j2
    query: prompts/query_{name}.j2
    limits:
      max_words: 40
      min_words: 3
      checks: [empty, brief, overlong, refuses, solves, leaks, digits, copies]
"""


def new_recipe(project: Path, name: str, source: str) -> Path:
    """Write `recipes/NAME.yaml`, a copy of a valid recipe under its own name, with a header that says what to edit.

    Raises:
        DataError: if the name is none or taken.
        MissingError: if there is no such source.
        FaultsError: if the source has faults.
    """
    _check_name(name, "recipe")
    target = project / "recipes" / f"{name}.yaml"
    _check_free(target, project)
    path = recipe_path(project, source)
    recipe = load_recipe(path, project)
    document = read_document(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    for key, value in (("recipe", name), ("description", f"{name}, begun from {recipe.recipe}")):
        first, behind = _lines_of(document, lines, key)
        lines[first:behind] = [f"{key}: {value}", *[""] * (behind - first - 1)]
    begin = min(document.tree.lc.key(key)[0] for key in document.tree)
    with atomic_file(target) as out:
        out.write(HEADER.format(name=name, source=recipe.recipe) + "\n".join(lines[begin:]) + "\n")
    load_recipe(target, project)
    return target


@dataclass(frozen=True)
class NewStrategy:
    """What was written: the templates, the lines for a recipe, and the recipe that has them now."""

    templates: list[Path]
    lines: str
    recipe: Path | None


def new_strategy(project: Path, name: str, recipe: str | None) -> NewStrategy:
    """Write the two templates of a strategy and, if a recipe is named, put its lines at the end of `strategies`.

    The lines go in as text, found by where ruamel saw the section, so that every other line of the recipe stays as it
    is; a round trip through ruamel moves blank lines and comments that follow the section.

    Args:
        recipe: a name or a path.

    Raises:
        DataError: if the name is none, a template or the strategy is there already; nothing is written then.
        MissingError: if there is no such recipe.
        FaultsError: if the recipe is no YAML, or has faults with the strategy in it.
    """
    _check_name(name, "strategy")
    templates = {
        project / "recipes" / "prompts" / f"persona_{name}.j2": PERSONA.format(),
        project / "recipes" / "prompts" / f"query_{name}.j2": QUERY.format(),
    }
    for path in templates:
        _check_free(path, project)
    lines = STRATEGY.format(name=name)
    target = None if recipe is None else recipe_path(project, recipe)
    text = None if target is None else _with_strategy(read_document(target), name, lines)
    for path, content in templates.items():
        with atomic_file(path) as out:
            out.write(content)
    if target is not None and text is not None:
        with atomic_file(target) as out:
            out.write(text)
        load_recipe(target, project)
    return NewStrategy(list(templates), lines, target)


def _with_strategy(document: Document, name: str, lines: str) -> str:
    strategies = document.values.get("strategies")
    where = document.where(["strategies", name])
    if not isinstance(strategies, dict) or not strategies:
        raise DataError(f"{document.where(['strategies'])}: no strategies to add one to", "begin it with `strategies:`")
    if name in strategies:
        raise DataError(f"{where}: strategy `{name}` is there already", "choose another name")
    tree = document.tree["strategies"]
    column = min(tree.lc.key(key)[1] for key in tree)
    if tree.fa.flow_style() or column == 0:
        raise DataError(
            f"{document.where(['strategies'])}: `strategies` is not an indented block", "put one on each line"
        )
    kept = document.path.read_text(encoding="utf-8").splitlines(keepends=True)
    _, behind = _lines_of(document, kept, "strategies")
    if not kept[behind - 1].endswith("\n"):
        kept[behind - 1] += "\n"
    shifted = "".join(f"{' ' * (column - 2)}{line}" for line in lines.splitlines(keepends=True))
    return "".join([*kept[:behind], shifted, *kept[behind:]])


def _lines_of(document: Document, lines: list[str], key: str) -> tuple[int, int]:
    """First line of a top key, and the line behind its last one; blank lines and comments behind belong to the next."""
    first = document.tree.lc.key(key)[0]
    following = [line for other in document.tree if (line := document.tree.lc.key(other)[0]) > first]
    behind = min(following, default=len(lines))
    while behind > first + 1 and re.match(r"\s*$|#", lines[behind - 1]):
        behind -= 1
    return first, behind


def _check_name(name: str, word: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        near = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name.lower()) or "mine"
        raise DataError(f"`{name}` is no name of a {word}: names are [a-z0-9_]+", f"for example `{near}`")


def _check_free(path: Path, project: Path) -> None:
    if path.exists():
        raise DataError(f"{path.relative_to(project)}: already there", "choose another name, or remove it first")
