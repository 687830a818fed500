"""One side of a set cut in two, for training and for selection."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from its.curation.duplicates import asked, near_groups
from its.recipe.schema import Split
from its.types import Problem


def one_side(problems: Iterable[Problem], declared: Split) -> Iterator[Problem]:
    """Yield the problems of the declared side, in order of the source; holds all problems.

    A group of near duplicates goes to one side as a whole. Its side is drawn from the seed and the problem_id in it
    that ranks first, so it depends on nothing outside the group: no order of rows changes it, and a new row moves no
    group but the one that it joins. The share is what the draws give, as with any independent draw.
    """
    rows = list(problems)
    groups = near_groups([asked(row) for row in rows])
    draws: dict[int, float] = {}
    for row, group in zip(rows, groups, strict=True):
        draws[group] = min(draws.get(group, 1.0), _draw(declared.seed, row.problem_id))
    for row, group in zip(rows, groups, strict=True):
        if (draws[group] < declared.select) == (declared.keep == "select"):
            yield row


def _draw(seed: int, problem_id: str) -> float:
    """A number in [0, 1) that the seed and the problem_id fix."""
    digest = hashlib.sha256(f"split\x1f{seed}\x1f{problem_id}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
