"""A cell as counts, and its row of `results/cells.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from its.errors import DataError
from its.metrics.bootstrap import ratio_bounds
from its.metrics.intervals import mean_interval, seeds_interval
from its.metrics.rates import all_at_k, g_pass_at_k, pass_at_k
from its.results import Block, CellResult, CheckpointSpread, PairResult, Role
from its.types import DEFAULT_VARIANT, LAST

TAUS = ("0.25", "0.5", "0.75")
"""The tau of G-pass@k; all@k is tau = 1."""
NEAR_END = Fraction(1, 2)
"""Checkpoints from this share of the steps on are near the end."""


@dataclass
class Cell:
    """One cell's responses as counts for each problem, without their texts.

    Arrays are in the order of `problem_ids`. `*_tokens_P` are sums over a problem's n responses; `thinking` is part of
    `completion`. `maj_P` is maj@k of each problem, by k. All else counts responses, but for `equal_samples`, which
    counts problems; `its.results.CellResult` says what. `variant` and `saved_at` mean nothing for base.
    """

    checkpoint: str
    model: str
    dataset: str | None
    train: str | None
    seed: int | None
    benchmark: str
    role: Role
    test: str
    block: Block
    n: int
    problem_ids: Sequence[str]
    correct_P: NDArray[np.int64]
    prompt_tokens_P: NDArray[np.int64]
    thinking_tokens_P: NDArray[np.int64]
    completion_tokens_P: NDArray[np.int64]
    maj_P: dict[int, list[float]] = field(default_factory=dict)
    no_answer: int = 0
    fallback: int = 0
    truncated: int = 0
    loops: int = 0
    errors: int = 0
    equal_samples: int = 0
    grader_errors: int = 0
    grader_version: str = ""
    variant: str = DEFAULT_VARIANT
    saved_at: str = LAST
    pool: Sequence[str] | None = None

    @property
    def is_last(self) -> bool:
        """Whether it is base or the end of its training; blocks, planned comparisons and the choice have only these."""
        return self.train is None or self.saved_at == LAST

    @property
    def steps(self) -> Fraction:
        """The share of its training's steps after which its checkpoint was saved; 1 for the last."""
        return Fraction(1) if self.saved_at == LAST else Fraction(self.saved_at)

    @property
    def means_P(self) -> NDArray[np.float64]:
        """avg@n of each problem."""
        return self.correct_P / self.n

    @property
    def by_problem(self) -> dict[str, float]:
        """avg@n by problem_id."""
        return dict(zip(self.problem_ids, self.means_P.tolist(), strict=True))

    @property
    def tokens_by_problem(self) -> dict[str, float]:
        """Completion tokens of a response, by problem_id."""
        return dict(zip(self.problem_ids, (self.completion_tokens_P / self.n).tolist(), strict=True))

    @property
    def pair(self) -> str:
        """`TRAIN/TEST`, the pair of strategies; `base/TEST` for the untrained model."""
        return f"{self.train or 'base'}/{self.test}"


def check_k(wanted: Mapping[str, Sequence[int]], n: int, benchmarks: Sequence[str]) -> None:
    """Refuse every k that has too few responses.

    Args:
        wanted: metric (pass, all, maj) -> its k.

    Raises:
        DataError: naming all of them; an estimate from fewer responses than k is undefined.
    """
    many = [f"{metric}@{k}" for metric, ks in wanted.items() for k in ks if k > n]
    if many:
        most = max(k for ks in wanted.values() for k in ks)
        raise DataError(
            f"{', '.join(many)} needs at least {most} responses per problem; {', '.join(benchmarks)} has n = {n}",
            f"set `generation.n: {most}` in the recipe, or use k <= {n}",
        )


def cell_rows(
    cells: Sequence[Cell], *, pass_k: Sequence[int], all_k: Sequence[int], seed: int, draws: int
) -> list[CellResult]:
    """The rows of the cells of one benchmark.

    Correct per 1,000 completion tokens is a ratio of sums; its bounds are a bootstrap over problems.
    """
    if not cells:
        return []
    low, high = ratio_bounds(
        np.stack([cell.correct_P for cell in cells], axis=1).astype(np.float64),
        np.stack([cell.completion_tokens_P for cell in cells], axis=1).astype(np.float64),
        seed=seed,
        draws=draws,
    )
    return [
        _row(cell, pass_k, all_k, 1000 * float(low[place]), 1000 * float(high[place]))
        for place, cell in enumerate(cells)
    ]


def _row(cell: Cell, pass_k: Sequence[int], all_k: Sequence[int], low: float, high: float) -> CellResult:
    n, count = cell.n, cell.n * len(cell.problem_ids)
    correct_P = cell.correct_P.tolist()
    interval = mean_interval(cell.means_P, responses=n)
    intervals: dict[str, list[float]] = {}

    def rate(metric: str, k: int, values_P: Sequence[float]) -> float:
        found = mean_interval(np.clip(values_P, 0, 1), responses=max(1.0, n / k))
        intervals[f"{metric}@{k}"] = [found.low, found.high]
        return fmean(values_P)

    maj = {str(k): rate("maj", k, values_P) for k, values_P in cell.maj_P.items()}
    passed = {str(k): rate("pass", k, [pass_at_k(n, c, k) for c in correct_P]) for k in pass_k}
    whole = {str(k): rate("all", k, [all_at_k(n, c, k) for c in correct_P]) for k in all_k}
    parts = {str(k): {tau: fmean(g_pass_at_k(n, c, k, float(tau)) for c in correct_P) for tau in TAUS} for k in all_k}
    last = max(cell.maj_P, default=None)
    tokens = int(cell.completion_tokens_P.sum())
    correct = int(cell.correct_P.sum())
    return CellResult(
        checkpoint=cell.checkpoint,
        model=cell.model,
        dataset=cell.dataset,
        train=cell.train,
        variant=None if cell.train is None else cell.variant,
        seed=cell.seed,
        saved_at=None if cell.train is None else cell.saved_at,
        benchmark=cell.benchmark,
        pool=None if cell.pool is None else list(cell.pool),
        role=cell.role,
        test=cell.test,
        block=cell.block,
        problems=len(cell.problem_ids),
        n=n,
        avg=correct / count,
        low=interval.low,
        high=interval.high,
        interval_method=interval.method,
        correct=correct,
        maj=maj.get(str(last)),
        maj_k=last,
        maj_at_k=maj,
        pass_at_k=passed,
        all_at_k=whole,
        g_pass_at_k=parts,
        intervals=intervals,
        no_answer_rate=cell.no_answer / count,
        fallback_rate=cell.fallback / count,
        truncated_rate=cell.truncated / count,
        loop_rate=cell.loops / count,
        errors=cell.errors,
        equal_samples=cell.equal_samples,
        grader_errors=cell.grader_errors,
        prompt_tokens=int(cell.prompt_tokens_P.sum()) / count,
        thinking_tokens=int(cell.thinking_tokens_P.sum()) / count,
        response_tokens=(tokens - int(cell.thinking_tokens_P.sum())) / count,
        completion_tokens=tokens / count,
        correct_per_1000_tokens=1000 * correct / tokens if tokens else 0.0,
        correct_per_1000_tokens_low=low,
        correct_per_1000_tokens_high=high,
        grader_version=cell.grader_version,
    )


def pooled(name: str, cells: Sequence[Cell]) -> Cell:
    """The cells of one checkpoint and test strategy as one cell, whose problems are those of all: `BENCHMARK/PROBLEM`.

    Problems weigh the same, whichever benchmark they are from.

    Args:
        name: of the pool, the benchmark of the new cell.
        cells: one for each benchmark of the pool, with one n.

    Raises:
        ValueError: if their n differ; a mean over problems would then have another meaning for each.
    """
    first = cells[0]
    if len({cell.n for cell in cells}) != 1:
        raise ValueError(f"the cells of pool `{name}` have n = {', '.join(str(cell.n) for cell in cells)}")
    return replace(
        first,
        benchmark=name,
        pool=[cell.benchmark for cell in cells],
        problem_ids=[f"{cell.benchmark}/{problem_id}" for cell in cells for problem_id in cell.problem_ids],
        correct_P=np.concatenate([cell.correct_P for cell in cells]),
        prompt_tokens_P=np.concatenate([cell.prompt_tokens_P for cell in cells]),
        thinking_tokens_P=np.concatenate([cell.thinking_tokens_P for cell in cells]),
        completion_tokens_P=np.concatenate([cell.completion_tokens_P for cell in cells]),
        maj_P={k: [value for cell in cells for value in cell.maj_P[k]] for k in first.maj_P},
        no_answer=sum(cell.no_answer for cell in cells),
        fallback=sum(cell.fallback for cell in cells),
        truncated=sum(cell.truncated for cell in cells),
        loops=sum(cell.loops for cell in cells),
        errors=sum(cell.errors for cell in cells),
        equal_samples=sum(cell.equal_samples for cell in cells),
        grader_errors=sum(cell.grader_errors for cell in cells),
        grader_version=", ".join(
            dict.fromkeys(version for cell in cells for version in cell.grader_version.split(", ") if version)
        ),
    )


def pair_row(cells: Sequence[Cell], earlier: Sequence[Cell] = ()) -> PairResult:
    """A pair of strategies over its training seeds: the mean, and an interval for other seeds and other problems.

    Args:
        cells: trained ones of one model, dataset, variant, pair and benchmark, one for each seed.
        earlier: cells of earlier checkpoints of the same trainings.
    """
    first = cells[0]
    interval = seeds_interval(np.stack([cell.means_P for cell in cells]), responses=first.n)
    return PairResult(
        model=first.model,
        dataset=str(first.dataset),
        train=str(first.train),
        variant=first.variant,
        test=first.test,
        benchmark=first.benchmark,
        pool=None if first.pool is None else list(first.pool),
        role=first.role,
        block=first.block,
        seeds=[cell.seed for cell in cells if cell.seed is not None],
        problems=len(first.problem_ids),
        n=first.n,
        avg=float(np.mean([cell.means_P for cell in cells])),
        low=interval.low,
        high=interval.high,
        interval_method=interval.method,
        over_checkpoints=_spread(cells, earlier),
    )


def _spread(cells: Sequence[Cell], earlier: Sequence[Cell]) -> CheckpointSpread | None:
    """The range of the mean over checkpoints near the end: those that every seed has."""
    found: dict[str, list[Cell]] = {}
    for cell in sorted(earlier, key=lambda cell: cell.steps):
        if cell.steps >= NEAR_END:
            found.setdefault(cell.saved_at, []).append(cell)
    seeds = {cell.seed for cell in cells}
    whole = {name: own for name, own in found.items() if {cell.seed for cell in own} == seeds}
    if not whole:
        return None
    means = [float(np.mean([cell.means_P for cell in own])) for own in [*whole.values(), cells]]
    return CheckpointSpread(checkpoints=[*whole, LAST], lowest=min(means), highest=max(means))
