"""Checks of `measure.pool` and `measure.contrasts`: what is pooled is alike, what is compared exists and differs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from its.recipe.cells import ORDER, Grid
from its.recipe.design_checks import RESERVED, Entry, Layout, given, not_in_design, selection_faults
from its.recipe.names import known_names, undeclared
from its.recipe.schema import BASE, LAST
from its.recipe.values import REFUSED, Found, Location, dotted, list_at, table_at

BLOCK_NAME = re.compile(r"[ncx]{2}")
"""Names of blocks in small letters (`nx`)."""
PLANNED = ("trained", "co_design")
"""Words that name planned comparisons, with `base`."""
SIDES = ("of", "against")


def pool_faults(values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Every fault of the pools, as (location, message, hint)."""
    pools = table_at(table_at(values, "measure"), "pool")
    before: dict[frozenset[str], str] = {}
    selecting: dict[str, str] = {}
    for name, members in pools.items():
        here: Location = ("measure", "pool", name)
        yield from _pool_name(name, here, values)
        sound = isinstance(members, list)
        for index, member in enumerate(list_at(pools, name)):
            if not isinstance(member, str):
                sound = False
                continue
            found = list(_member(member, (*here, index), values, layout))
            if member in members[:index]:
                found.append(((*here, index), f"`{dotted(here)}` names `{member}` twice", "remove one"))
            yield from found
            sound = sound and not found
        if not sound:
            continue
        yield from _unlike(members, here, values, layout)
        other = before.setdefault(frozenset(members), name)
        if other != name:
            yield here, f"`{dotted(here)}` has the benchmarks of `measure.pool.{other}`", "remove one"
            continue
        declared = table_at(values, "benchmarks")
        for index, member in enumerate(members):
            first = selecting.setdefault(member, name)
            if first != name and table_at(declared, member).get("role") == "select":
                place = dotted((*here, index))
                wrong = f"`{place}`: `{member}` is in `measure.pool.{first}` too, and the pair is chosen on it"
                yield (*here, index), wrong, "a benchmark to select on counts once: leave it in one pool"
        if layout.grid is not None and layout.kept is not None and not _pooled(layout.grid, layout.kept, members):
            wrong = f"`{dotted(here)}`: `only` and `except` leave no cell that all of its benchmarks have"
            yield here, wrong, "pool benchmarks that have the same cells"


def _pool_name(name: str, here: Location, values: Mapping[str, Any]) -> Iterator[Found]:
    for section, word in (("benchmarks", "benchmark"), ("datasets", "dataset")):
        if name in table_at(values, section):
            yield (
                here,
                f"`{dotted(here)}`: `{name}` is a {word}",
                "results are named after it: another name for the pool",
            )
    if name in RESERVED:
        yield here, f"`{dotted(here)}`: `{name}` is a reserved word", "give the pool another name"


def _member(member: str, here: Location, values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    declared = table_at(values, "benchmarks")
    if member in table_at(table_at(values, "measure"), "pool") and member not in declared:
        yield here, f"`{dotted(here)}`: `{member}` is a pool", "name its benchmarks: a pool is of benchmarks alone"
    elif member not in declared and values.get("benchmarks") is not REFUSED:
        yield from undeclared(member, here, declared, "benchmark")
    else:
        yield from not_in_design(member, "benchmark", here, layout)


def _unlike(members: Sequence[str], here: Location, values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Faults of benchmarks that are not one: unlike kinds of answers, roles or n."""
    declared = table_at(values, "benchmarks")
    for field, word, why in (
        ("answer", "answers of the kinds", "they are not compared in the same way"),
        ("role", "the roles", "a pair is chosen on one set of problems and measured on another"),
    ):
        seen = {name: table_at(declared, name).get(field) for name in members}
        first, *others = [name for name, value in seen.items() if isinstance(value, str)] or [""]
        differing = next((name for name in others if seen[name] != seen[first]), None)
        if differing is not None:
            unlike = f"`{seen[first]}` (`{first}`) and `{seen[differing]}` (`{differing}`)"
            yield here, f"`{dotted(here)}` has {word} {unlike}: {why}", f"pool benchmarks with the same `{field}`"
    generation = table_at(values, "generation")
    overlays = {key: table_at(generation, key) for key in ("models", "benchmarks")}
    for model in layout.axes["model"] or ():
        own = table_at(overlays["models"], str(model)).get("n")
        usual = generation.get("n") if own is None else own
        counts = {}
        for name in members:
            n = table_at(overlays["benchmarks"], name).get("n")
            counts[name] = usual if n is None else n
        first = members[0]
        differing = next((name for name in members if counts[name] != counts[first]), None)
        if differing is not None and all(type(n) is int for n in counts.values()):
            told = f"n = {counts[first]} (`{first}`) and n = {counts[differing]} (`{differing}`)"
            yield (
                here,
                f"`{dotted(here)}` has {told} for `{model}`: their problems would not count alike",
                f"the same n for all of them: `generation.benchmarks.{differing}.n`",
            )
            return


def _pooled(grid: Grid, kept: int, members: Sequence[str]) -> int:
    """The bits, at the first benchmark, of the cells that all benchmarks of a pool have."""
    bits = -1
    for member in members:
        bits &= grid.without(kept & grid.matched({"benchmark": [member]}), ["benchmark"])
    return bits


@dataclass(frozen=True)
class _Contrast:
    """A contrast of which nothing is refused.

    `sides` are the bits of its cells, `named` the axes on which the sides name different values.
    """

    name: str
    here: Location
    sides: Mapping[str, int]
    named: Sequence[str]
    benchmarks: Sequence[str] | None


def contrast_faults(values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Every fault of the contrasts, as (location, message, hint)."""
    names: set[str] = set()
    before: dict[Any, str] = {}
    every = [*(layout.axes["benchmark"] or ()), *table_at(table_at(values, "measure"), "pool")]
    for index, entry in enumerate(list_at(table_at(values, "measure"), "contrasts")):
        if not isinstance(entry, Mapping):
            continue
        here: Location = ("measure", "contrasts", index)
        name = entry.get("name")
        found = list(_contrast_name(name, here, names))
        names |= {name} if isinstance(name, str) else set()
        for side in SIDES:
            found += selection_faults(entry.get(side), (*here, side), values, layout)
        found += _benchmarks(entry, here, values, layout)
        yield from found
        sides = {side: given(entry.get(side)) for side in SIDES}
        if found or layout.grid is None or layout.kept is None or entry.get("benchmarks") is REFUSED:
            continue
        entries = _with_checkpoints([side for side in sides.values() if side])
        if len(entries) < len(SIDES) or LAST not in (layout.axes["checkpoint"] or ()):
            continue
        contrast = _contrast(entry, here, entries, layout.grid, layout.kept)
        faults = list(_sides(contrast, entries, layout.grid))
        yield from faults or _partners(contrast, values, layout.grid)
        if not faults:
            yield from _repeated(contrast, contrast.benchmarks or every, before)


def _repeated(contrast: _Contrast, measured: Sequence[str], before: dict[Any, str]) -> list[Found]:
    """A fault if an earlier contrast compares the same cells on one of the benchmarks or pools.

    Args:
        measured: all benchmarks and pools on which it is computed.
        before: (sides, benchmark) -> the first contrast of it.
    """
    sides = frozenset(contrast.sides.values())  # exchanged, it is the same comparison
    first = {name: before.setdefault((sides, name), contrast.name) for name in measured}
    shared = [name for name, other in first.items() if other != contrast.name]
    if not shared:
        return []
    where = "" if len(shared) == len(measured) else f" on `{shared[0]}`"
    where += f" and {len(shared) - 1} more" if where and len(shared) > 1 else ""
    wrong = f"`{dotted(contrast.here)}` compares{where} what `{first[shared[0]]}` compares"
    remedy = "name different benchmarks, or remove one" if where else "remove one"
    return [(contrast.here, wrong, f"{remedy}: each comparison makes the correction of the others stricter")]


def _with_checkpoints(sides: Sequence[Entry]) -> list[Entry]:
    """The sides, `last` on one that names no checkpoint where the other does; base has none."""
    if not any("checkpoint" in side for side in sides):
        return list(sides)
    return [side if side.get("train") == [BASE] else {"checkpoint": [LAST], **side} for side in sides]


def _contrast(entry: Mapping[str, Any], here: Location, sides: Sequence[Entry], grid: Grid, kept: int) -> _Contrast:
    if not any("checkpoint" in side for side in sides):
        kept &= grid.matched({"checkpoint": [LAST]}) | grid.untrained
    bits = {side: kept & grid.matched(own) for side, own in zip(SIDES, sides, strict=True)}
    of, against = sides
    named = [axis for axis in ORDER if set(of.get(axis, ())) != set(against.get(axis, ()))]
    return _Contrast(str(entry.get("name")), here, bits, named, list_at(entry, "benchmarks") or None)


def _contrast_name(name: Any, here: Location, names: Set[str]) -> Iterator[Found]:
    if not isinstance(name, str):
        return
    if name in (*RESERVED, *PLANNED) or BLOCK_NAME.fullmatch(name):
        wrong = f"`{dotted((*here, 'name'))}` is `{name}`, a word of the planned comparisons and blocks"
        yield (*here, "name"), wrong, "name what differs, for example `size_15k_1k`"
    if name in names:
        yield (*here, "name"), f"`measure.contrasts` names two contrasts `{name}`", "another name for one of them"


def _benchmarks(entry: Mapping[str, Any], here: Location, values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Faults of the benchmarks that a contrast names: neither in the design nor a pool, or twice."""
    pools, known = table_at(table_at(values, "measure"), "pool"), layout.axes["benchmark"]
    before: set[str] = set()
    for index, name in enumerate(list_at(entry, "benchmarks")):
        if not isinstance(name, str):
            continue
        place: Location = (*here, "benchmarks", index)
        if name in before:
            yield place, f"`{dotted((*here, 'benchmarks'))}` names `{name}` twice", "remove one"
        elif known is not None and name not in known and name not in pools:
            hint = known_names(name, [*known, *pools], "`design.benchmarks` and `measure.pool`")
            yield place, f"`{dotted(place)}`: `{name}` is neither a benchmark of the design nor a pool", hint
        before.add(name)


def _sides(contrast: _Contrast, entries: Sequence[Entry], grid: Grid) -> Iterator[Found]:
    """Faults of the two sides: one without a cell, the same cell on both."""
    for side in SIDES:
        if not contrast.sides[side]:
            yield (
                (*contrast.here, side),
                f"`{dotted((*contrast.here, side))}` matches no cell of the design",
                "`only` and `except` leave its cells out: change them, or compare others",
            )
    both = contrast.sides["of"] & contrast.sides["against"]
    if not both:
        return
    if contrast.sides["of"] == contrast.sides["against"]:
        wrong = f"`{dotted(contrast.here)}`: both sides are the same cells"
    else:
        *checkpoint, benchmark, test = next(grid.cells(both))
        parts = [str(part) for part in checkpoint if part is not None]
        wrong = f"`{dotted(contrast.here)}`: a cell is on both sides: {' '.join(parts)} under `{test}` on `{benchmark}`"
    axes = [axis for axis in contrast.named if not all(axis in own for own in entries)]
    both_sides = f"name `{axes[0]}` on both sides, with different values" if axes else "name different values"
    yield contrast.here, wrong, both_sides


def _partners(contrast: _Contrast, values: Mapping[str, Any], grid: Grid) -> Iterator[Found]:
    """Faults of a contrast none of whose cells have a partner, on all benchmarks or on one that it names."""
    of, against = (grid.without(contrast.sides[side], contrast.named) for side in SIDES)
    common = of & against
    paired = [axis for axis in ORDER if axis not in contrast.named and axis != "benchmark"]
    told = ", ".join(f"`{axis}`" for axis in paired) or "problem"
    pools = table_at(table_at(values, "measure"), "pool")
    if not common:
        yield (
            contrast.here,
            f"`{dotted(contrast.here)}`: no cell has a partner on the other side, with the same benchmark and {told}",
            "name an axis on which the sides differ on both of them, or keep cells that agree",
        )
        return
    for index, name in enumerate(contrast.benchmarks or ()):
        members = list_at(pools, name) if name in pools else [name]
        if all(isinstance(member, str) for member in members) and not _pooled(grid, common, members):
            place: Location = (*contrast.here, "benchmarks", index)
            wrong = f"`{dotted(place)}`: no cell on `{name}` has a partner on the other side, with the same {told}"
            yield place, wrong, "take it out, or keep cells that agree"
