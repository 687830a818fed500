"""The cells of a design: as `Selection.matches` says cell by cell, and in a moment however many rules there are."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
from pace import processor_seconds

from its.recipe.cells import ORDER, Grid, design_grid
from its.recipe.schema import AXES, BASE, Design
from its.study.study import Cell, Checkpoint, design_cells

VALUES: dict[str, list[Any]] = {
    "models": ["large", "small"],
    "datasets": ["sums", "more", "most"],
    "train": ["none", "random"],
    "variants": ["default", "lora"],
    "seeds": [1, 2],
    "checkpoints": ["last", "1/3"],
    "benchmarks": ["easy", "hard"],
    "test": ["none", "random", "similar"],
}


def _by_hand(design: Design) -> list[Cell]:
    """The cells one by one, as `Selection.matches` defines them."""
    lists = (design.datasets, design.train, design.variants, design.seeds, design.checkpoints)
    checkpoints = [Checkpoint(model) for model in design.models if design.base]
    for model, (dataset, train, variant, seed, saved_at) in product(design.models, product(*lists)):
        checkpoints.append(Checkpoint(model, dataset, train, seed, variant, saved_at))
    return [
        (checkpoint, benchmark, test)
        for checkpoint, benchmark, test in product(checkpoints, design.benchmarks, design.test)
        if _stays(design, {**checkpoint.axes(), "benchmark": benchmark, "test": test})
    ]


def _stays(design: Design, values: dict[str, Any]) -> bool:
    if any(entry.matches(values) for entry in design.except_ or ()):
        return False
    only = design.only
    if only is not None and values["train"] == BASE:
        only = [entry for entry in only if entry.reaches_base] or None
    return only is None or any(entry.matches(values) for entry in only)


def _entry(rng: random.Random, declared: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for axis, key in AXES.items():
        if rng.random() < 0.35:
            known = [*declared[key], *([BASE] if axis == "train" else []), *(["unknown"] if axis == "test" else [])]
            several = rng.sample(known, rng.randint(1, len(known)))
            out[axis] = several if rng.random() < 0.7 else several[0]
    return out


def drawn_design(rng: random.Random) -> Design:
    """A design of up to two or three values an axis, with entries that need not be sensible."""
    declared: dict[str, Any] = {key: own[: rng.randint(1, len(own))] for key, own in VALUES.items()}
    rules = {key: [_entry(rng, declared) for _ in range(rng.randint(1, 3))] for key in ("only", "except")}
    kept = {key: entries for key, entries in rules.items() if rng.random() < 0.6}
    return Design.model_validate({**declared, "base": rng.random() < 0.6, **kept})


@pytest.mark.parametrize("seed", range(8))
def test_the_cells_are_those_that_the_entries_match_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        design = drawn_design(rng)
        wanted = _by_hand(design)
        assert design_cells(design) == wanted, design
        grid, bits = design_grid(design)
        for axis in ORDER:
            found = [{**item.axes(), "benchmark": benchmark, "test": test}[axis] for item, benchmark, test in wanted]
            several = {value for value in found if value is not None}
            several |= set(grid.values[axis]) if None in found else set()  # base stands at all of them
            assert set(grid.values_of(bits, axis)) == several, (axis, design)


def test_axes_are_taken_out_of_any_size() -> None:
    """Also of sizes that are no power of two: nothing of one value reaches the next."""
    for size in range(1, 20):
        grid = Grid({axis: [0] for axis in ORDER} | {"seed": range(size), "test": range(3)}, base=False)
        for seed, test in product(range(size), range(3)):
            left = grid.without(grid.matched({"seed": [seed], "test": [test]}), ["seed"])
            assert left == grid.matched({"seed": [0], "test": [test]})


def test_a_million_cells_under_two_thousand_entries_take_a_moment() -> None:
    declared = {axis: range(10) for axis in ORDER} | {"variant": range(1), "checkpoint": range(1)}
    grid = Grid(declared, base=False)
    only = [{"model": [place % 10], "train": [place % 9], "test": [place % 7]} for place in range(1_000)]
    with processor_seconds(5):
        bits = grid.kept(only, [{"benchmark": [1], "seed": [place % 10]} for place in range(1_000)])
        assert all(grid.values_of(bits, axis) for axis in ORDER)
        assert sum(1 for _ in grid.cells(bits)) == bits.bit_count() > 50_000
