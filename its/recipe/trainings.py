"""The different trainings of a design, as plain values: the settings of each, and where the recipe gives them.

`train` has overlays by model, dataset and variant; what must hold of a training must hold of every combination that the
design uses, and a fault is where the recipe gives the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from its.recipe.design_checks import laid_out
from its.recipe.schema import DEFAULT_VARIANT, Recipe, Train
from its.recipe.values import REFUSED, Location, dotted, list_at, table_at

OVERLAYS = ("models", "datasets", "variants")
"""Tables of overlays in `train`; a later one wins."""


@dataclass(frozen=True)
class Training:
    """The settings of one training, `train` with its overlays laid over it.

    Args:
        values: its fields; without overlays.
        places: field -> the table that gives it, where that is an overlay.
        settings: setting of `axolotl` -> the table that gives it, where that is an overlay's.
        models: models of the design with these settings.
        trained: the first combination of model, dataset and variant with these settings.
    """

    values: Mapping[str, Any]
    places: Mapping[str, Location]
    settings: Mapping[str, Location]
    models: tuple[str, ...]
    trained: tuple[str, str, str]

    def place(self, *fields: str) -> Location:
        """Where the recipe gives the first of these fields, or the most specific overlay of the others that has one."""
        found = [(self.places[field], field) for field in fields if field in self.places]
        if not found:
            return ("train", fields[0])
        table, field = max(found, key=lambda item: OVERLAYS.index(str(item[0][1])))
        return (*table, field)

    def named(self, field: str, *others: str) -> str:
        """Where the recipe gives the first of these fields, for a message about all of them at `place`.

        An overlay that gives another one and not this one is named too.
        """
        own, at = self.place(field), self.place(field, *others)
        return dotted(own) if own[:-1] == at[:-1] else f"{dotted(own)}` with `{dotted(at[:-1])}"

    def setting(self, *path: str | int) -> Location:
        """Where the recipe gives a setting of `axolotl`."""
        return (*self.settings.get(str(path[0]), ("train", "axolotl")), *path)


def overlays(values: Mapping[str, Any]) -> Iterator[tuple[Location, Mapping[str, Any]]]:
    """(place, overlay) of every overlay that a recipe declares, whether the design uses it or not."""
    train = table_at(values, "train")
    for section in OVERLAYS:
        for name in table_at(train, section):
            yield ("train", section, name), table_at(table_at(train, section), name)


def trainings(values: Mapping[str, Any]) -> list[Training]:
    """The trainings of the design that differ in an overlay; at least one, that of `train` alone."""
    train = table_at(values, "train")
    out: dict[tuple[str | None, ...], Training] = {}
    for combination in _combinations(values):
        used = tuple(
            name if name in table_at(train, section) else None
            for section, name in zip(OVERLAYS, combination, strict=True)
        )
        if used not in out:
            out[used] = _training(train, combination)
        if combination[0] not in out[used].models:
            out[used] = replace(out[used], models=(*out[used].models, combination[0]))
    return list(out.values()) or [_training(train, ("", "", DEFAULT_VARIANT))]


def recipe_trainings(recipe: Recipe) -> list[tuple[Training, str, Train]]:
    """The same of a valid recipe, with the model and the validated settings; equal settings once for each model."""
    values = recipe.model_dump(by_alias=True)
    found: dict[tuple[str, str], tuple[Training, str, Train]] = {}
    for training in trainings(values):
        _, dataset, variant = training.trained
        for model in training.models:
            train = recipe.train.of(model, dataset, variant)
            found.setdefault((model, train.model_dump_json()), (training, model, train))
    return list(found.values())


def _training(train: Mapping[str, Any], combination: tuple[str, str, str]) -> Training:
    values = {key: value for key, value in train.items() if key not in OVERLAYS}
    further = dict(table_at(train, "axolotl"))
    places: dict[str, Location] = {}
    settings: dict[str, Location] = {}
    for section, name in zip(OVERLAYS, combination, strict=True):
        here: Location = ("train", section, name)
        overlay = table_at(table_at(train, section), name)
        own = table_at(overlay, "axolotl")
        further |= own
        settings |= dict.fromkeys(own, (*here, "axolotl"))
        given = {key: value for key, value in overlay.items() if key != "axolotl" and value is not None}
        values |= given
        places |= dict.fromkeys(given, here)
    if further or "axolotl" in values:
        values["axolotl"] = further if values.get("axolotl") is not REFUSED else REFUSED
    return Training(values, places, settings, (), combination)


def _combinations(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(model, dataset, variant) of the design, without those of which `only` and `except` keep no cell.

    All of them where the cells are not known.
    """
    layout = laid_out(values)
    if layout.grid is not None and layout.kept is not None:
        yield from layout.grid.points(layout.kept & ~layout.grid.untrained, ("model", "dataset", "variant"))
        return
    section = table_at(values, "design")
    named = [list_at(section, key) for key in OVERLAYS]
    models, datasets, variants = ([name for name in names if isinstance(name, str)] for names in named)
    yield from product(models, datasets, variants or [DEFAULT_VARIANT])
