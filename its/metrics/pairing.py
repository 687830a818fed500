"""Which cells of the sides of a comparison are compared: those that have a partner on every other side.

A design need not be a full product. Two blocks whose cells come from different models differ by the models, too, so a
cell without a partner is left out; where nothing is missing, nothing is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from its.metrics.cells import Cell
from its.metrics.compare import paired

AXES: dict[str, Callable[[Cell], Any]] = {
    "model": lambda cell: cell.model,
    "dataset": lambda cell: cell.dataset,
    "train": lambda cell: cell.train,
    "variant": lambda cell: None if cell.train is None else cell.variant,
    "seed": lambda cell: cell.seed,
    "checkpoint": lambda cell: None if cell.train is None else cell.saved_at,
    "test": lambda cell: cell.test,
}
"""Axis of the design, without the benchmark -> a cell's value on it; None on those of a training for base."""
_SHARED_BY_BASE = ("model", "test")
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Group:
    """Cells that are partners: those of each side, in the order of the sides. None is empty."""

    seed: int | None
    sides: tuple[list[Cell], ...]


@dataclass(frozen=True)
class Match:
    """The groups of a comparison, and how many cells have no partner."""

    groups: list[Group]
    unmatched: int

    def cells(self, *sides: int) -> list[Cell]:
        """The cells that take part on some of the sides, each once."""
        found = {id(cell): cell for group in self.groups for side in sides for cell in group.sides[side]}
        return list(found.values())

    def by_seed(self) -> Iterator[Match]:
        """The groups of each training seed, and in each those of base alone: one row of a contrast over seeds."""
        seeds: list[int | None] = [*dict.fromkeys(group.seed for group in self.groups if group.seed is not None)]
        for seed in seeds or [None]:
            yield Match([group for group in self.groups if group.seed in (None, seed)], 0)

    def means(self, side: int, what: str) -> dict[str, float]:
        """The mean of a value by problem over the cells of a side, each group weighing the same.

        Raises:
            DataError: if cells have different problems.
        """
        several = [group.sides[side] for group in self.groups]
        flat = [cell for cells in several for cell in cells]
        if len({len(cells) for cells in several}) == 1:
            times = Counter(id(cell) for cell in flat)
            # A base cell is the partner of many. Once each is the same mean, to the last digit.
            return cell_means(unique(flat) if len(set(times.values())) == 1 else flat, what)
        means = [cell_means(cells, what) for cells in several]
        for cells, mean in zip(several[1:], means[1:], strict=True):
            paired(means[0], mean, several[0][0].checkpoint, cells[0].checkpoint)
        return {problem_id: fmean(mean[problem_id] for mean in means) for problem_id in means[0]}


def match(sides: Sequence[Sequence[Cell]], axes: Sequence[str]) -> Match:
    """Group the cells of all sides by their values on some axes; a group that lacks a side is left out.

    Base has no dataset, variant, seed or checkpoint: it is the partner of all of them, unless `train` is among the
    axes, where it is only its own.

    Args:
        sides: cells of one benchmark.
        axes: names of `AXES` on which partners agree.
    """
    free = "train" not in axes
    shared = [axis for axis in axes if axis in _SHARED_BY_BASE]
    trained: list[dict[Key, list[Cell]]] = []
    base: list[dict[Key, list[Cell]]] = []
    for side in sides:
        trained.append({})
        base.append({})
        for cell in side:
            if free and cell.train is None:
                base[-1].setdefault(_key(cell, shared), []).append(cell)
            else:
                trained[-1].setdefault(_key(cell, axes), []).append(cell)
    keys = list(dict.fromkeys(key for side in trained for key in side))
    if not keys:  # base on every side
        trained, base, shared, axes = base, [{} for _ in sides], [], shared
        keys = list(dict.fromkeys(key for side in trained for key in side))
    groups = []
    for key in keys:
        values = dict(zip(axes, key, strict=True))
        reduced = tuple(values[axis] for axis in shared)
        found = tuple(
            [*of_base.get(reduced, ()), *own.get(key, ())] for of_base, own in zip(base, trained, strict=True)
        )
        if all(found):
            groups.append(Group(values.get("seed"), found))
    taken = {id(cell) for group in groups for side in group.sides for cell in side}
    return Match(groups, len({id(cell) for side in sides for cell in side} - taken))


def paired_axes(of: Mapping[str, Sequence[Any]], against: Mapping[str, Sequence[Any]]) -> list[str]:
    """The axes on which two sides of a contrast do not differ: neither names it, or both name the same values.

    Args:
        of: axis -> the values that the side names.
    """
    return [axis for axis in AXES if set(of.get(axis, ())) == set(against.get(axis, ()))]


def cell_means(cells: Sequence[Cell], what: str) -> dict[str, float]:
    """The mean over cells of a value by problem.

    Raises:
        DataError: if a cell lacks a problem of another.
    """
    values = [getattr(cell, what) for cell in cells]
    for cell, other in zip(cells[1:], values[1:], strict=True):
        paired(values[0], other, cells[0].checkpoint, cell.checkpoint)
    return {problem_id: fmean(value[problem_id] for value in values) for problem_id in values[0]}


def unique(cells: Sequence[Cell]) -> list[Cell]:
    """Each cell once, in order."""
    return list({id(cell): cell for cell in cells}.values())


def _key(cell: Cell, axes: Sequence[str]) -> Key:
    return tuple(AXES[axis](cell) for axis in axes)
