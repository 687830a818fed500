"""The cells of a design as bits of one integer, so that a million of them and a thousand rules take a moment.

A cell is a value on each axis; its bit is its place in the product of the axes, the last axis changing fastest. A base
cell has no value on the axes of a training: it stands at all of their values, so that it is beside any trained cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, product
from typing import Any

from its.recipe.schema import BASE, TRAINED_AXES, Design

ORDER = ("model", "dataset", "train", "variant", "seed", "checkpoint", "benchmark", "test")
"""The axes in the order in which a study lists its cells."""
Wanted = Mapping[str, Iterable[Any]]
"""Axis -> the values that are wanted on it; an axis that is not given has all."""


@dataclass(frozen=True)
class Grid:
    """The product of the axes.

    Args:
        values: axis -> its values, each once, for every axis.
        base: whether the untrained models are in it.
    """

    values: Mapping[str, Sequence[Any]]
    base: bool

    @cached_property
    def _places(self) -> dict[str, dict[Any, int]]:
        """Axis -> value -> place on it; base is behind the train strategies, also where it is not evaluated."""
        axes = {axis: list(self.values[axis]) for axis in ORDER}
        axes["train"].append(BASE)
        return {axis: {value: place for place, value in enumerate(own)} for axis, own in axes.items()}

    @cached_property
    def _steps(self) -> dict[str, int]:
        """Axis -> how many bits lie between two of its values that follow each other."""
        sizes = [len(self._places[axis]) for axis in ORDER]
        return {axis: math.prod(sizes[place + 1 :]) for place, axis in enumerate(ORDER)}

    def matched(self, wanted: Wanted) -> int:
        """The bits of the cells that have one of the wanted values on each axis; a value that no axis has is ignored.

        A base cell is among them only if `wanted` names no axis of a training or `base` alone of them, as in
        `Selection.matches`.
        """
        trained = set(wanted) & set(TRAINED_AXES)
        bits = 1
        for axis in reversed(ORDER):
            places, step = self._places[axis], self._steps[axis]
            own = places.keys() if axis not in wanted else wanted[axis]
            at = {places[value] for value in own if value in places}
            if axis == "train" and (not self.base or trained - {"train"}):
                at.discard(places[BASE])
            bits = _repeated(bits, step, len(at)) if at == set(range(len(at))) else _placed(bits, step, at)
        return bits

    def kept(self, only: Sequence[Wanted] | None, leave_out: Sequence[Wanted]) -> int:
        """The bits of the cells that `design.only` and `design.except` leave."""
        bits = self.matched({})
        if only is not None:
            found = [self.matched(entry) for entry in only]
            if not any(reaches_base(entry) for entry in only):
                found.append(self.untrained)
            bits &= _any(found)
        return bits & ~_any(self.matched(entry) for entry in leave_out)

    def without(self, bits: int, axes: Iterable[str]) -> int:
        """The bits with these axes taken out: one bit, at their first values, for all that differ only on them."""
        for axis in axes:
            size, step = len(self._places[axis]), self._steps[axis]
            reach = 1
            while reach * 2 <= size:
                bits |= bits >> step * reach
                reach *= 2
            bits |= bits >> step * (size - reach)
            bits &= self._firsts[axis]
        return bits

    @cached_property
    def _firsts(self) -> dict[str, int]:
        """Axis -> the bits at its first value."""
        out = {}
        for axis in ORDER:
            step, size = self._steps[axis], len(self._places[axis])
            outer = math.prod(len(self._places[other]) for other in ORDER[: ORDER.index(axis)])
            out[axis] = _repeated(_repeated(1, 1, step), step * size, outer)
        return out

    @cached_property
    def untrained(self) -> int:
        """The bits of all base cells."""
        return self.matched({"train": [BASE]})

    def points(self, bits: int, axes: Sequence[str]) -> list[tuple[Any, ...]]:
        """The values on these axes that some of the cells have, in order; `base` is behind the train strategies."""
        flags = self._flags(self.without(bits, [other for other in ORDER if other not in axes]))
        return [
            tuple(value for value, _ in point)
            for point in product(*(self._places[axis].items() for axis in axes))
            if flags[sum(place * self._steps[axis] for axis, (_, place) in zip(axes, point, strict=True))] == "1"
        ]

    def _flags(self, bits: int) -> str:
        """The bits as a text, the first cell first."""
        size = self._steps["model"] * len(self._places["model"])
        return f"{bits:0{size}b}"[::-1]

    def values_of(self, bits: int, axis: str) -> list[Any]:
        """The values of one axis, as `points`."""
        return [value for (value,) in self.points(bits, [axis])]

    def cells(self, bits: int) -> Iterator[tuple[Any, ...]]:
        """The cells, in the order of a study: values in the order of `ORDER`, base first, with None where it has none.

        Each base cell once.
        """
        based = bits & self.untrained
        for model, benchmark, test in self.points(based, ("model", "benchmark", "test")):
            yield model, None, BASE, None, None, None, benchmark, test
        flags = self._flags(bits & ~based)
        yield from compress(product(*(self._places[axis] for axis in ORDER)), map(int, flags))


def reaches_base(wanted: Wanted) -> bool:
    """Whether a base cell can match: as `Selection.reaches_base`."""
    return BASE in wanted["train"] if "train" in wanted else not wanted.keys() & set(TRAINED_AXES)


def design_grid(design: Design) -> tuple[Grid, int]:
    """The product of a design's axes, and the bits of the cells in it."""
    grid = Grid(
        {
            "model": design.models,
            "dataset": design.datasets,
            "train": design.train,
            "variant": design.variants,
            "seed": design.seeds,
            "checkpoint": design.checkpoints,
            "benchmark": design.benchmarks,
            "test": design.test,
        },
        design.base,
    )
    only = None if design.only is None else [entry.given() for entry in design.only]
    return grid, grid.kept(only, [entry.given() for entry in design.except_ or ()])


def _any(several: Iterable[int]) -> int:
    out = 0
    for bits in several:
        out |= bits
    return out


def _repeated(bits: int, step: int, count: int) -> int:
    """The bits `count` times, `step` apart."""
    out, made = 0, 0
    power, reach = bits, 1
    while count:
        if count & 1:
            out |= power << step * made
            made += reach
        count >>= 1
        if count:
            power |= power << step * reach
            reach *= 2
    return out


def _placed(bits: int, step: int, places: Iterable[int]) -> int:
    return _any(bits << step * place for place in places)
