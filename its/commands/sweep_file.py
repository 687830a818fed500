"""A sweep: recipe values to vary, as a YAML file, checked whole before anything runs."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from its.checks.data import data_checked
from its.errors import Fault, FaultsError, MissingError, did_you_mean, nearest
from its.recipe.apply import own_path
from its.recipe.document import Document, parse_document, read_document
from its.recipe.schema import NAME_PATTERN, Recipe
from its.recipe.values import seen
from its.shown import quoted

MAX_POINTS = 256
"""Points of a sweep: each is a whole study."""
KEYS = ("recipe", "grid", "points")
_EXAMPLE = "for example `grid: {generation.max_tokens: [128, 256]}`"
_MAX_READABLE = 60
Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Point:
    """One study of a sweep: the recipe with other values.

    `name` is that of its experiment: it ends with a hash of all parameters, so another recipe gives another name.
    """

    name: str
    values: Mapping[str, Any]
    """Dotted path -> value."""
    params: Mapping[str, Any]
    """All parameters of the study."""
    text: str
    """params.yaml of the study."""
    recipe: Recipe


@dataclass(frozen=True)
class Sweep:
    """A valid sweep."""

    recipe: Path
    points: Sequence[Point]


@dataclass(frozen=True)
class _Planned:
    """Values of a point, and where in the file of the sweep each of them is."""

    values: dict[str, Any]
    places: dict[str, Location]


@dataclass(frozen=True)
class _PointDocument(Document):
    """The parameters of a point: a place is that of the value that the sweep sets, else that of the recipe."""

    places: Mapping[tuple[str, ...], str] = None  # type: ignore[assignment]

    def where(self, location: Sequence[str | int]) -> str:
        parts = tuple(map(str, location))
        for path, place in self.places.items():
            if parts[: len(path)] == path or path[: len(parts)] == parts:
                return place
        return super().where(location)


def read_sweep(project: Path, path: Path) -> Sweep:
    """Read a sweep and check each of its points as `its recipe check` does.

    Raises:
        MissingError: if there is no such file, or no such recipe.
        FaultsError: naming every fault of the file and of its points.
    """
    if not path.exists():
        raise MissingError(
            f"{quoted(path)}: no such file", "a sweep is a YAML file; `its sweep --help` says what is in it"
        )
    document = read_document(path)
    faults = [
        Fault(
            document.where((key,)),
            f"unknown field {seen(key)}",
            did_you_mean(nearest(key, KEYS), "a sweep has `recipe`, `grid` and `points`"),
        )
        for key in document.values
        if key not in KEYS
    ]
    name = document.values.get("recipe")
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        faults.append(
            Fault(
                document.where(("recipe",)),
                f"`recipe` is {seen(name)}: expected the name of a recipe",
                "`its recipe list` names the recipes",
            )
        )
    faults += _shape_faults(document)
    if faults:
        raise FaultsError(faults)
    recipe_path = own_path(project, str(name))
    recipe = read_document(recipe_path)
    data_checked(recipe, project, {})
    planned = list(_planned(document))
    points, found = [], {}
    for item in planned:
        point, more = _point(project, path, document, recipe, item)
        for fault in more:
            found[fault.where, fault.message] = fault
        if point is not None:
            points.append(point)
    names = [point.name for point in points]
    for item, point in zip(planned, points, strict=False) if not found else ():
        if names.count(point.name) > 1:
            place = document.where(next(iter(item.places.values())))
            message = f"{told(point.values)} is {names.count(point.name)} times in the sweep"
            found[place, message] = Fault(place, message, "leave it out once")
    if found:
        raise FaultsError(list(found.values()))
    return Sweep(recipe_path, points)


def told(values: Mapping[str, Any]) -> str:
    """The values of a point on one line."""
    return ", ".join(f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in values.items())


def _shape_faults(document: Document) -> Iterator[Fault]:
    grid, points = document.values.get("grid"), document.values.get("points")
    if grid is None and points is None:
        yield Fault(document.where(()), "neither `grid` nor `points`", _EXAMPLE)
    count = 0
    if grid is not None:
        if not isinstance(grid, Mapping) or not grid:
            yield Fault(document.where(("grid",)), f"`grid` is {seen(grid)}: expected fields of the recipe", _EXAMPLE)
        else:
            wrong = [key for key, values in grid.items() if not isinstance(values, list) or not values]
            for key in wrong:
                message = f"{seen(key)} is {seen(grid[key])}: expected a list of values"
                yield Fault(document.where(("grid", key)), message, f"one value is `{key}: [VALUE]`")
            count += 0 if wrong else prod(len(values) for values in grid.values())
    if points is not None:
        if not isinstance(points, list) or not points:
            yield Fault(document.where(("points",)), f"`points` is {seen(points)}: expected a list", _POINTS)
        else:
            for index, values in enumerate(points):
                if not isinstance(values, Mapping) or not values:
                    what = "empty" if values == {} else seen(values)
                    message = f"point {index + 1} is {what}: expected fields of the recipe with values"
                    yield Fault(document.where(("points", index)), message, _POINTS)
            count += len(points)
    if count > MAX_POINTS:
        place = document.where(("grid",) if grid is not None else ("points",))
        yield Fault(place, f"{count} points: at most {MAX_POINTS} are possible", "sweep fewer values, in several files")


_POINTS = "for example `points: [{generation.max_tokens: 128}]`"


def _planned(document: Document) -> Iterator[_Planned]:
    grid = document.values.get("grid")
    if grid is not None:
        places = [range(len(values)) for values in grid.values()]
        for chosen in itertools.product(*places):
            yield _Planned(
                {key: grid[key][index] for key, index in zip(grid, chosen, strict=True)},
                {key: ("grid", key, index) for key, index in zip(grid, chosen, strict=True)},
            )
    for index, values in enumerate(document.values.get("points") or ()):
        yield _Planned(dict(values), {key: ("points", index, key) for key in values})


def _point(
    project: Path, path: Path, document: Document, recipe: Document, planned: _Planned
) -> tuple[Point | None, list[Fault]]:
    """A point, or every fault of it."""
    params = deepcopy(recipe.values)
    places = {tuple(key.split(".")): document.where(place) for key, place in planned.places.items()}
    faults = []
    for key, value in planned.values.items():
        where = document.where(planned.places[key])
        if key == "recipe" or key.startswith("recipe."):
            faults.append(Fault(where, "`recipe` is the name of the recipe, not a value to vary", _EXAMPLE))
            continue
        inside = [other for other in planned.values if key.startswith(f"{other}.")]
        if inside:
            faults.append(
                Fault(where, f"{seen(key)} is within `{inside[0]}`, which the point sets too", "set one of them")
            )
            continue
        if not _set(params, key.split("."), deepcopy(value)):
            hint = "`its recipe fields` explains the fields; a list is replaced as a whole"
            faults.append(Fault(where, f"{seen(key)}: the recipe has no such section", hint))
    if faults:
        return None, faults
    try:
        text = _text(recipe, planned.values)
        written = parse_document(project / "params.yaml", text)
        document = _PointDocument(recipe.path, written.values, recipe.node, text, places=places)
        checked = data_checked(document, project, {})
    except FaultsError as error:
        return None, error.faults
    name = _name(path, planned.values, written.values)
    return Point(name, planned.values, written.values, text, checked), []


def _set(values: Any, path: Sequence[str], value: Any) -> bool:
    """Set a value by its path; False if a section above it does not exist."""
    for part in path[:-1]:
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    if not isinstance(values, dict):
        return False
    values[path[-1]] = value
    return True


def _text(recipe: Document, changed: Mapping[str, Any]) -> str:
    """The recipe's text with other values, comments kept."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    loaded = yaml.load(recipe.text)
    for key, value in changed.items():
        _set(loaded, key.split("."), deepcopy(value))
    out = io.StringIO()
    yaml.dump(loaded, out)
    return out.getvalue()


def _name(path: Path, values: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """`FILE-field_value-...-HASH`, of the characters that git and DVC allow in the name of an experiment."""
    parts = [f"{key.rpartition('.')[2]}_{json.dumps(value)}" for key, value in values.items()]
    readable = "-".join(
        cleaned for part in [path.stem, *parts] if (cleaned := re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_"))
    )
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]
    return f"{readable[:_MAX_READABLE].strip('-_')}-{digest}".lstrip("-")
