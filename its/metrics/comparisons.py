"""The comparisons of one benchmark: planned ones of blocks, contrasts of the recipe, tokens, all pairs of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from its.metrics.cells import Cell, pair_row
from its.metrics.compare import Contrast, contrast, holm, paired
from its.metrics.efficiency import efficiency, token_contrast
from its.metrics.intervals import mean_interval
from its.metrics.pairing import Match, cell_means, match, paired_axes, unique
from its.metrics.table import compare_pairs
from its.results import Block, BlockResult, CellTest, NotPossible, PairResult, TokenComparison
from its.shown import listed
from its.types import DEFAULT_VARIANT

BLOCKS: tuple[Block, ...] = ("NN", "NX", "XN", "XX")
CONTROLS: tuple[Block, ...] = ("NC", "CN", "XC", "CX", "CC")
CO_DESIGN = "co-design: (XX - XN) - (NX - NN)"
PAIRED_BY = ("model", "dataset", "variant", "seed")
SeedOf = Callable[..., int]
"""Parts that name a computation -> its seed in this study."""


@dataclass(frozen=True)
class Plan:
    """A planned contrast: its name, and the blocks whose sums are treated and control."""

    name: str
    treated: tuple[str, ...]
    control: tuple[str, ...]
    axes: tuple[str, ...] = PAIRED_BY


PLANS = (
    Plan("trained - base", ("trained",), ("base",), (*PAIRED_BY, "test")),
    Plan("XX - NN", ("XX",), ("NN",)),
    Plan("XX - NX", ("XX",), ("NX",)),
    Plan("XX - XN", ("XX",), ("XN",)),
    Plan(CO_DESIGN, ("XX", "NN"), ("XN", "NX")),
)


@dataclass(frozen=True)
class Sides:
    """A contrast of the recipe on one benchmark: the cells of both sides, and what the recipe names of them."""

    name: str
    of: Sequence[Cell]
    against: Sequence[Cell]
    of_values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    against_values: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """A contrast with the cells that take part; `sides` is None for a planned one."""

    contrast: Contrast
    of: list[Cell]
    against: list[Cell]
    unmatched: int
    sides: Sides | None = None


@dataclass(frozen=True)
class _Prepared:
    """A comparison whose cells are grouped: `treated` and `control` are the sides that are added up."""

    name: str
    found: Match
    treated: tuple[int, ...]
    control: tuple[int, ...]
    sides: Sides | None = None

    def values(self, what: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Treated and control, training seed by problem."""
        rows = [self._row(part, what) for part in self.found.by_seed()]
        return np.array([treated for treated, _ in rows]), np.array([control for _, control in rows])

    def _row(self, part: Match, what: str) -> tuple[list[float], list[float]]:
        sums = []
        for sides in (self.treated, self.control):
            means = [part.means(side, what) for side in sides]
            for mean in means[1:]:
                paired(means[0], mean, self.name, self.name)
            sums.append({problem_id: sum(mean[problem_id] for mean in means) for problem_id in means[0]})
        return paired(sums[0], sums[1], f"the first side of {self.name}", "the other")


def block_rows(cells: Sequence[Cell]) -> list[BlockResult]:
    """A row for each block that has cells: its mean over cells and problems, with the interval over problems."""
    out = []
    for name in ("base", *BLOCKS, *CONTROLS):
        own = [cell for cell in cells if cell.block == name and cell.is_last]
        if not own:
            continue
        means = cell_means(own, "by_problem")
        interval = mean_interval(list(means.values()), responses=sum(cell.n for cell in own))
        out.append(
            BlockResult(
                benchmark=own[0].benchmark,
                pool=None if own[0].pool is None else list(own[0].pool),
                block=own[0].block,
                avg=fmean(means.values()),
                low=interval.low,
                high=interval.high,
                interval_method=interval.method,
                problems=len(means),
                cells=len(own),
            )
        )
    return out


def comparison_rows(
    benchmark: str, cells: Sequence[Cell], wanted: Sequence[Sides], seed_of: SeedOf, draws: int
) -> tuple[list[Compared], list[NotPossible]]:
    """The planned contrasts of one benchmark, then those of the recipe, Holm-adjusted together.

    A planned one whose blocks have no cell is left out. One whose cells have no partners (`its.metrics.pairing`), and a
    contrast of the recipe without cells, are in the second list.

    Co-design is the interaction: what a persona at test time does to a model trained with personas, beyond what it does
    to one trained without.

    Raises:
        DataError: if a problem is missing from one of two cells that are compared.
    """
    prepared, not_possible = _planned(benchmark, cells)
    for sides in wanted:
        found = _contrasted(benchmark, sides)
        if isinstance(found, NotPossible):
            not_possible.append(found)
        else:
            prepared.append(found)
    done = []
    for item in prepared:
        treated, control = item.values("by_problem")
        seed = seed_of("contrast", benchmark, item.name)
        limit = float(len(item.treated))
        done.append(
            contrast(item.name, treated, control, seed=seed, draws=draws, comparisons=len(prepared), limit=limit)
        )
    out = [
        Compared(
            adjusted,
            item.found.cells(*item.treated),
            item.found.cells(*item.control),
            item.found.unmatched,
            item.sides,
        )
        for adjusted, item in zip(holm(done), prepared, strict=True)
    ]
    return out, not_possible


def efficiencies(
    cells: Sequence[Cell], accuracies: Mapping[str, Contrast], seed_of: SeedOf, draws: int
) -> list[TokenComparison]:
    """Tokens of the planned contrasts between two blocks, Holm-adjusted together, with the difference in accuracy.

    Args:
        cells: of one benchmark.
        accuracies: name -> the adjusted contrast of accuracy.
    """
    if not cells:
        return []
    benchmark = cells[0].benchmark
    plans = [item for item in _planned(benchmark, cells)[0] if item.name != CO_DESIGN]
    done = []
    for item in plans:
        treated, control = item.values("tokens_by_problem")
        seed = seed_of("tokens", benchmark, item.name)
        done.append(token_contrast(item.name, treated, control, seed=seed, draws=draws, comparisons=len(plans)))
    found = [efficiency(item, accuracies[item.name]) for item in holm(done)]
    return [TokenComparison(benchmark=benchmark, **asdict(item)) for item in found]


def pairs_of(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Pair of strategies -> its cells over the seeds, in the order of the design; of one table and benchmark."""
    out: dict[str, list[Cell]] = {}
    for cell in cells:
        out.setdefault(cell.pair, []).append(cell)
    return out


def tables_of(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of one benchmark as tables, one for each model, dataset and variant, with the model's base in each.

    Only base and last checkpoints.
    """
    out = []
    last = [cell for cell in cells if cell.is_last]
    for model in dict.fromkeys(cell.model for cell in last):
        own = [cell for cell in last if cell.model == model]
        base = [cell for cell in own if cell.train is None]
        tables: dict[tuple[str | None, str], list[Cell]] = {}
        for cell in own:
            if cell.train is not None:
                tables.setdefault((cell.dataset, cell.variant), []).append(cell)
        out += [[*base, *trained] for trained in tables.values()] or [base]
    return out


def table_name(model: str, dataset: str | None, variant: str | None) -> str:
    """`MODEL-DATASET`, with `-VARIANT` for one that is not `default`."""
    return "-".join([model, str(dataset), *([] if variant in (None, DEFAULT_VARIANT) else [str(variant)])])


def pair_rows(cells: Sequence[Cell]) -> list[PairResult]:
    """Every trained pair of one benchmark over its seeds, at the last checkpoint."""
    earlier: dict[tuple[str | None, ...], list[Cell]] = {}
    for cell in cells:
        if not cell.is_last:
            earlier.setdefault((cell.model, cell.dataset, cell.variant, cell.pair), []).append(cell)
    return [
        pair_row(own, earlier.get((own[0].model, own[0].dataset, own[0].variant, own[0].pair), ()))
        for table in tables_of(cells)
        for own in pairs_of([cell for cell in table if cell.train is not None]).values()
    ]


def table_tests(cells: Sequence[Cell], seed_of: SeedOf, draws: int) -> tuple[list[CellTest], list[NotPossible]]:
    """All pairs of trained cells of each table, and each against base under its test strategy, corrected together.

    Two pairs of strategies are compared over the training seeds that both have; those without a common one are in the
    second list.
    """
    out: list[CellTest] = []
    not_possible: list[NotPossible] = []
    for table in tables_of(cells):
        own = pairs_of(table)
        trained = [name for name, members in own.items() if members[0].train is not None]
        pairs = list(combinations(trained, 2))
        pairs += [(name, f"base/{own[name][0].test}") for name in trained if f"base/{own[name][0].test}" in own]
        first = table[0]
        dataset = next((cell.dataset for cell in table if cell.dataset is not None), None)
        variant = next((cell.variant for cell in table if cell.dataset is not None), None)
        problems = {name: cell_means(members, "by_problem") for name, members in own.items()}
        means: dict[tuple[str, tuple[int, ...]], NDArray[np.float64]] = {}
        compared: list[tuple[str, str]] = []
        seeds: list[list[int]] = []
        for one, other in pairs:
            paired(problems[one], problems[other], one, other)
            shared = _shared_seeds(own[one], own[other])
            if not shared:
                what = f"{table_name(first.model, dataset, variant)}: {one} - {other}"
                reason = "no training seed has both"
                not_possible.append(NotPossible(kind="cells", benchmark=first.benchmark, name=what, reason=reason))
                continue
            compared.append((one, other))
            seeds.append(shared)
            for name in (one, other):
                key = name, tuple(shared)
                if key not in means:
                    several = [cell.means_P for cell in own[name] if cell.seed is None or cell.seed in shared]
                    means[key] = np.mean(several, axis=0)
        values = [
            (means[one, tuple(shared)], means[other, tuple(shared)])
            for (one, other), shared in zip(compared, seeds, strict=True)
        ]
        parts = [] if variant in (None, DEFAULT_VARIANT) else [str(variant)]
        seed = seed_of("table", first.benchmark, first.model, str(dataset), *parts)
        tests = compare_pairs(compared, values, seed=seed, draws=draws)
        out += [
            CellTest(
                benchmark=first.benchmark,
                model=first.model,
                dataset=dataset,
                variant=variant,
                seeds=shared,
                **asdict(test),
            )
            for test, shared in zip(tests, seeds, strict=True)
        ]
    return out, not_possible


def _shared_seeds(one: Sequence[Cell], other: Sequence[Cell]) -> list[int]:
    """The training seeds of both, in order; base has all."""
    seeds = [cell.seed for cell in one if cell.seed is not None]
    if any(cell.seed is None for cell in other):
        return seeds
    both = {cell.seed for cell in other}
    return [seed for seed in seeds if seed in both]


def _planned(benchmark: str, cells: Sequence[Cell]) -> tuple[list[_Prepared], list[NotPossible]]:
    """The planned comparisons whose blocks have cells: those that have partners, and the others with the reason."""
    blocks: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.is_last:
            blocks.setdefault(cell.block, []).append(cell)
            if cell.block != "base":
                blocks.setdefault("trained", []).append(cell)
    prepared, not_possible = [], []
    for plan in PLANS:
        names = [*plan.treated, *plan.control]
        if not all(name in blocks for name in names):
            continue
        found = match([blocks[name] for name in names], plan.axes)
        treated = tuple(range(len(plan.treated)))
        if found.groups:
            prepared.append(_Prepared(plan.name, found, treated, tuple(range(len(treated), len(names)))))
        else:
            reason = f"no cells of {listed(names)} have the same {listed(_differing(plan.axes, names))}"
            not_possible.append(NotPossible(kind="comparison", benchmark=benchmark, name=plan.name, reason=reason))
    return prepared, not_possible


def _differing(axes: Sequence[str], blocks: Sequence[str]) -> list[str]:
    """The axes on which partners agree, as they are named in a reason; base has only a model and a test strategy."""
    return [axis for axis in axes if "base" not in blocks or axis in ("model", "test")]


def _contrasted(benchmark: str, sides: Sides) -> _Prepared | NotPossible:
    """A contrast of the recipe, or why it is not possible."""
    of, against = unique(sides.of), unique(sides.against)
    reason = None
    empty = [f"`{name}`" for name, cells in (("of", of), ("against", against)) if not cells]
    if empty:
        reason = f"no cell matches {listed(empty)}"
    axes = paired_axes(sides.of_values, sides.against_values)
    both = {id(cell) for cell in of} & {id(cell) for cell in against}
    if both and reason is None:
        # `{test: random}` against `{}` means the others: a cell on both sides stays on the narrower one.
        sizes = len(of), len(against)
        of = of if sizes[0] < sizes[1] else [cell for cell in of if id(cell) not in both]
        against = against if sizes[1] < sizes[0] else [cell for cell in against if id(cell) not in both]
        if not of or not against:
            reason = "both sides have the same cells"
    if reason is None:
        found = match([of, against], axes)
        if found.groups:
            return _Prepared(sides.name, found, (0,), (1,), sides)
        reason = f"no cell of `of` has a partner in `against` with the same {listed(axes)}"
    return NotPossible(kind="comparison", benchmark=benchmark, name=sides.name, reason=reason)
