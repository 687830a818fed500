"""Checks of the overlays of `train`: names, settings that change nothing, variants that are equal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from its.recipe.design_checks import FRACTION_IN_NAMES, RESERVED, Layout
from its.recipe.names import LISTED, undeclared
from its.recipe.schema import BASE, DEFAULT_VARIANT
from its.recipe.values import REFUSED, Found, Location, dotted, table_at

REMOVABLE = {"launcher_args": "`launcher_args: []` does", "save_every_steps": None, "axolotl": None}
"""Settings of `train` that may be absent -> how an overlay removes one; None: not at all."""
NUMBERS = ("epochs", "learning_rate", "warmup_ratio", "weight_decay")
"""Settings of which `1` and `1.0` are the same."""
MOST = 1_000_000
"""Settings that are compared to find equal variants: those of any recipe that a person writes."""
_SOMETHING = "<refused>"
"""In place of what the schema refuses."""
Settings = Mapping[tuple[str, ...], str]
"""Field, or `axolotl` and a key of it -> its value as JSON."""


def overlay_faults(values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Every fault of the overlays of `train`, as (location, message, hint)."""
    train = table_at(values, "train")
    for name in table_at(train, "variants"):
        here: Location = ("train", "variants", name)
        if name in RESERVED or FRACTION_IN_NAMES.fullmatch(name):
            means = {BASE: "the untrained model", DEFAULT_VARIANT: "`train` without a variant"}
            wrong = means.get(name, "a checkpoint in the names of checkpoints")
            yield here, f"`{dotted(here)}`: `{name}` is {wrong}", "give the variant another name"
    for table, word in (("models", "model"), ("datasets", "dataset")):
        registry = table_at(values, table)
        for name in table_at(train, table):
            if values.get(table) is not REFUSED:
                yield from undeclared(name, ("train", table, name), registry, word)
    below = [_settings(train)]
    for table in ("models", "datasets", "variants"):
        yield from _nulls(train, table)
        own = {name: _settings(overlay) for name, overlay in table_at(train, table).items()}
        for name, settings in own.items():
            if settings is not None and not settings:
                here = ("train", table, name)
                yield here, f"`{dotted(here)}` has no settings", "name what differs from `train`, or take it out"
        if table != "variants":
            yield from _idle(table, own, below)
            below += own.values()
    yield from _equal(train, layout)


def _settings(table: Any) -> Settings | None:
    """The settings of `train` or of an overlay; None where the schema refuses some of them."""
    if not isinstance(table, Mapping):
        return None
    out: dict[tuple[str, ...], str] = {("launcher_args",): "[]"} if "hardware" in table else {}  # `train` itself
    for name, value in table.items():
        if name == "axolotl" and value is not REFUSED:
            out |= {(name, key): _as_json(item) for key, item in table_at(table, name).items()}
        elif value is not None and not (name in ("models", "datasets", "variants") and "hardware" in table):
            whole = name in NUMBERS and type(value) is int
            out[name,] = _as_json(float(value) if whole else value)
    return None if any(_SOMETHING in item for item in out.values()) else out


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=lambda refused: _SOMETHING)


def _nulls(train: Mapping[str, Any], table: str) -> Iterator[Found]:
    """Nulls of an overlay that look as if they removed a setting: what an overlay does not give stays."""
    lower = {"models": [], "datasets": ["models"], "variants": ["models", "datasets"]}[table]
    for name, overlay in table_at(train, table).items():
        for field, remedy in REMOVABLE.items():
            if not isinstance(overlay, Mapping) or overlay.get(field, 0) is not None:
                continue
            places: list[tuple[Location, Any]] = [(("train", field), train.get(field))]
            places += [
                (("train", other, owner, field), table_at(table_at(train, other), owner).get(field))
                for other in lower
                for owner in table_at(train, other)
            ]
            for place, value in places:
                if value not in (None, {}, []):
                    here: Location = ("train", table, name, field)
                    hint = (
                        remedy or f"give `{field}` in the overlays that are to have it, not in `{dotted(place[:-1])}`"
                    )
                    yield here, f"`{dotted(here)}` is `null`, which does not remove `{dotted(place)}`", hint
                    break


def _idle(table: str, own: Mapping[str, Settings | None], below: Sequence[Settings | None]) -> Iterator[Found]:
    """Overlays of models or datasets all of whose settings are those of `train`, and of no overlay below."""
    if None in below:
        return
    under = below[0] or {}
    others = {field for settings in below[1:] for field in settings or {}}
    for name, settings in own.items():
        if settings and not others & settings.keys() and all(under.get(key) == item for key, item in settings.items()):
            here: Location = ("train", table, name)
            told = ", ".join(f"`{'.'.join(key)}`" for key in islice(settings, LISTED))
            yield here, f"`{dotted(here)}` changes nothing: `train` has the same {told}", "take it out, or change it"


def _equal(train: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Variants of the design whose trainings are those of another one, or of `train` without a variant."""
    found = {
        table: {name: _settings(overlay) for name, overlay in table_at(train, table).items()}
        for table in ("models", "datasets", "variants")
    }
    under, grid, kept = _settings(train), layout.grid, layout.kept
    if under is None or grid is None or kept is None or any(None in own.values() for own in found.values()):
        return
    tables = {table: {name: item or {} for name, item in own.items()} for table, own in found.items()}
    tables["variants"].pop(DEFAULT_VARIANT, None)  # a name that no variant may have
    names = [name for name in grid.values["variant"] if tables["variants"].get(name)]
    fields = list(dict.fromkeys(field for name in names for field in tables["variants"][name]))
    pairs = {}
    for name in names:
        cells = kept & ~grid.untrained & grid.matched({"variant": [name]})
        pairs[name] = grid.points(cells, ("model", "dataset"))
    if len(fields) * sum(map(len, pairs.values())) > MOST:
        return

    def resolved(name: str, model: str, dataset: str) -> tuple[str | None, ...]:
        layers = (
            tables["variants"].get(name, {}),
            tables["datasets"].get(dataset, {}),
            tables["models"].get(model, {}),
        )
        return tuple(next((layer[key] for layer in (*layers, under) if key in layer), None) for key in fields)

    before: dict[tuple[Any, ...], list[str]] = {}
    for name in names:
        own = {pair: resolved(name, *pair) for pair in pairs[name]}
        here: Location = ("train", "variants", name)
        remedy = "change it, or take it out of `design.variants`"
        if own and all(item == resolved(DEFAULT_VARIANT, *pair) for pair, item in own.items()):
            yield here, f"`{dotted(here)}` changes nothing: its trainings are those of `train` without it", remedy
            continue
        shared = [set(before.get(point, ())) for point in own.items()]
        for other in sorted(set.intersection(*shared)) if shared else ():
            yield here, f"`{dotted(here)}` has the settings of the variant `{other}`", remedy
            break
        for point in own.items():
            before.setdefault(point, []).append(name)
