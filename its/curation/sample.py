"""Seeded samples that are nested: a larger one contains every smaller one of the same seed."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping

from its.errors import DataError
from its.recipe.schema import Sample
from its.shown import counted
from its.types import Problem

_Ranked = tuple[int, int, Problem]  # minus the rank (the worst of a heap is its least), the place, the problem


def sampled(problems: Iterable[Problem], declared: Sample, name: str) -> Iterator[Problem]:
    """Yield a sample in order of the source; holds no more than `size` problems, of each stratum at most.

    Problems are ranked by a hash of the seed and their id. With `stratify_by` the strata take turns so that among the
    first n each has its share of n, rounded up or down, for every n.

    Args:
        problems: in order of the source.
        declared: size, seed and strata.
        name: of the set, for errors.

    Raises:
        DataError: if there are fewer problems than `size`, or one has no value to be stratified by.
    """
    heaps: dict[str, list[_Ranked]] = {}
    sizes: dict[str, int] = {}
    for place, problem in enumerate(problems):
        stratum = _stratum(problem, declared.stratify_by)
        sizes[stratum] = sizes.get(stratum, 0) + 1
        heap = heaps.setdefault(stratum, [])
        ranked = (-_rank(declared.seed, problem.problem_id), place, problem)
        if len(heap) < declared.size:
            heapq.heappush(heap, ranked)
        elif ranked > heap[0]:
            heapq.heapreplace(heap, ranked)
    total = sum(sizes.values())
    if total < declared.size:
        raise DataError(
            f"`{name}` has {counted(total, 'problem')} left to sample from; `sample.size` is {declared.size}",
            "ask for fewer or loosen the filters",
        )
    taken = shares(sizes, declared.size)
    chosen = [ranked for stratum, heap in heaps.items() for ranked in heapq.nlargest(taken[stratum], heap)]
    yield from (problem for _, _, problem in sorted(chosen, key=lambda ranked: ranked[1]))


def shares(sizes: Mapping[str, int], size: int) -> dict[str, int]:
    """How many of the first `size` of a ranking come from each stratum; growing `size` by one adds one to one of them.

    Each is the stratum's exact share, rounded up or down. Largest remainders give the same bounds, but there a larger
    sample can take fewer of a stratum. Here turns are given out one by one: a stratum may take its next when its share
    has reached it, and of those that may, the one goes first whose share will be full soonest.

    Args:
        sizes: problems of each stratum.
        size: at most their sum.
    """
    total = sum(sizes.values())
    taken = dict.fromkeys(sizes, 0)
    waiting = [(1, stratum) for stratum in sizes]  # from which turn on
    heapq.heapify(waiting)
    ready: list[tuple[int, str]] = []  # by which turn at the latest
    for turn in range(1, size + 1):
        while waiting and waiting[0][0] <= turn:
            _, stratum = heapq.heappop(waiting)
            heapq.heappush(ready, (-(-(taken[stratum] + 1) * total // sizes[stratum]), stratum))
        _, stratum = heapq.heappop(ready)
        taken[stratum] += 1
        if taken[stratum] < sizes[stratum]:
            heapq.heappush(waiting, (taken[stratum] * total // sizes[stratum] + 1, stratum))
    return taken


def _rank(seed: int, problem_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\x1f{problem_id}".encode()).digest())


def _stratum(problem: Problem, stratify_by: str | None) -> str:
    if stratify_by is None:
        return ""
    if stratify_by == "source":
        return problem.source
    if stratify_by not in problem.meta:
        raise DataError(
            f"{problem.row or problem.problem_id}: no `meta.{stratify_by}`, which `sample.stratify_by` names",
            f"map it: `fields: {{meta: {{{stratify_by}: ...}}}}`",
        )
    return json.dumps(problem.meta[stratify_by], sort_keys=True)
