"""Members of mixes and unions: a matter of seeds alone, and of no order of work."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from its.recipe.schema import Strategy
from its.strategies.controls import with_sources
from its.strategies.members import (
    drawn_member,
    expanded,
    letter,
    members_of,
    problems_needed,
    realized,
    row_name,
    row_names,
)

QUERY = {"query": "prompts/q.j2"}
KINDS: dict[str, dict[str, Any]] = {
    "none": QUERY,
    "similar": {**QUERY, "persona": {"template": "prompts/p.j2"}},
    "random": {**QUERY, "persona": {"template": "prompts/p.j2"}},
    "steps": {**QUERY, "fixed": {"texts": ["Step by step."]}},
    "noise": {**QUERY, "noise": {"like": "similar"}},
    "shuffled": {**QUERY, "shuffled": {"of": "similar"}},
}


def _strategies(**more: dict[str, Any]) -> dict[str, Strategy]:
    return {name: Strategy.model_validate(values) for name, values in {**KINDS, **more}.items()}


def _mix(**shares: float) -> dict[str, Any]:
    return {"mix": {"shares": shares}}


def _union(*names: str) -> dict[str, Any]:
    return {"union": {"of": list(names)}}


IDS = [f"p{number}" for number in range(2000)]


@st.composite
def _shares(draw: st.DrawFn) -> dict[str, float]:
    names = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=6, unique=True))
    weights = [draw(st.integers(1, 50)) for _ in names]
    return {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}


@settings(max_examples=60, deadline=None)
@given(shares=_shares(), seed=st.integers(0, 2**63 - 1), own=st.none() | st.integers(0, 2**63 - 1))
def test_each_share_is_met_within_its_binomial_bound(shares: dict[str, float], seed: int, own: int | None) -> None:
    strategies = _strategies(mixed={"mix": {"shares": shares, "seed": own}})
    counts = realized(strategies, "mixed", IDS, seed)
    assert list(counts) == list(shares) and sum(counts.values()) == len(IDS)
    for name, share in shares.items():
        # Five standard deviations: one of some 20,000 draws beyond it would be a fault of the draw.
        assert abs(counts[name] - share * len(IDS)) <= 5 * math.sqrt(len(IDS) * share * (1 - share)) + 1, name


@settings(max_examples=60, deadline=None)
@given(shares=_shares(), seed=st.integers(0, 1000), order=st.permutations(IDS[:40]))
def test_a_member_depends_on_nothing_but_the_problem(shares: dict[str, float], seed: int, order: list[str]) -> None:
    """Not on other problems, their order, or the order of the shares in the recipe."""
    strategies = _strategies(mixed=_mix(**shares))
    turned = _strategies(mixed=_mix(**dict(reversed(shares.items()))))
    drawn = {item: members_of(strategies, "mixed", item, seed) for item in IDS[:40]}
    assert drawn == {item: members_of(turned, "mixed", item, seed) for item in order}
    assert all(len(members) == 1 and members[0] in shares for members in drawn.values())


def test_a_larger_share_keeps_the_problems_of_the_first_member() -> None:
    small, large = (_strategies(mixed=_mix(none=share, similar=1 - share))["mixed"].mix for share in (0.25, 0.5))
    assert small is not None and large is not None
    had = {item for item in IDS if drawn_member(small, "mixed", item, 17) == "none"}
    has = {item for item in IDS if drawn_member(large, "mixed", item, 17) == "none"}
    assert had < has


def test_seed_name_and_own_seed_change_the_draw() -> None:
    drawn = []
    for name, seed, own in (("a", 17, None), ("a", 18, None), ("b", 17, None), ("a", 17, 0), ("a", 17, 1)):
        strategies = _strategies(**{name: {"mix": {"shares": {"none": 0.5, "similar": 0.5}, "seed": own}}})
        drawn.append(tuple(members_of(strategies, name, item, seed)[0] for item in IDS[:100]))
    assert len(set(drawn)) == 5


def test_shares_that_miss_1_by_rounding_leave_no_problem_out() -> None:
    mix = _strategies(mixed=_mix(none=0.1, similar=0.2, random=0.7 - 1e-10))["mixed"].mix
    assert mix is not None
    assert {drawn_member(mix, "mixed", item, 17) for item in IDS} == {"none", "similar", "random"}


def test_the_rows_of_a_union_have_the_order_of_the_recipe() -> None:
    strategies = _strategies(four=_union("steps", "none", "similar"))
    assert all(members_of(strategies, "four", item, 17) == ["steps", "none", "similar"] for item in IDS)
    assert row_names(strategies, "four") == ["four+steps", "four+none", "four+similar"]
    assert row_names(strategies, "none") == ["none"] == [row_name("none", None)]
    assert realized(strategies, "four", IDS, 17) == dict.fromkeys(["steps", "none", "similar"], len(IDS))


def test_a_plain_strategy_is_its_own_member() -> None:
    strategies = _strategies()
    assert all(members_of(strategies, name, "p1", 17) == [name] for name in KINDS)
    assert expanded(strategies, ["similar", "none", "similar"]) == ["similar", "none"]


def test_members_take_the_place_of_what_combines_them() -> None:
    strategies = _strategies(both=_union("none", "similar"), mixed=_mix(noise=0.5, none=0.5))
    assert expanded(strategies, ["both", "steps", "mixed"]) == ["none", "similar", "steps", "noise"]
    assert with_sources(["mixed"], strategies) == ["similar", "noise", "none"]


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ({"mix": {"shares": {"none": 0.5, "similar": 0.5}}}, "X"),
        ({"mix": {"shares": {"steps": 0.5, "similar": 0.5}}}, "X"),
        ({"mix": {"shares": {"none": 0.9, "noise": 0.1}}}, "C"),
        ({"union": {"of": ["similar", "shuffled"]}}, "C"),
        ({"union": {"of": ["none", "steps"]}}, "X"),
        ({"union": {"of": ["none", "plain"]}}, "N"),
    ],
)
def test_letters(made: dict[str, Any], wanted: str) -> None:
    strategies = _strategies(made=made, plain={"query": "prompts/other.j2"})
    assert letter(strategies, "made") == wanted
    assert [letter(strategies, name) for name in KINDS] == ["N", "X", "X", "X", "C", "C"]


SET = IDS[:200]


def _drawn(strategies: dict[str, Strategy], name: str, member: str) -> set[str]:
    return {item for item in SET if members_of(strategies, name, item, 17) == [member]}


def test_a_member_is_needed_where_the_mix_draws_it() -> None:
    strategies = _strategies(mixed=_mix(similar=0.3, random=0.7))
    needed = problems_needed(strategies, ["mixed"], SET, 17)
    assert needed == {name: _drawn(strategies, "mixed", name) for name in ("similar", "random")}
    assert not needed["similar"] & needed["random"] and needed["similar"] | needed["random"] == set(SET)


@pytest.mark.parametrize("also", ["similar", "both", "noise", "shuffled"])
def test_a_member_that_something_else_uses_is_needed_for_all(also: str) -> None:
    strategies = _strategies(mixed=_mix(similar=0.3, random=0.7), both=_union("none", "similar"))
    for names in (["mixed", also], [also, "mixed"]):
        needed = problems_needed(strategies, names, SET, 17)
        assert needed["similar"] == set(SET)
        assert needed["random"] == _drawn(strategies, "mixed", "random")


def test_two_mixes_need_what_either_draws() -> None:
    strategies = _strategies(one=_mix(similar=0.3, none=0.7), two=_mix(similar=0.2, random=0.8))
    needed = problems_needed(strategies, ["one", "two"], SET, 17)
    assert needed["similar"] == _drawn(strategies, "one", "similar") | _drawn(strategies, "two", "similar")


def test_the_source_of_noise_is_needed_where_the_noise_is_and_that_of_shuffled_everywhere() -> None:
    strategies = _strategies(mixed=_mix(noise=0.3, none=0.7), other=_mix(shuffled=0.3, none=0.7))
    drawn = _drawn(strategies, "mixed", "noise")
    assert problems_needed(strategies, ["mixed"], SET, 17)["similar"] == drawn
    needed = problems_needed(strategies, ["other"], SET, 17)
    assert needed["similar"] == set(SET) and needed["shuffled"] == _drawn(strategies, "other", "shuffled")
