"""Checks of what a study varies: the lists of `design`, its `only` and `except`, and the cells that they leave.

What names cells elsewhere (contrasts, votes) is checked against the same cells: `laid_out` computes them once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from its.recipe.cells import ORDER, Grid
from its.recipe.names import known_names
from its.recipe.schema import AXES, BASE, DEFAULT_VARIANT, LAST, TRAINED_AXES
from its.recipe.values import REFUSED, Found, Location, dotted, list_at, table_at

MAX_CHECKPOINTS = 10_000
"""Of one study; lists of a thousand names each would fill the memory with their product."""
MAX_CELLS = 1_000_000
"""Checkpoints x benchmarks x test strategies of one study; stages list them."""
RESERVED = (BASE, DEFAULT_VARIANT, LAST)
"""Words that stand for a value of an axis in every study."""
FRACTION_IN_NAMES = re.compile(r"[0-9]+of[0-9]+")
"""An earlier checkpoint in the name of a checkpoint (`1of3`)."""
WORDS = {
    "model": "model",
    "dataset": "dataset",
    "train": "train strategy",
    "variant": "variant",
    "seed": "training seed",
    "checkpoint": "checkpoint",
    "benchmark": "benchmark",
    "test": "test strategy",
}
"""Axis -> what one of its values is."""
ABSENT = {"variants": [DEFAULT_VARIANT], "checkpoints": [LAST]}
"""List of the design -> what it is where it is absent."""
Entry = Mapping[str, list[Any]]
"""Axis -> the values that an entry or a side gives, as a list."""


@dataclass(frozen=True)
class Layout:
    """The axes of a design and its cells, as far as they are known.

    Args:
        axes: axis -> its values, each once; None if the schema refuses some of them.
        base: whether base is evaluated; None if that is refused.
        only: entries of `design.only`, None if there are none.
        leave_out: entries of `design.except`.
        sound: whether no entry of either has a fault; else it is not known what they keep.
    """

    axes: Mapping[str, Mapping[Any, None] | None]
    base: bool | None
    only: Sequence[Entry] | None
    leave_out: Sequence[Entry]
    sound: bool

    @cached_property
    def grid(self) -> Grid | None:
        """The product of the axes; None if it is not known, empty or too large."""
        if self.base is None or not all(self.axes.values()) or self.evaluated * self.pairs > MAX_CELLS:
            return None
        if self.checkpoints > MAX_CHECKPOINTS:
            return None
        return Grid({axis: list(several or ()) for axis, several in self.axes.items()}, self.base)

    @cached_property
    def kept(self) -> int | None:
        """The bits of the cells; None if they are not known."""
        return self.grid.kept(self.only, self.leave_out) if self.grid is not None and self.sound else None

    @property
    def checkpoints(self) -> int:
        """Trained checkpoints of the whole product."""
        return math.prod(len(self.axes[axis] or ()) for axis in ("model", *TRAINED_AXES))

    @property
    def evaluated(self) -> int:
        """Checkpoints of the whole product, with base."""
        return self.checkpoints + (len(self.axes["model"] or ()) if self.base else 0)

    @property
    def pairs(self) -> int:
        """Benchmarks x test strategies."""
        return len(self.axes["benchmark"] or ()) * len(self.axes["test"] or ())


def laid_out(values: Mapping[str, Any]) -> Layout:
    """The axes and cells of a recipe's values."""
    design = table_at(values, "design")
    axes: dict[str, Mapping[Any, None] | None] = {}
    for axis, key in AXES.items():
        items = design.get(key, ABSENT.get(key))
        sound = isinstance(items, list) and not any(item is REFUSED for item in items)
        refused = BASE if axis in ("train", "test") else None  # no strategy is called so, other things may be
        axes[axis] = dict.fromkeys(item for item in items if item != refused) if sound else None
    entries = {key: [given(entry) for entry in list_at(design, key)] for key in ("only", "except")}
    sound = all(entry is not None for several in entries.values() for entry in several)
    sound = sound and not any(design.get(key) is REFUSED for key in entries)
    found = {key: [entry for entry in several if entry is not None] for key, several in entries.items()}
    base = design.get("base")
    layout = Layout(axes, base if isinstance(base, bool) else None, found["only"] or None, found["except"], sound)
    return replace(layout, sound=sound and not _has_faulty_entry(values, layout))


def _has_faulty_entry(values: Mapping[str, Any], layout: Layout) -> bool:
    for key in ("only", "except"):
        for entry in list_at(table_at(values, "design"), key):
            if not isinstance(entry, Mapping) or entry.keys() - set(ORDER):
                return True
            if next(selection_faults(entry, ("design", key), values, layout), None) is not None:
                return True
    return False


def given(entry: Any) -> Entry | None:
    """What an entry or a side gives; None where the schema refuses something in it."""
    if not isinstance(entry, Mapping):
        return None
    out = {axis: entry[axis] if isinstance(entry[axis], list) else [entry[axis]] for axis in ORDER if axis in entry}
    out = {axis: several for axis, several in out.items() if several != [None]}
    refused = any(item is REFUSED for several in out.values() for item in several)
    return None if refused or not all(out.values()) else out


def design_faults(values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Every fault of `design` beyond names of other sections, as (location, message, hint)."""
    yield from _size(layout)
    yield from _variants(values)
    yield from _fractions(list_at(table_at(values, "design"), "checkpoints"))
    wrong = [
        fault
        for key in ("only", "except")
        for index, entry in enumerate(list_at(table_at(values, "design"), key))
        for fault in selection_faults(entry, ("design", key, index), values, layout)
    ]
    yield from wrong
    if not wrong and layout.grid is not None and layout.kept is not None:
        yield from _idle(layout, layout.grid)
        yield from _emptied(layout, layout.grid, layout.kept)


def _size(layout: Layout) -> Iterator[Found]:
    if layout.checkpoints > MAX_CHECKPOINTS:
        yield (
            ("design",),
            f"`design` has {layout.checkpoints} checkpoints: models x datasets x train strategies x variants x seeds x"
            " checkpoints",
            f"at most {MAX_CHECKPOINTS}, before `only` and `except`; each training takes minutes to hours",
        )
    elif layout.evaluated * layout.pairs > MAX_CELLS:
        yield (
            ("design",),
            f"`design` has {layout.evaluated * layout.pairs} cells: checkpoints x benchmarks x test strategies",
            f"at most {MAX_CELLS}, before `only` and `except`",
        )


def _fractions(items: Sequence[Any]) -> Iterator[Found]:
    """Faults of `design.checkpoints`: shares not in lowest terms or of 1 and more, no `last`, one twice."""
    before: set[Any] = set()
    for index, item in enumerate(items):
        if not isinstance(item, str):
            continue
        here: Location = ("design", "checkpoints", index)
        wrong = share_fault(item)
        if wrong is not None:
            yield here, f"`design.checkpoints.{index}` is `{item}`: {wrong[0]}", wrong[1]
        elif item in before:
            yield here, f"`design.checkpoints` names `{item}` twice", "remove one"
        before.add(item)
    if items and LAST not in items and not any(item is REFUSED for item in items):
        yield (
            ("design", "checkpoints"),
            f"`design.checkpoints` has no `{LAST}`",
            f"add `{LAST}`: planned comparisons, votes and the selection use the end of each training",
        )


def share_fault(text: str) -> tuple[str, str] | None:
    """What is wrong with a share of a training's steps that has the form of one, and a remedy; None if nothing is."""
    above, _, below = text.partition("/")
    if not (above.isascii() and above.isdigit() and below.isascii() and below.isdigit() and int(below)):
        return None
    part, whole = int(above), int(below)
    if part == whole:
        return "that is the end of the training", f"write `{LAST}`"
    if part > whole:
        return "that is beyond the end of the training", f"a share below 1 such as `2/3`, or `{LAST}`"
    common = math.gcd(part, whole)
    least = f"{part // common}/{whole // common}"
    return None if common == 1 else ("not in lowest terms", f"write `{least}`")


def selection_faults(entry: Any, here: Location, values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """Faults of the values of one entry of `only` or `except`, or of one side of a contrast."""
    if not isinstance(entry, Mapping):
        return
    named = [axis for axis in ORDER if entry.get(axis) is not None]
    if not named and entry.keys() <= set(ORDER):
        known = ", ".join(f"`{axis}`" for axis in ORDER if here[0] == "design" or axis != "benchmark")
        yield here, f"`{dotted(here)}` names no axis, so it matches every cell", f"name one of {known}"
    for axis in named:
        several = isinstance(entry[axis], list)
        before: set[Any] = set()
        for index, value in enumerate(entry[axis] if several else [entry[axis]]):
            if value is REFUSED or isinstance(value, Mapping | list):
                continue
            place: Location = (*here, axis, index) if several else (*here, axis)
            if value in before:
                yield place, f"`{dotted((*here, axis))}` names `{value}` twice", "remove one"
            else:
                yield from _off_axis(value, axis, place, values, layout)
            before.add(value)
    train = entry.get("train")
    trained = [axis for axis in named if axis in TRAINED_AXES and axis != "train"]
    if trained and (train == BASE or (isinstance(train, list) and BASE in train)):
        own = f"give `train: {BASE}` a separate entry"
        yield (
            (*here, "train"),
            f"`{dotted(here)}` names `train: {BASE}` and a {WORDS[trained[0]]}: an untrained model has none",
            own if here[0] == "design" else f"take `{trained[0] if train == BASE else BASE}` out",
        )


def _off_axis(value: Any, axis: str, here: Location, values: Mapping[str, Any], layout: Layout) -> Iterator[Found]:
    """A fault if a value is not on its axis of the design."""
    if axis == "train" and value == BASE:
        if layout.base is False:
            yield here, f"`{dotted(here)}`: `{BASE}` is not evaluated, since `design.base` is false", "`base: true`"
        return
    for location, message, hint in not_in_design(value, axis, here, layout):
        if axis == "checkpoint" and (wrong := share_fault(str(value))) is not None:
            hint = f"{wrong[1]}; `design.checkpoints` has what can be named here"
        elif axis == "benchmark" and value in table_at(table_at(values, "measure"), "pool"):
            hint = "it is a pool of `measure`: name its benchmarks"
        yield location, message, hint


def not_in_design(value: Any, axis: str, here: Location, layout: Layout) -> Iterator[Found]:
    """A fault if a value is not in its list of the design."""
    known, key = layout.axes[axis], AXES[axis]
    if known is None or value in known:
        return
    hint = known_names(value, known, f"`design.{key}`")
    yield here, f"`{dotted(here)}`: {WORDS[axis]} `{value}` is not in `design.{key}`", hint


def _idle(layout: Layout, grid: Grid) -> Iterator[Found]:
    """Entries of `only` and `except` without which the design has the same cells."""
    only, leave_out = layout.only or (), layout.leave_out
    left = grid.kept(layout.only, [])
    removed = [grid.matched(entry) for entry in leave_out]
    gone = _union(removed)
    kept = [grid.matched(entry) for entry in only]
    for index in sorted(_covered(kept)):
        yield (
            ("design", "only", index),
            f"`design.only.{index}` keeps no cell that the other entries do not keep",
            "take it out, or change it",
        )
    for index, bits in enumerate(kept):
        if bits and not bits & ~gone:
            wrong = f"`design.only.{index}` keeps nothing: `design.except` leaves out every cell that it matches"
            yield ("design", "only", index), wrong, "take it out, or change `except`"
    covered = _covered([bits & left for bits in removed])
    for index, bits in enumerate(removed):
        if bits and not bits & left:
            wrong = f"`design.except.{index}` leaves nothing out: `design.only` keeps no cell that it matches"
            yield ("design", "except", index), wrong, "take it out, or change `only`"
        elif index in covered:
            wrong = f"`design.except.{index}` leaves out no cell that the other entries do not leave out"
            yield ("design", "except", index), wrong, "take it out, or change it"


def _covered(several: Sequence[int]) -> set[int]:
    """The entries with cells, all of which others have: of two equal ones the later."""
    out: set[int] = set()
    for order in (range(len(several)), range(len(several) - 1, -1, -1)):
        before = 0
        for index in order:
            bits = several[index]
            if bits and index not in out:
                if not bits & ~before:
                    out.add(index)
                before |= bits
    return out


def _union(several: Sequence[int]) -> int:
    out = 0
    for bits in several:
        out |= bits
    return out


def _emptied(layout: Layout, grid: Grid, kept: int) -> Iterator[Found]:
    """Values of the design that `only` and `except` leave no cell with."""
    rules = [key for key, entries in (("only", layout.only), ("except", layout.leave_out)) if entries]
    if not rules:
        return
    told = " and ".join(f"`{key}`" for key in rules)
    leave = "leave" if len(rules) > 1 else "leaves"
    here: Location = ("design", rules[0])
    base = kept & grid.untrained
    if not kept:
        yield here, f"`design` has no cell left: {told} {leave} none", "change an entry"
        return
    if layout.base and not base:
        wrong = f"{told} {leave} no cell of an untrained model, and `design.base` is true"
        yield ("design", "base"), wrong, "`base: false`, or keep some of them"
    if kept == base:
        yield here, f"{told} {leave} no cell of a trained checkpoint", "change an entry"
        return
    for axis in ORDER:
        several = set(grid.values_of(kept & ~base if axis in TRAINED_AXES else kept, axis))
        for index, value in enumerate(layout.axes[axis] or ()):
            if value not in several:
                key = AXES[axis]
                yield (
                    ("design", key, index),
                    f"`design.{key}` names `{value}`, and {told} {leave} no cell with it",
                    f"take it out of `{key}`, or keep a cell with it",
                )


def _variants(values: Mapping[str, Any]) -> Iterator[Found]:
    """Faults of `design.variants`: names that are not declared, and one twice."""
    declared = table_at(table_at(values, "train"), "variants")
    refused = values.get("train") is REFUSED or table_at(values, "train").get("variants") is REFUSED
    before: set[str] = set()
    for index, name in enumerate(list_at(table_at(values, "design"), "variants")):
        here: Location = ("design", "variants", index)
        if not isinstance(name, str):
            continue
        if name in before:
            yield here, f"`design.variants` names `{name}` twice", "remove one"
        elif name != DEFAULT_VARIANT and name not in declared and not refused:
            hint = known_names(name, [DEFAULT_VARIANT, *declared], "`default` and those under `train.variants`")
            yield here, f"`design.variants.{index}`: variant `{name}` is not declared", hint
        before.add(name)
