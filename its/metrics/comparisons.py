"""The planned comparisons of one benchmark: blocks, co-design, tokens, all pairs of cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from its.metrics.cells import Cell, pair_row
from its.metrics.compare import Contrast, contrast, holm, paired
from its.metrics.efficiency import efficiency, token_contrast
from its.metrics.intervals import mean_interval
from its.metrics.table import compare_cells
from its.results import Block, BlockResult, CellTest, PairResult, TokenComparison

BLOCKS: tuple[Block, ...] = ("NN", "NX", "XN", "XX")
CO_DESIGN = "co-design: (XX - XN) - (NX - NN)"
SeedOf = Callable[..., int]
"""Parts that name a computation -> its seed in this study."""


@dataclass(frozen=True)
class Plan:
    """A planned contrast: its name, and the blocks whose sums are treated and control."""

    name: str
    treated: tuple[str, ...]
    control: tuple[str, ...]

    @property
    def blocks(self) -> tuple[str, ...]:
        """All blocks that take part; `trained` stands for four."""
        return tuple(b for name in (*self.treated, *self.control) for b in (BLOCKS if name == "trained" else (name,)))


PLANS = (
    Plan("trained - base", ("trained",), ("base",)),
    Plan("XX - NN", ("XX",), ("NN",)),
    Plan("XX - NX", ("XX",), ("NX",)),
    Plan("XX - XN", ("XX",), ("XN",)),
    Plan(CO_DESIGN, ("XX", "NN"), ("XN", "NX")),
)


def block_rows(cells: Sequence[Cell]) -> list[BlockResult]:
    """A row for each block that has cells: its mean over cells and problems, with the interval over problems."""
    out = []
    for name in ("base", *BLOCKS):
        own = [cell for cell in cells if cell.block == name]
        if not own:
            continue
        means = _means(own, "by_problem")
        interval = mean_interval(list(means.values()), responses=sum(cell.n for cell in own))
        out.append(
            BlockResult(
                benchmark=own[0].benchmark,
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


def planned_contrasts(cells: Sequence[Cell], seed_of: SeedOf, draws: int) -> list[Contrast]:
    """The planned contrasts of one benchmark, Holm-adjusted together; without those whose blocks have no cell.

    Co-design is the interaction: what a persona at test time does to a model trained with personas, beyond what it does
    to one trained without.

    Raises:
        DataError: if a problem is missing from one of two blocks that are compared.
    """
    plans = _possible(cells)
    done = []
    for plan in plans:
        treated, control = _sides(cells, plan, "by_problem")
        seed = seed_of("contrast", cells[0].benchmark, plan.name)
        limit = float(len(plan.treated))
        done.append(contrast(plan.name, treated, control, seed=seed, draws=draws, comparisons=len(plans), limit=limit))
    return holm(done)


def efficiencies(
    cells: Sequence[Cell], accuracies: Mapping[str, Contrast], seed_of: SeedOf, draws: int
) -> list[TokenComparison]:
    """Tokens of the planned contrasts between two blocks, Holm-adjusted together, with the difference in accuracy.

    Args:
        accuracies: name -> the adjusted contrast of accuracy.
    """
    plans = [plan for plan in _possible(cells) if plan.name != CO_DESIGN]
    done = []
    for plan in plans:
        treated, control = _sides(cells, plan, "tokens_by_problem")
        seed = seed_of("tokens", cells[0].benchmark, plan.name)
        done.append(token_contrast(plan.name, treated, control, seed=seed, draws=draws, comparisons=len(plans)))
    found = [efficiency(item, accuracies[item.name]) for item in holm(done)]
    return [TokenComparison(benchmark=cells[0].benchmark, **asdict(item)) for item in found]


def pairs_of(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Pair of strategies -> its cells over the seeds, in the order of the design; of one model and benchmark."""
    out: dict[str, list[Cell]] = {}
    for cell in cells:
        out.setdefault(cell.pair, []).append(cell)
    return out


def tables_of(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of one benchmark as tables, one for each model and dataset, with the model's base in each."""
    out = []
    for model in dict.fromkeys(cell.model for cell in cells):
        own = [cell for cell in cells if cell.model == model]
        base = [cell for cell in own if cell.train is None]
        datasets = list(dict.fromkeys(cell.dataset for cell in own if cell.train is not None))
        out += [[*base, *(c for c in own if c.train is not None and c.dataset == d)] for d in datasets] or [base]
    return out


def pair_rows(cells: Sequence[Cell]) -> list[PairResult]:
    """Every trained pair of one benchmark over its seeds."""
    return [
        pair_row(own)
        for table in tables_of(cells)
        for own in pairs_of([cell for cell in table if cell.train is not None]).values()
    ]


def table_tests(cells: Sequence[Cell], seed_of: SeedOf, draws: int) -> list[CellTest]:
    """All pairs of trained cells of each table, and each against base under its test strategy, corrected together."""
    out = []
    for table in tables_of(cells):
        own = pairs_of(table)
        trained = [name for name, members in own.items() if members[0].train is not None]
        pairs = list(combinations(trained, 2))
        pairs += [(name, f"base/{own[name][0].test}") for name in trained if f"base/{own[name][0].test}" in own]
        first = next(iter(own.values()))[0]
        for one, other in pairs:
            paired(_means(own[one], "by_problem"), _means(own[other], "by_problem"), one, other)
        values = {name: np.mean([cell.means_P for cell in members], axis=0) for name, members in own.items()}
        dataset = next((cell.dataset for cell in table if cell.dataset is not None), None)
        seed = seed_of("table", first.benchmark, first.model, str(dataset))
        out += [
            CellTest(benchmark=first.benchmark, model=first.model, dataset=dataset, **asdict(test))
            for test in compare_cells(values, pairs, seed=seed, draws=draws)
        ]
    return out


def _blocks(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Block -> its cells, for those that have some; `trained` is all but base."""
    out: dict[str, list[Cell]] = {name: [c for c in cells if c.block == name] for name in ("base", *BLOCKS)}
    out["trained"] = [cell for cell in cells if cell.block != "base"]
    return {name: own for name, own in out.items() if own}


def _possible(cells: Sequence[Cell]) -> list[Plan]:
    blocks = _blocks(cells)
    return [plan for plan in PLANS if all(name in blocks for name in (*plan.treated, *plan.control))]


def _sides(cells: Sequence[Cell], plan: Plan, what: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Treated and control, training seed by problem; base, which has no seed, is paired with each."""
    seeds: list[int | None] = [*dict.fromkeys(cell.seed for cell in cells if cell.seed is not None)] or [None]
    found = [_paired_sides([cell for cell in cells if cell.seed in (None, seed)], plan, what) for seed in seeds]
    return np.array([treated for treated, _ in found]), np.array([control for _, control in found])


def _paired_sides(cells: Sequence[Cell], plan: Plan, what: str) -> tuple[list[float], list[float]]:
    blocks = _blocks(cells)
    sides = []
    for names in (plan.treated, plan.control):
        means = [_means(blocks[name], what) for name in names]
        for name, other in zip(names[1:], means[1:], strict=True):
            paired(means[0], other, names[0], name)
        sides.append({problem_id: sum(mean[problem_id] for mean in means) for problem_id in means[0]})
    return paired(sides[0], sides[1], " + ".join(plan.treated), " + ".join(plan.control))


def _means(cells: Sequence[Cell], what: str) -> dict[str, float]:
    """The mean over cells of a value by problem."""
    values = [getattr(cell, what) for cell in cells]
    for cell, other in zip(cells[1:], values[1:], strict=True):
        paired(values[0], other, cells[0].checkpoint, cell.checkpoint)
    return {problem_id: fmean(value[problem_id] for value in values) for problem_id in values[0]}
