"""The check of a contrast and the results agree on which cells have a partner."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from unit.test_cells import drawn_design

from its.metrics.pairing import match, paired_axes
from its.recipe.cells import ORDER, design_grid
from its.recipe.schema import AXES, BASE, TRAINED_AXES, Design, Selection
from its.study.study import design_cells

SIDE_AXES = [axis for axis in ORDER if axis != "benchmark"]


def _side(rng: random.Random, design: Design, axes: list[str]) -> dict[str, Any]:
    out = {}
    for axis in axes:
        known = [*getattr(design, AXES[axis]), *([BASE] if axis == "train" and design.base else [])]
        out[axis] = rng.sample(known, rng.randint(1, len(known)))
    return out


def _cells(design: Design, side: dict[str, Any], benchmark: str) -> list[Any]:
    chosen = Selection.model_validate(side)
    return [
        SimpleNamespace(**vars(checkpoint), test=test)
        for checkpoint, on, test in design_cells(design)
        if on == benchmark and chosen.matches({**checkpoint.axes(), "test": test})
    ]


def test_a_contrast_passes_where_the_results_find_a_pair() -> None:
    rng, compared, without = random.Random(2), 0, 0
    for _ in range(4_000):
        design = drawn_design(rng)
        axes = rng.sample(SIDE_AXES, rng.randint(1, 3))
        others = axes if rng.random() < 0.7 else rng.sample(SIDE_AXES, rng.randint(1, 2))
        of, against = _side(rng, design, axes), _side(rng, design, others)
        if any(BASE in side.get("train", ()) and {*side} & {*TRAINED_AXES} - {"train"} for side in (of, against)):
            continue  # a fault before
        grid, kept = design_grid(design)
        of_bits, against_bits = (kept & grid.matched(side) for side in (of, against))
        if not of_bits or not against_bits or of_bits & against_bits:
            continue  # a fault too
        differing = [axis for axis in ORDER if set(of.get(axis, ())) != set(against.get(axis, ()))]
        common = grid.without(of_bits, differing) & grid.without(against_bits, differing)
        for benchmark in design.benchmarks:
            sides = [_cells(design, side, benchmark) for side in (of, against)]
            pairs = match(sides, paired_axes(of, against)).groups
            assert bool(common & grid.matched({"benchmark": [benchmark]})) == bool(pairs), (design, of, against)
            compared, without = compared + 1, without + (not pairs)
    assert compared > 250 and without > 15
