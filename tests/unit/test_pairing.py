"""Comparisons in designs with holes: which cells are partners, and that numbers are those counted by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from its.metrics.cells import Cell, pair_row, pooled
from its.metrics.chosen_pair import selection_rows
from its.metrics.comparisons import (
    Compared,
    Sides,
    block_rows,
    comparison_rows,
    efficiencies,
    pair_rows,
    table_tests,
    tables_of,
)
from its.metrics.curves import curve_rows
from its.metrics.pairing import AXES, match, paired_axes
from its.results import Block, NotPossible, Role
from its.seeds import derive_seed

VALUES: dict[str, tuple[Any, ...]] = {
    "model": ("m", "k"),
    "dataset": ("d", "e"),
    "train": ("none", "random", "noisy"),
    "variant": ("default", "lora"),
    "seed": (1, 2),
    "checkpoint": ("last", "1/3"),
    "test": ("none", "random"),
}
LETTER = {"none": "N", "random": "X", "noisy": "C"}
PROBLEMS = 7


def made(
    values: Mapping[str, Any], *, benchmark: str = "b", role: Role = "report", n: int = 4, rate: float | None = None
) -> Cell:
    """A cell with counts that depend on its values alone."""
    trained = values["train"] is not None
    names = [str(value) for value in values.values() if value is not None]
    generator = np.random.default_rng(derive_seed(3, benchmark, *names))
    correct = generator.binomial(n, generator.random(PROBLEMS) if rate is None else rate, size=PROBLEMS)
    tokens = generator.integers(20, 400, size=PROBLEMS)
    block: Any = LETTER[values["train"]] + LETTER[values["test"]] if trained else "base"
    return Cell(
        "-".join(names) if trained else f"{values['model']}-base",
        values["model"],
        values["dataset"] if trained else None,
        values["train"],
        values["seed"] if trained else None,
        benchmark,
        role,
        values["test"],
        block,
        n,
        [f"p{i}" for i in range(PROBLEMS)],
        correct,
        tokens,
        tokens // 2,
        tokens,
        variant=values["variant"] if trained else "default",
        saved_at=values["checkpoint"] if trained else "last",
    )


TRAINED = [dict(zip(VALUES, found, strict=True)) for found in product(*VALUES.values())]
BASE = [dict.fromkeys(VALUES) | {"model": model, "test": test} for model in VALUES["model"] for test in VALUES["test"]]
EVERY = [made(values) for values in [*BASE, *TRAINED]]


def _rows(of: Sequence[Cell], against: Sequence[Cell], axes: Sequence[str]) -> tuple[dict[Any, np.ndarray], set[int]]:
    """By hand: training seed -> the mean over combinations of the paired axes, and the cells that took part."""
    choices = [(*VALUES[axis], *([None] if axis not in ("model", "test") else [])) for axis in axes]
    rows: dict[Any, list[np.ndarray]] = {}
    taken: set[int] = set()

    def fits(cell: Cell, wanted: Mapping[str, Any]) -> bool:
        if cell.train is None and "train" not in axes:
            wanted = {axis: value for axis, value in wanted.items() if axis in ("model", "test")}
        return all(AXES[axis](cell) == value for axis, value in wanted.items())

    free = any(cell.train is not None for cell in [*of, *against])
    for values in product(*choices):
        wanted = dict(zip(axes, values, strict=True))
        sides = [[cell for cell in side if fits(cell, wanted)] for side in (of, against)]
        here = [cell for side in sides for cell in side]
        if not all(sides) or ("train" not in axes and free and all(cell.train is None for cell in here)):
            continue
        taken |= {id(cell) for cell in here}
        first, second = (np.mean([cell.means_P for cell in side], axis=0) for side in sides)
        rows.setdefault(wanted.get("seed"), []).append(first - second)
    base = rows.pop(None, [])  # without a seed: with each
    rows = {seed: [*several, *base] for seed, several in rows.items()} or ({None: base} if base else {})
    return {seed: np.mean(several, axis=0) for seed, several in rows.items()}, taken


def _selected(cells: Sequence[Cell], side: Mapping[str, Sequence[Any]]) -> list[Cell]:
    def value(axis: str, cell: Cell) -> Any:
        found = AXES[axis](cell)
        return "base" if axis == "train" and found is None else found

    named = [axis for axis in side if axis not in ("model", "test")]
    return [
        cell
        for cell in cells
        if all(value(axis, cell) in wanted for axis, wanted in side.items())
        and (cell.train is not None or not named or "base" in side.get("train", ()))
    ]


def _compared(cells: Sequence[Cell], *wanted: Sides) -> tuple[dict[str, Compared], list[NotPossible]]:
    found, not_possible = comparison_rows("b", cells, wanted, lambda *parts: derive_seed(1, *parts), 100)
    return {item.contrast.name: item for item in found}, not_possible


KEPT = st.tuples(st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.4, 0.9, 1.0])).map(
    lambda drawn: [
        cell
        for cell, place in zip(EVERY, np.random.default_rng(drawn[0]).random(len(EVERY)), strict=True)
        if place < drawn[1]
    ]
)
"""Designs from a few cells to a full product."""
SIDES = st.dictionaries(st.sampled_from(list(VALUES)), st.integers(0, 2), max_size=3).map(
    lambda chosen: {
        axis: [(*VALUES[axis], *(["base"] if axis == "train" else []))[place % (len(VALUES[axis]) + (axis == "train"))]]
        for axis, place in chosen.items()
    }
)


@settings(deadline=None, max_examples=60)
@given(KEPT, SIDES, SIDES)
def test_a_contrast_is_the_mean_over_partners_counted_by_hand(
    cells: list[Cell], of: dict[str, list[Any]], against: dict[str, list[Any]]
) -> None:
    sides = Sides("named", _selected(cells, of), _selected(cells, against), of, against)
    if {id(cell) for cell in sides.of} & {id(cell) for cell in sides.against}:
        return
    found, not_possible = _compared(cells, sides)
    rows, taken = _rows(sides.of, sides.against, paired_axes(of, against))
    if not rows:
        (reason,) = [row.reason for row in not_possible if row.name == "named"]
        assert reason.startswith("no cell") and "named" not in found
        return
    item = found["named"]
    assert item.contrast.difference == pytest.approx(float(np.mean(list(rows.values()))), abs=1e-12)
    assert item.contrast.seeds == len(rows)
    assert item.unmatched == len(sides.of) + len(sides.against) - len(taken)
    assert len(item.of) + len(item.against) == len(taken)


@settings(deadline=None, max_examples=40)
@given(KEPT)
def test_planned_comparisons_never_mix_models_datasets_variants_or_seeds(cells: list[Cell]) -> None:
    found, not_possible = _compared(cells)
    last = [cell for cell in cells if cell.is_last]
    for name, blocks in {"XX - NN": ("XX", "NN"), "XX - NX": ("XX", "NX"), "XX - XN": ("XX", "XN")}.items():
        of, against = ([cell for cell in last if cell.block == block] for block in blocks)
        rows, taken = _rows(of, against, ["model", "dataset", "variant", "seed"])
        if rows:
            assert found[name].contrast.difference == pytest.approx(float(np.mean(list(rows.values()))), abs=1e-12)
            assert found[name].unmatched == len(of) + len(against) - len(taken)
        else:
            assert name not in found
            assert (name in {row.name for row in not_possible}) == bool(of and against)
    trained, base = [c for c in last if c.train is not None], [c for c in last if c.train is None]
    rows, _ = _rows(trained, base, ["model", "dataset", "variant", "seed", "test"]) if trained else ({}, set())
    if rows:
        difference = found["trained - base"].contrast.difference
        assert difference == pytest.approx(float(np.mean(list(rows.values()))), abs=1e-12)
    assert all(cell.is_last for item in found.values() for cell in [*item.of, *item.against])
    tokens = efficiencies(cells, {name: item.contrast for name, item in found.items()}, lambda *_: 1, 100)
    assert [row.name for row in tokens] == [name for name in found if not name.startswith("co-design")]
    block_rows(cells), pair_rows(cells), curve_rows(cells, {("d", "none"): 10, ("e", "none"): 20})


def test_a_block_that_one_model_lacks_is_not_compared_with_the_other_model() -> None:
    """XX only of the good model: against NN of both it would gain what the models differ by."""
    wanted = {"dataset": "d", "variant": "default", "seed": 1, "checkpoint": "last"}
    rates = {("m", "none"): 0.9, ("m", "random"): 0.9, ("k", "none"): 0.1}
    cells = [
        made({"model": model, **wanted, "train": train, "test": train}, rate=rate)
        for (model, train), rate in rates.items()
    ]
    item = _compared(cells)[0]["XX - NN"]
    difference = float(np.mean(cells[1].means_P - cells[0].means_P))
    assert item.contrast.difference == pytest.approx(difference) and item.unmatched == 1
    assert abs(difference) < 0.3


def test_base_is_paired_by_test_strategy() -> None:
    """Trained only under one test strategy: base under the other one is no partner."""
    cells = [cell for cell in EVERY if cell.model == "m" and (cell.train is None or cell.block == "XX")]
    item = _compared(cells)[0]["trained - base"]
    assert [cell.checkpoint for cell in item.against] == ["m-base"] and item.unmatched == 1
    assert item.against[0].test == "random"


def test_blocks_without_a_partner_are_named_and_not_compared() -> None:
    cells = [c for c in EVERY if (c.model, c.block) in {("m", "XX"), ("k", "NN")}]
    found, not_possible = _compared(cells)
    assert not found
    (row,) = not_possible
    assert (row.name, row.reason) == ("XX - NN", "no cells of XX and NN have the same model, dataset, variant and seed")


@pytest.mark.parametrize(
    ("of", "against", "reason"),
    [
        ({"dataset": ["x"]}, {"dataset": ["e"]}, "no cell matches `of`"),
        ({"dataset": ["x"]}, {"dataset": ["y"]}, "no cell matches `of` and `against`"),
        ({"train": ["none"]}, {"train": ["none"]}, "both sides have the same cells"),
        ({"model": ["m"], "test": ["none"]}, {"model": ["k"], "test": ["random"]}, None),
    ],
)
def test_a_contrast_that_is_not_possible_says_why(of: Any, against: Any, reason: str | None) -> None:
    sides = Sides("named", _selected(EVERY, of), _selected(EVERY, against), of, against)
    found, not_possible = _compared(EVERY, sides)
    assert [row.reason for row in not_possible] == ([] if reason is None else [reason])
    assert ("named" in found) == (reason is None)


def test_a_side_of_everything_means_the_others() -> None:
    """`{test: random}` against `{}` is random against the rest; the narrower side keeps its cells."""
    of: dict[str, list[Any]] = {"test": ["random"]}
    item = _compared(EVERY, Sides("one", _selected(EVERY, of), EVERY, of, {}))[0]["one"]
    back = _compared(EVERY, Sides("one", EVERY, _selected(EVERY, of), {}, of))[0]["one"]
    assert {cell.test for cell in item.against} == {"none"} and {cell.test for cell in item.of} == {"random"}
    assert back.contrast.difference == pytest.approx(-item.contrast.difference)


def test_axes_that_both_sides_restrict_alike_are_paired() -> None:
    of: dict[str, list[Any]] = {"dataset": ["d"], "model": ["m", "k"], "seed": [2, 1]}
    against: dict[str, list[Any]] = {"model": ["k", "m"], "seed": [1, 2]}
    assert paired_axes(of, against) == ["model", "train", "variant", "seed", "checkpoint", "test"]
    assert match([[], []], ["model"]).groups == []


def test_one_family_of_contrasts_and_planned_comparisons() -> None:
    """Holm over all of a benchmark, and a minimum detectable difference for all of them."""
    last = [cell for cell in EVERY if cell.is_last]
    of, against = {"dataset": ["d"]}, {"dataset": ["e"]}
    sides = [Sides(name, _selected(last, of), _selected(last, against), of, against) for name in ("one", "two")]
    alone, together = _compared(last)[0], _compared(last, *sides)[0]
    assert len(together) == len(alone) + 2 == 7
    for name, item in alone.items():
        assert together[name].contrast.p_value >= item.contrast.p_value
        assert together[name].contrast.difference == item.contrast.difference
    smallest = min(item.contrast.p_value for item in alone.values())
    again = min(together[name].contrast.p_value for name in alone)
    assert again == pytest.approx(min(1.0, smallest * 7 / 5)) or again <= smallest * 7 / 5


def test_equal_sides_are_rarely_significant_in_any_comparison() -> None:
    """Family-wise error of planned comparisons and contrasts; 200 studies: two standard errors are 3 points."""
    axes: dict[str, tuple[Any, ...]] = {
        "model": ("m",),
        "dataset": ("d", "e"),
        "train": ("none", "random"),
        "variant": ("default", "lora"),
    }
    axes |= {"seed": (1,), "checkpoint": ("last",), "test": ("none", "random")}
    sides: list[tuple[str, dict[str, list[Any]], dict[str, list[Any]]]] = [
        ("size", {"dataset": ["d"]}, {"dataset": ["e"]}),
        ("lora", {"variant": ["lora"]}, {"variant": ["default"]}),
        ("both", {"dataset": ["d"], "variant": ["lora"]}, {"dataset": ["e"], "variant": ["default"]}),
    ]
    generator = np.random.default_rng(12)
    alarms = 0
    for trial in range(200):
        rates = generator.beta(2, 2, size=30)
        cells = []
        for place, values in enumerate(product(*axes.values())):
            if place in (3, 8):  # a design with holes
                continue
            cell = made(dict(zip(axes, values, strict=True)))
            cell.problem_ids, cell.correct_P = [str(i) for i in range(30)], generator.binomial(4, rates)
            cells.append(cell)
        wanted = [Sides(name, _selected(cells, of), _selected(cells, to), of, to) for name, of, to in sides]
        found, _ = comparison_rows("b", cells, wanted, lambda *_, trial=trial: trial, 200)
        assert len(found) == 7
        alarms += any(item.contrast.significant for item in found)
    assert alarms / 200 <= 0.08


def test_pairs_of_cells_are_compared_over_the_seeds_that_both_have() -> None:
    wanted = {"model": "m", "dataset": "d", "variant": "default", "checkpoint": "last", "test": "none"}
    cells = [
        made({**wanted, "train": train, "seed": seed}) for train, seed in (("none", 1), ("none", 2), ("random", 2))
    ]
    (test,), not_possible = table_tests(cells, lambda *_: 1, 100)
    assert test.seeds == [2] and not not_possible
    assert test.difference == pytest.approx(float(np.mean(cells[1].means_P - cells[2].means_P)))
    tests, (row,) = table_tests([cells[0], cells[2]], lambda *_: 1, 100)
    assert not tests
    assert (row.kind, row.name) == ("cells", "m-d: none/none - random/none")


def test_each_variant_is_its_own_table_with_base_in_each() -> None:
    cells = [cell for cell in EVERY if cell.model == "m"]
    tables = tables_of(cells)
    assert [(table[-1].dataset, table[-1].variant) for table in tables] == [
        ("d", "default"),
        ("d", "lora"),
        ("e", "default"),
        ("e", "lora"),
    ]
    assert all(table[0].train is None and all(cell.is_last for cell in table) for table in tables)
    tests, _ = table_tests(cells, lambda *_: 1, 100)
    assert {(test.dataset, test.variant) for test in tests} == {
        ("d", "default"),
        ("d", "lora"),
        ("e", "default"),
        ("e", "lora"),
    }


def test_controls_are_blocks_of_their_own() -> None:
    rows = {row.block: row for row in block_rows(EVERY)}
    assert {"base", "NN", "NX", "XN", "XX", "CN", "CX"} == set(rows)
    assert rows["XX"].cells == 16 and rows["CX"].cells == 16
    found, _ = _compared(EVERY)
    for name, item in found.items():
        controls = [cell for cell in [*item.of, *item.against] if cell.train == "noisy"]
        assert bool(controls) == (name == "trained - base")


ROLES: dict[str, Role] = {"easy": "select", "hard": "select", "paper": "report"}


def _pair(train: str, test: str, benchmark: str, role: Role) -> Cell:
    values = {"model": "m", "dataset": "d", "train": train, "variant": "default", "seed": 1, "checkpoint": "last"}
    return made({**values, "test": test}, benchmark=benchmark, role=role)


def test_a_pair_is_chosen_among_those_that_all_benchmarks_have() -> None:
    cells = [
        _pair(train, test, benchmark, role)
        for benchmark, role in ROLES.items()
        for train in ("none", "random")
        for test in ("none", "random")
        if (train, test, benchmark) not in {("none", "none", "paper"), ("random", "random", "hard")}
    ]
    (choice,), not_possible = selection_rows(cells)
    assert choice.pairs == 2 and choice.left_out == ["none/none", "random/random"] and not not_possible
    assert f"{choice.train}/{choice.test}" in ("none/random", "random/none")
    none = [cell for cell in cells if cell.pair not in ("none/random", "random/none") or cell.benchmark == "easy"]
    assert selection_rows([*none, *(c for c in cells if c.benchmark == "paper" and c.pair == "none/random")])[0] == []
    rest = [c for c in cells if (c.benchmark, c.pair) in {("easy", "none/none"), ("paper", "none/random")}]
    chosen, (row,) = selection_rows(rest)
    assert not chosen and (row.kind, row.name, row.benchmark) == ("choice", "m-d", None)


def test_a_pool_replaces_its_benchmarks_in_the_choice() -> None:
    cells = [
        _pair(train, test, benchmark, role)
        for benchmark, role in ROLES.items()
        for train in ("none", "random")
        for test in ("none", "random")
    ]
    pools = [pooled("both", [one, other]) for one, other in zip(cells[:4], cells[4:8], strict=True)]
    (choice,), _ = selection_rows([*cells, *pools])
    assert choice.select.benchmarks == ["both"] and choice.select.problems == 2 * PROBLEMS
    best = max(pools, key=lambda cell: float(cell.means_P.mean()))
    assert (choice.train, choice.test, choice.select.avg) == (best.train, best.test, float(best.means_P.mean()))


def test_pooled_cells_need_one_n() -> None:
    one = made(TRAINED[0])
    with pytest.raises(ValueError, match="pool `both` have n = 4, 2"):
        pooled("both", [one, made(TRAINED[0], n=2)])


def test_the_spread_is_over_checkpoints_of_the_second_half_that_every_seed_has() -> None:
    values = {"model": "m", "dataset": "d", "train": "none", "variant": "default", "test": "none"}

    def at(checkpoint: str, seed: int) -> Cell:
        return made({**values, "seed": seed, "checkpoint": checkpoint})

    last = [at("last", 1), at("last", 2)]
    assert pair_row(last).over_checkpoints is None
    earlier = [at(checkpoint, seed) for checkpoint in ("1/3", "1/2", "9/10") for seed in (1, 2)]
    found = pair_row(last, [*earlier[::-1], at("3/4", 1)]).over_checkpoints
    assert found is not None and found.checkpoints == ["1/2", "9/10", "last"]
    means = [float(np.mean([one.means_P, two.means_P])) for one, two in (earlier[2:4], earlier[4:], last)]
    assert (found.lowest, found.highest) == (min(means), max(means))
    (row,) = pair_rows([*last, *earlier])
    assert row.over_checkpoints == found


def test_curves_are_ordered_and_over_common_seeds() -> None:
    values = {"model": "m", "train": "none", "variant": "default", "test": "none"}
    cells = []
    for dataset, seed, checkpoint in product("de", (1, 2), ("last", "2/3", "1/10")):
        if (dataset, seed, checkpoint) != ("d", 2, "2/3"):
            cell = made({**values, "dataset": dataset, "seed": seed, "checkpoint": checkpoint})
            cell.maj_P = {4: [0.5] * PROBLEMS, 1: [0.25] * PROBLEMS}
            cells.append(cell)
    found = {(row.axis, row.dataset): row for row in curve_rows(cells, {("d", "none"): 900, ("e", "none"): 100})}
    assert set(found) == {("checkpoint", "d"), ("checkpoint", "e"), ("rows", None), ("k", "d"), ("k", "e")}
    assert [(p.at, p.label, p.seeds) for p in found["checkpoint", "d"].points] == [
        (0.1, "1/10", [1]),
        (pytest.approx(2 / 3), "2/3", [1]),
        (1.0, "last", [1]),
    ]
    assert [p.seeds for p in found["checkpoint", "e"].points] == [[1, 2]] * 3
    assert [(p.at, p.label) for p in found["rows", None].points] == [(100, "e"), (900, "d")]
    assert [(p.at, p.label, p.avg) for p in found["k", "d"].points] == [(1, "maj@1", 0.25), (4, "maj@4", 0.5)]
    own = [cell.means_P for cell in cells if (cell.dataset, cell.saved_at) == ("e", "last")]
    assert found["checkpoint", "e"].points[-1].avg == pytest.approx(float(np.mean(own)))
    assert all(p.low <= p.avg <= p.high for row in found.values() for p in row.points)
    same = curve_rows(cells, {("d", "none"): 100, ("e", "none"): 100})
    assert not [row for row in same if row.axis == "rows"], "one size is no curve"


def test_blocks_are_names_of_the_results() -> None:
    assert {one + other for one in "NXC" for other in "NXC"} | {"base"} == set(get_args(Block))
