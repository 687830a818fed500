"""The strategies that a problem is under: one, the one that a mix draws, or all of a union; the letter in blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from typing import Literal

from its.recipe.schema import Mix, Strategy
from its.seeds import derive_random

Strategies = Mapping[str, Strategy]
Letter = Literal["N", "X", "C"]
JOIN = "+"
"""Between a union and its member in a query_id: `SET/PROBLEM/UNION+MEMBER`. No name contains it."""


def members_of(strategies: Strategies, name: str, problem_id: str, seed: int) -> list[str]:
    """The strategies whose persona, template and place a problem has under a strategy, one for each of its rows.

    That is the strategy itself, the one that a mix draws for the problem, or those of a union in their order.

    Args:
        seed: of the study.
    """
    strategy = strategies[name]
    if strategy.mix is not None:
        return [drawn_member(strategy.mix, name, problem_id, seed)]
    return _own(strategies, name)


def _own(strategies: Strategies, name: str) -> list[str]:
    """The members of a mix or union; any other strategy is its only one."""
    return strategies[name].members or [name]


def drawn_member(mix: Mix, name: str, problem_id: str, seed: int) -> str:
    """The strategy that a mix draws for a problem, from (seed, name, `mix.seed`, problem_id) alone.

    The shares are laid side by side in the order of the sorted names, whatever their order in the recipe, so a share
    that grows at its upper end keeps the problems that it had.

    Args:
        mix: its shares sum to 1, but for rounding.
        seed: of the study.
    """
    own = [] if mix.seed is None else [mix.seed]
    drawn = derive_random(seed, "mix", name, *own, problem_id).random()
    names, reached = sorted(mix.shares), 0.0
    for member in names:
        reached += mix.shares[member]
        if drawn < reached:
            return member
    return names[-1]  # the sum is below 1 by a rounding error


def expanded(strategies: Strategies, names: Iterable[str]) -> list[str]:
    """The strategies with the members of mixes and unions in their place, each once, in order."""
    return list(dict.fromkeys(member for name in names for member in _own(strategies, name)))


def problems_needed(
    strategies: Strategies, names: Iterable[str], problem_ids: Iterable[str], seed: int
) -> dict[str, Set[str]]:
    """Strategy -> the problems of a set that need its personas, for the named ones, their members and all sources.

    A member of a mix is needed for the problems that the mix draws for it; any other for all. The source of `noise` is
    needed where the noise is. That of `shuffled` is needed for all: which problem gives its persona depends on all that
    have one, and a persona must be the same in a mix as without it.

    Args:
        names: of the design; they lead to no circle.
        seed: of the study.
    """
    everything = frozenset(problem_ids)
    out: dict[str, Set[str]] = {}
    waiting: list[tuple[str, Set[str]]] = []
    for name in names:
        mix = strategies[name].mix
        if mix is None:
            waiting += [(member, everything) for member in _own(strategies, name)]
            continue
        drawn: dict[str, set[str]] = {member: set() for member in mix.shares}
        for problem_id in everything:
            drawn[drawn_member(mix, name, problem_id, seed)].add(problem_id)
        waiting += drawn.items()
    while waiting:
        name, wanted = waiting.pop()
        out[name] = out.get(name, frozenset()) | wanted
        source = strategies[name].derived_from
        if source is not None:
            waiting.append((source, wanted if strategies[name].shuffled is None else everything))
    return out


def realized(strategies: Strategies, name: str, problem_ids: Iterable[str], seed: int) -> dict[str, int]:
    """Member -> how many of the problems have it under a mix or union, also 0, in the order of the recipe."""
    counts = Counter(member for item in problem_ids for member in members_of(strategies, name, item, seed))
    return {member: counts[member] for member in strategies[name].members}


def letter(strategies: Strategies, name: str) -> Letter:
    """What a strategy is in the names of blocks: X with a context, C for a control, N for the problem alone.

    A mix or union is C if one of its members is a control, else X if one has a context.
    """
    several = [strategies[member] for member in _own(strategies, name)]
    if any(strategy.is_control for strategy in several):
        return "C"
    return "X" if any(strategy.has_context for strategy in several) else "N"


def row_names(strategies: Strategies, name: str) -> list[str]:
    """The last parts of the query_ids of a problem under a strategy, one for each of its rows."""
    if strategies[name].union is None:
        return [name]
    return [row_name(name, member) for member in strategies[name].members]


def row_name(name: str, member: str | None) -> str:
    """The last part of a query_id: the strategy, with the member behind it where a problem has a row for each.

    Args:
        name: the strategy of the design.
        member: of a union; None for any other strategy.
    """
    return name if member is None else f"{name}{JOIN}{member}"
