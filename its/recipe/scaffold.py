"""Scaffolds: a complete recipe from another one, templates and lines of a strategy; nothing is overwritten."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Literal

from its.errors import DataError, FaultsError
from its.files import atomic_file
from its.recipe.apply import Check, recipe_path
from its.recipe.document import Document, parse_document, read_document
from its.recipe.load import checked
from its.recipe.scalars import quoted
from its.recipe.schema import MAX_NAME, NAME_PATTERN, name_fault
from its.recipe.strategy_checks import RESERVED

MODELINE = "# yaml-language-server: $schema=recipe.schema.json"
"""Editors find the JSON schema by it: beside the recipe, and beside params.yaml by a link."""
HEADER = """\
{modeline}
# {name}: a study based on `{source}`.
#
#   its recipe use {name}
#   dvc repro
#
# Hardware: state here what it takes, with the hours. No number was measured with this recipe; those in the comments
# below are of `{source}`.
# To edit: description; models and writer; datasets and benchmarks; strategies (`its strategy new NAME` scaffolds one,
# `its strategy preview NAME` shows what it does); design (what the study varies, docs/designs.md); train and
# generation. `its recipe fields` explains every field, `its recipe check {name}` names every fault with its line.
"""

PERSONA = """\
{{# The request to the writer for one problem. Available: `problem` (text, problem_id, reference, solution, meta) and,
if the strategy has `domains`, `domain`. #}}
Problem: {{{{ problem.text }}}}

In one sentence of at most 20 words that begins with "You are", describe a person to think of. Do not solve the
problem and use no numbers.
"""

QUERY = """\
{{# How persona and problem become the query. Available: `problem`, `persona` (empty if there is none; several are
joined by a blank line) and `personas`, a list. With `place: system` the persona is in the system turn instead. #}}
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
      max_words: 30
      min_words: 3
      checks: [empty, brief, overlong, refuses, solves, leaks, digits, copies]
"""


FIXED = """\
  {name}:
    fixed:
      texts:
        - Check each step before the next.
    query: prompts/query_{name}.j2
"""

Kind = Literal["written", "fixed", "mix", "union"]
TEMPLATES: dict[Kind, tuple[str, ...]] = {"written": ("persona", "query"), "fixed": ("query",), "mix": (), "union": ()}
"""Kind of strategy -> the templates that a new one has."""


def new_recipe(project: Path, name: str, source: str, check: Check = checked) -> Path:
    """Write `recipes/NAME.yaml`, a copy of a valid recipe under a new name, with a header that says what to edit.

    Args:
        check: run on source and copy before anything is written.

    Raises:
        DataError: if the name is invalid or taken.
        MissingError: if there is no such source.
        FaultsError: if the source has faults.
    """
    _check_name(name, "recipe")
    target = project / "recipes" / f"{name}.yaml"
    _check_free(target, project)
    document = read_document(recipe_path(project, source))
    recipe = check(document, project, {})
    lines = document.text.splitlines(keepends=True)
    for key, value in (("recipe", name), ("description", f"{name}, based on {recipe.recipe}")):
        first, behind = _lines_of(document, lines, key)
        lines[first:behind] = [f"{key}: {value}\n", *["\n"] * (behind - first - 1)]
    begin = min(line for line, _ in document.node.keys.values()) - 1
    text = HEADER.format(modeline=MODELINE, name=name, source=recipe.recipe) + "".join(lines[begin:])
    text += "" if text.endswith("\n") else "\n"
    try:
        copy = check(parse_document(target, text), project, {})
        same = copy == recipe.model_copy(update={"recipe": name, "description": copy.description})
    except FaultsError:  # in what passed before: its lines do not match its keys
        same = False
    if not same:
        raise DataError(f"{document.path}: cannot be copied line by line", "put each of its keys on its own line")
    _write_all({target: text})
    return target


@dataclass(frozen=True)
class NewStrategy:
    """What was written: the templates, the lines for a recipe, and the recipe that now has them."""

    templates: list[Path]
    lines: str
    recipe: Path | None


def new_strategy(
    project: Path,
    name: str,
    recipe: str | None,
    check: Check = checked,
    kind: Kind = "written",
    members: Sequence[str] = (),
) -> NewStrategy:
    """Write the templates of a strategy and, if a recipe is named, add its lines to the end of `strategies`.

    `written` has two templates, `fixed` that of the query, `mix` and `union` none.

    The lines are inserted as text, at the place of the section, so that every other line of the recipe stays as it is;
    a round trip through ruamel moves blank lines and comments that follow the section.

    Args:
        recipe: a name or a path.
        check: run on the recipe with the strategy before anything is written.
        members: at least two strategies for a mix, with equal shares, or for a union.

    Raises:
        DataError: if the name is invalid, a member is none, or a template or the strategy already exists.
        MissingError: if there is no such recipe.
        FaultsError: if the recipe is not YAML, or has faults with the strategy in it.
    """
    _check_name(name, "strategy")
    for member in members:
        _check_name(member, "strategy")
    templates = {
        project / "recipes" / "prompts" / f"{role}_{name}.j2": text.format()
        for role, text in (("persona", PERSONA), ("query", QUERY))
        if role in TEMPLATES[kind]
    }
    for path in templates:
        _check_free(path, project)
    lines = _strategy_lines(name, kind, members)
    if recipe is None:
        _write_all(templates)
        return NewStrategy(list(templates), lines, None)
    target = recipe_path(project, recipe)
    document = read_document(target)
    text = _with_strategy(document, name, lines)
    longer = parse_document(target, text)
    check(longer, project, templates)
    strategies = document.values["strategies"] | parse_document(target, lines).values
    if longer.values != document.values | {"strategies": strategies}:
        raise DataError(f"{target}: cannot be changed line by line", "add the strategy by hand")
    _write_all(templates | {target: text})
    return NewStrategy(list(templates), lines, target)


def _strategy_lines(name: str, kind: Kind, members: Sequence[str]) -> str:
    if kind == "union":
        return f"  {name}:\n    union:\n      of: [{', '.join(members)}]\n"
    if kind == "mix":
        part = Decimal(1) / len(members)
        shares = [part.quantize(Decimal("0.0001"), ROUND_DOWN)] * (len(members) - 1)
        shares.append(1 - sum(shares, Decimal(0)))
        listed = "".join(
            f"        {member}: {share.normalize():f}\n" for member, share in zip(members, shares, strict=True)
        )
        return f"  {name}:\n    mix:\n      shares:\n{listed}"
    return (FIXED if kind == "fixed" else STRATEGY).format(name=name)


def _with_strategy(document: Document, name: str, lines: str) -> str:
    strategies = document.values.get("strategies")
    where = document.where(["strategies", name])
    if not isinstance(strategies, dict) or not strategies:
        raise DataError(
            f"{document.where(['strategies'])}: no strategies to add one to", "begin the section with `strategies:`"
        )
    if name in strategies:
        raise DataError(f"{where}: strategy `{name}` already exists", "choose another name")
    section = document.node.items["strategies"]
    indent = min(column for _, column in section.keys.values()) - 1
    if section.flow or indent < 2:
        raise DataError(
            f"{document.where(['strategies'])}: `strategies` is not an indented block",
            "write it as a block",
        )
    kept = document.text.splitlines(keepends=True)
    _, behind = _lines_of(document, kept, "strategies")
    if not kept[behind - 1].endswith("\n"):
        kept[behind - 1] += "\n"
    shifted = "".join(f"{' ' * (indent - 2)}{line}" for line in lines.splitlines(keepends=True))
    return "".join([*kept[:behind], shifted, *kept[behind:]])


def _lines_of(document: Document, lines: list[str], key: str) -> tuple[int, int]:
    """First line of a top key, and the line after its last; blank lines and comments there belong to the next key."""
    places = document.node.keys
    first = places[key][0] - 1
    behind = min((line - 1 for line, _ in places.values() if line - 1 > first), default=len(lines))
    while behind > first + 1 and re.match(r"\s*$|#", lines[behind - 1]):
        behind -= 1
    return first, behind


def _check_name(name: str, word: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        near = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name.lower()) or "mine"
        raise DataError(
            f"{quoted(name)} is not a name of a {word}: names are [a-z0-9_]+", f"for example `{near[:MAX_NAME]}`"
        )
    if fault := name_fault(name):
        raise DataError(f"{quoted(name)} {fault}", f"for example `{f'a_{name}'[:MAX_NAME]}`")
    if word == "strategy" and name in RESERVED:
        raise DataError(f"`{name}` {RESERVED[name]}", "give the strategy another name")


def _check_free(path: Path, project: Path) -> None:
    if os.path.lexists(path):
        raise DataError(f"{path.relative_to(project)}: already exists", "choose another name, or remove it first")
    if not Path(os.path.realpath(path)).is_relative_to(Path(os.path.realpath(project)) / "recipes"):
        raise DataError(f"{path.relative_to(project)}: a link leads out of recipes/", "make it a folder")


def _write_all(files: Mapping[Path, str]) -> None:
    """Write files in this order, all or none; only the last may exist already, and is replaced."""
    written: list[Path] = []
    try:
        for path, content in files.items():
            written.append(path)
            with atomic_file(path) as out:
                out.write(content)
    except BaseException:
        last = list(files)[-1]
        if written[-1] != last or last.read_text(encoding="utf-8") != files[last]:
            for path in written:
                if path != last:
                    path.unlink(missing_ok=True)
        raise
