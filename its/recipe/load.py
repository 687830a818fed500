"""Read a recipe or params.yaml: YAML 1.2 with positions, validated, every fault at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from its.errors import Fault, FaultsError, did_you_mean, nearest
from its.recipe.cross_checks import cross_check_faults
from its.recipe.document import Document, read_document
from its.recipe.fields import section_fields
from its.recipe.scalars import quoted
from its.recipe.schema import (
    MAX_NAME,
    NAME_PATTERN,
    ONE,
    PATTERN_MESSAGES,
    RECIPE_VERSION,
    SEVERAL,
    PlainFilter,
    Recipe,
)
from its.recipe.solution_checks import EXAMPLE as SOLUTIONS
from its.recipe.strategy_checks import STRATEGY_EXAMPLES
from its.recipe.trainings import OVERLAYS
from its.recipe.values import REFUSED, Found, Location, dotted, seen, value_faults
from its.shown import counted

__all__ = ["Document", "load_recipe", "read_document", "validate"]

MAX_FAULTS = 50
"""Faults of one file that are shown; the number of the others is stated."""
MAX_CHARACTERS = 1_000
"""Longest message and longest hint of a fault, in characters: a line, whatever the recipe declares."""

Validated = tuple[Recipe | None, list[Fault]]


def load_recipe(path: Path, project: Path) -> Recipe:
    """Validate a recipe with everything it refers to (templates, local files).

    Args:
        path: the recipe or params.yaml.
        project: the folder that holds `recipes/` and `data/`.

    Raises:
        MissingError: if there is no such file.
        DataError: if it is not a regular file, or too large.
        FaultsError: with every fault, in the order of the file.
    """
    return checked(read_document(path), project)


def checked(document: Document, project: Path, unwritten: Mapping[Path, str] | None = None) -> Recipe:
    """The recipe of a document; arguments as for `validate`.

    Raises:
        FaultsError: with every fault, in the order of the file.
    """
    recipe, faults = validate(document, project, unwritten)
    if recipe is None:
        raise FaultsError(faults)
    return recipe


def validate(document: Document, project: Path, unwritten: Mapping[Path, str] | None = None) -> Validated:
    """The recipe, or None and every fault of it (the first `MAX_FAULTS` and how many more).

    Args:
        project: the folder that holds `recipes/` and `data/`.
        unwritten: texts of templates that are not written yet, by their path.
    """
    values = document.values
    found = list(islice(value_faults(values), MAX_FAULTS))
    if found:
        return None, _placed(document, found)
    version = values.get("recipe_version")
    if version != RECIPE_VERSION or type(version) is not int:
        found_version = "missing" if version is None else seen(version)
        message = f"`recipe_version` is {found_version}; this version of ITS reads {RECIPE_VERSION}"
        hint = f"begin the file with `recipe_version: {RECIPE_VERSION}` and see docs/design.md for what changed"
        return None, _placed(document, [(("recipe_version",), message, hint)])
    recipe, errors = _modelled(values)
    located = sorted(((_real_location(values, item["loc"]), item) for item in errors), key=_place_in(document))
    found = [_schema_fault(location, item) for location, item in located[:MAX_FAULTS]]
    sound = values if recipe is not None else _without(values, located)
    beyond = iter(cross_check_faults(sound, project, unwritten))
    found.extend(islice(beyond, MAX_FAULTS))
    unnamed = next(beyond, None) is not None
    name = values.get("recipe")
    if document.path.resolve().parent == (project / "recipes").resolve() and name != document.path.stem:
        wrong = f"`recipe` is {seen(name)} but the file is {quoted(document.path.name)}"
        found.append((("recipe",), wrong, "let both agree"))
    faults = _placed(document, found, len(located[MAX_FAULTS:]), unnamed)
    return (None if faults else recipe), faults


def _modelled(values: Mapping[str, Any]) -> tuple[Recipe | None, list[dict[str, Any]]]:
    try:
        return Recipe.model_validate(values), []
    except ValidationError as error:
        return None, [dict(item) for item in error.errors(include_url=False)]


def _place_in(document: Document) -> Any:
    return lambda item: _line_and_column(document.where(item[0]))


def _line_and_column(where: str) -> tuple[int, ...]:
    return tuple(int(part) for part in where.rsplit(":", 2)[1:])


def _placed(document: Document, found: Sequence[Found], more: int = 0, unnamed: bool = False) -> list[Fault]:
    """Faults in the order of the file, each once, none longer than a line of text.

    Args:
        more: number of faults beside `found`.
        unnamed: whether there are others, uncounted.
    """
    faults = {
        (where, message): Fault(where, _cut(message), None if hint is None else _cut(hint))
        for location, message, hint in found
        for where in (document.where(location),)
    }
    ordered = sorted(faults.values(), key=lambda fault: _line_and_column(fault.where))
    kept, more = ordered[:MAX_FAULTS], more + len(ordered[MAX_FAULTS:]) + unnamed
    if more:
        kept.append(
            Fault(kept[-1].where, f"{'at least ' if unnamed else ''}{counted(more, 'more fault')}", "fix these first")
        )
    return kept


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."


def _without(values: Mapping[str, Any], located: Sequence[tuple[Location, dict[str, Any]]]) -> dict[str, Any]:
    """The values with REFUSED in place of all that the schema refuses, so that the rest has the schema's types."""
    sound: dict[str, Any] = _copy(values)
    for location, item in located:
        if item["type"] != "missing":
            _refuse(sound, location, whole=item["loc"][-1] == "[key]")
    for item in _modelled(sound)[1]:
        if item["type"] != "missing" and item["input"] is not REFUSED:  # refused for something inside it
            _refuse(sound, item["loc"][:1])
    return sound


def _refuse(values: Any, location: Sequence[str | int], whole: bool = False) -> None:
    """Put REFUSED there; `whole` removes the key too."""
    node = values
    for part in location[:-1]:
        node = node[part] if _holds(node, part) else None
    if location and _holds(node, location[-1]):
        node[location[-1]] = REFUSED
        if whole and isinstance(node, dict):
            del node[location[-1]]


def _holds(node: Any, part: str | int) -> bool:
    return part in node if isinstance(node, dict) else isinstance(node, list) and part in range(len(node))


def _copy(value: Any) -> Any:
    """A copy in which nothing is shared; the target of two aliases is copied twice."""
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


_MAPPED_FILTERS = {
    "column": "{name: column, of: COLUMN, keep: [VALUE]}",
    "tokens": "{name: tokens, of: problem, model: MODEL, at_most: 2000}",
    "language": "{name: language, keep: [en]}",
}


_AXES_OF_CELLS = {"model", "train", "test"}
"""Fields of every section that chooses cells, and of no other."""
_UNKNOWN_AXES = {
    "benchmark": "a contrast is computed within each benchmark; `benchmarks` beside `of` says on which",
    "strategy": "`train` is the strategy that a checkpoint was trained with, `test` the one that it is tested under",
    "pool": "name the benchmarks of the pool: `benchmark: [NAME, NAME]`",
}
"""Words that readers take for an axis of cells -> what is meant."""
_ONE_OR_SEVERAL = {
    "string_type": "a text or a list of texts is expected",
    "int_type": "an integer or a list of integers is expected",
}
"""Type of an error -> what is expected where a value is one or a list."""


_NOT_OF_ONE = {
    ("design", "seeds"): "for example `seeds: [1, 2]`",
    ("measure", "contrasts"): "for example `- {name: size_15k_1k, of: {dataset: ot_15k}, against: {dataset: ot_1k}}`",
    ("measure", "pool"): "a name and its benchmarks, for example `aime: [aime_2024, aime_2025]`",
    ("vote", "ensembles"): "a name and its cells, for example `pair: [CHECKPOINT/STRATEGY, CHECKPOINT/STRATEGY]`",
    ("vote", "strategies"): "a name and its test strategies, for example `both: [none, random]`",
}
"""Place -> what to write where the schema refuses it or an item of it; a list of the one value would be wrong too."""
_EXAMPLES = {
    **_NOT_OF_ONE,
    ("design", "checkpoints"): "for example `checkpoints: [last, 1/3]`",
    ("design", "variants"): "for example `variants: [default, NAME]`; the settings are in `train.variants`",
    **dict.fromkeys((("train", key) for key in OVERLAYS), "a name and its settings, for example `NAME: {epochs: 5}`"),
}


def _example(location: Location) -> str | None:
    """What to write where the schema refuses a table or list that a study varies, or an item of it."""
    if location == ("writer", "solutions"):
        return f"for example `{SOLUTIONS}`"
    return _EXAMPLES.get(location[:2]) if len(location) in (2, 3) else None  # type: ignore[arg-type]


def _elsewhere(field: str, parent: Location) -> str | None:
    """The hint that names the one other section of the recipe that has a field."""
    others = [name for name in Recipe.model_fields if (name,) != parent and field in section_fields((name,))]
    return f"`{others[0]}` has `{field}`: put it there" if len(parent) == 1 and len(others) == 1 else None


def _schema_fault(location: Location, item: dict[str, Any]) -> Found:
    name = dotted(location)
    parent, last = location[:-1], str(location[-1]) if location else ""
    shown = dotted(parent)
    listing = f"`its recipe fields {shown}` explains the fields" if shown else "`its recipe fields` explains the fields"
    kind, given = item["type"], item["input"]
    if kind == "extra_forbidden":
        known = section_fields(parent)
        remedy = _UNKNOWN_AXES.get(last) if set(known) >= _AXES_OF_CELLS else None
        if parent[:1] == ("train",) and len(parent) == 3 and last in section_fields(("train",)):
            within = f"`train.{last}` is beside it: overlays are not within overlays"
            remedy = within if last in OVERLAYS else f"`train.{last}` is the same for all trainings of a study"
        similar = nearest(last, known)
        remedy = remedy or (None if similar else _elsewhere(last, parent))
        return location, f"unknown field `{name}`", remedy or did_you_mean(similar, listing)
    if kind == "missing":
        way = str(parent[2]) if parent[:1] == ("strategies",) and len(parent) == 3 else ""
        return location, f"missing field `{name}`", STRATEGY_EXAMPLES.get(way, f"add `{last}:`; {listing}")
    if kind == "string_pattern_mismatch" and item["ctx"]["pattern"] == NAME_PATTERN:
        near = "".join(c if c.isalnum() and c.isascii() else "_" for c in given[:MAX_NAME].lower())
        return (
            location,
            f"{seen(given)} is not a name: names are [a-z0-9_]+",
            f"for example `{near or 'mine'}`; DVC joins names with `-`",
        )
    if kind == "name":
        return location, f"{seen(given)} {item['msg']}", f"for example `{('a_' + given)[:MAX_NAME]}`"
    hint: str | None = None
    if kind == "literal_error" and given in get_args(PlainFilter) and parent[-1:] == ("filters",):
        return (
            location,
            f"`{name}` is {seen(given)}: it reads solutions, and a benchmark is filtered by its problems alone",
            "filters of a benchmark: `no_figure`, and mappings with `name: tokens`, `language` or `column`",
        )
    if kind == "literal_error" and isinstance(given, str) and given in _MAPPED_FILTERS and parent[-1:] == ("filters",):
        return location, f"`{name}` is {seen(given)}, which needs settings", f"for example `{_MAPPED_FILTERS[given]}`"
    if kind == "literal_error" and isinstance(given, str):
        options = [option.strip(" '") for option in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        hint = did_you_mean(nearest(given, options)) or None
    wrong = f"{item['msg'][0].lower()}{item['msg'][1:]}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        wrong = "input should be a mapping"
        if isinstance(given, str | list) and set(section_fields(location)) >= _AXES_OF_CELLS:
            hint = "name an axis and its values, for example `{dataset: NAME, seed: [1, 2]}`"
    elif kind == "int_type" and isinstance(given, str) and given.isascii() and given.isdigit():
        hint = f"without quotes: `{given}`"
    elif kind in _ONE_OR_SEVERAL and item["loc"][-1] == ONE:
        wrong = _ONE_OR_SEVERAL[kind]
    elif kind == "list_type" and isinstance(given, str) and len(given) <= MAX_NAME and location[:2] not in _NOT_OF_ONE:
        hint = f"a list of one is `{last}: [{given}]`"
    elif kind == "list_type" and isinstance(given, Mapping) and given.keys() & set(section_fields((*location, 0))):
        hint = "`- ` before its first key makes it a list of one"
    elif kind == "union_tag_not_found":
        wrong = "a filter is a word, or a mapping with `name: tokens`, `name: language` or `name: column`"
        wrong = wrong if parent[-1:] == ("filters",) else "its `kind` is missing"
    elif kind == "string_pattern_mismatch":
        wrong = PATTERN_MESSAGES.get(item["ctx"]["pattern"], wrong)
    if location[:1] == ("strategies",) and len(location) > 2 and (hint is None or last == "of"):
        hint = STRATEGY_EXAMPLES.get(str(location[2]), hint)
    hint = hint or _example(location)
    return location, f"`{name}` is {seen(given)}: {wrong}", hint


def _real_location(values: Any, loc: Sequence[str | int]) -> Location:
    """Pydantic's location without marks (union tags, `[key]`)."""
    out: list[str | int] = []
    node = values
    for index, part in enumerate(loc):
        if part in ("[key]", ONE, SEVERAL):
            continue
        if isinstance(node, Mapping) and part not in node and part in (node.get("kind"), node.get("name")):
            continue
        if not isinstance(node, Mapping | list) and index:
            continue
        out.append(part)
        node = node[part] if _holds(node, part) else None
    return tuple(out)
