"""Controls: noise of a persona's length, and the persona of another problem; both a matter of seeds alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from its.errors import DataError
from its.recipe.schema import Strategy
from its.strategies.controls import (
    NOT_IN_SHARE,
    SOURCE_HAS_NONE,
    control_rows,
    noise_text,
    shuffled_owners,
    with_sources,
)
from its.strategies.noise_words import WORDS
from its.types import Persona, Problem

LIKE = "You are a railway planner, who counts 40 seats for a living."


def _strategy(**values: Any) -> Strategy:
    return Strategy.model_validate({"query": "prompts/q.j2", **values})


NOISE = _strategy(noise={"like": "similar"})
SHUFFLED = _strategy(shuffled={"of": "similar"})
WRITTEN = _strategy(persona={"template": "prompts/p.j2"})


def _problems(count: int) -> list[Problem]:
    return [Problem(problem_id=f"p{index}", text="How many?", reference="40", source="s") for index in range(count)]


def _sources(problems: list[Problem], count: int | None = None) -> dict[str, list[Persona]]:
    return {
        problem.problem_id: [
            Persona(
                problem_id=problem.problem_id,
                strategy="similar",
                index=index,
                text=f"You are {'quite ' * place}the {index} of {problem.problem_id}.",
                domain="law",
                attempts=1,
                request_key=f"key of {problem.problem_id} {index}",
            )
            for index in ([None] if count is None else range(count))
        ]
        for place, problem in enumerate(problems)
    }


def test_the_words_of_the_noise_are_ordinary() -> None:
    assert len(WORDS) == len(set(WORDS)) > 1000
    assert all(re.fullmatch("[a-z]+", word) for word in WORDS)
    mathematics = (
        "sum half two ten even odd square root angle plus minus times equal divide number problem answer solve"
    )
    assert not set(WORDS) & set(mathematics.split())


def test_noise_has_the_words_and_letters_of_the_persona() -> None:
    noise = noise_text(LIKE, 17, "noise", "p1")
    letters = [sum(map(str.isalpha, word)) or 1 for word in LIKE.split()]
    assert [len(word) for word in noise.split()] == letters
    assert set(noise.split()) <= set(WORDS)
    assert noise_text("A counterrevolutionary x", 17).split()[1] in {word for word in WORDS if len(word) == 14}
    assert noise_text("", 17) == ""


def test_noise_is_drawn_by_seed_strategy_problem_and_index() -> None:
    drawn = [
        noise_text(LIKE, *parts)
        for parts in [
            (17, "noise", "p1"),
            (18, "noise", "p1"),
            (17, "other", "p1"),
            (17, "noise", "p2"),
            (17, "noise", "p1", 0),
        ]
    ]
    assert len(set(drawn)) == 5
    assert drawn[0] == noise_text(LIKE, 17, "noise", "p1")


def test_noise_stands_for_each_persona() -> None:
    problems = _problems(3)
    rows = control_rows(NOISE, "noise", problems, _sources(problems, 2), 17)
    assert [(row.problem_id, row.index) for row in rows] == [(f"p{n}", index) for n in range(3) for index in (0, 1)]
    assert len({row.text for row in rows}) == 6
    assert all(row.attempts == 0 and row.request_key is None and row.taken_from is None for row in rows)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_nobody_keeps_its_own_persona_and_each_is_given_once(count: int) -> None:
    ids = [f"p{index}" for index in range(count)]
    owners = shuffled_owners(ids, 17, "shuffled")
    assert set(owners) == set(owners.values()) == set(ids)
    assert all(own != other for own, other in owners.items())
    assert owners == shuffled_owners(reversed(ids), 17, "shuffled")
    if count == 50:
        assert owners != shuffled_owners(ids, 18, "shuffled") != shuffled_owners(ids, 18, "other")


def test_a_problem_more_changes_what_one_other_gets() -> None:
    ids = [f"p{index}" for index in range(60)]
    before, after = shuffled_owners(ids[:-1], 17, "s"), shuffled_owners(ids, 17, "s")
    assert sum(before[item] != after[item] for item in before) == 1


def test_a_shuffled_row_says_whose_it_was() -> None:
    problems = _problems(5)
    sources = _sources(problems)
    rows = control_rows(SHUFFLED, "shuffled", problems, sources, 17)
    assert [row.problem_id for row in rows] == [problem.problem_id for problem in problems]
    for row in rows:
        (own,) = sources[str(row.taken_from)]
        assert (row.text, row.domain, row.request_key) == (own.text, own.domain, own.request_key)
        assert (row.strategy, row.attempts, row.flags) == ("shuffled", 0, [])


def test_all_personas_of_a_problem_go_together() -> None:
    problems = _problems(4)
    rows = control_rows(SHUFFLED, "shuffled", problems, _sources(problems, 3), 17)
    assert [row.index for row in rows] == [0, 1, 2] * 4
    assert all(len({row.taken_from for row in rows[start : start + 3]}) == 1 for start in range(0, 12, 3))


def test_who_has_none_gives_none_and_gets_none() -> None:
    problems = _problems(4)
    sources = _sources(problems)
    sources["p2"] = [Persona(problem_id="p2", strategy="similar", text="", attempts=0, flags=[NOT_IN_SHARE])]
    for strategy in (NOISE, SHUFFLED):
        rows = control_rows(strategy, "control", problems, sources, 17)
        assert (rows[2].text, rows[2].flags) == ("", [SOURCE_HAS_NONE])
        assert all(row.text and row.taken_from != "p2" for row in rows if row.problem_id != "p2")


def test_a_control_has_a_share_of_its_own() -> None:
    problems = _problems(200)
    rows = control_rows(_strategy(noise={"like": "similar"}, share=0.5), "noise", problems, _sources(problems), 17)
    none = [row for row in rows if row.flags == [NOT_IN_SHARE]]
    assert 60 < len(none) < 140 and not any(row.text for row in none)
    assert all(row.text for row in rows if not row.flags)


def test_the_limits_of_a_control_flag_what_breaks_them() -> None:
    problems = _problems(2)
    sources = {
        name: [row.model_copy(update={"text": LIKE}) for row in rows] for name, rows in _sources(problems).items()
    }
    checked = _strategy(shuffled={"of": "similar"}, limits={"max_words": 99, "checks": ["empty", "leaks"]})
    assert [row.flags for row in control_rows(checked, "s", problems, sources, 17)] == [["leaks"], ["leaks"]]


@pytest.mark.parametrize("count", [0, 1])
def test_one_problem_cannot_be_shuffled(count: int) -> None:
    problems = _problems(count)
    said = (
        rf"`strategies\.shuffled`: {count} of {count} problems .* persona of `similar` to give, and shuffling takes two"
    )
    with pytest.raises(DataError, match=said):
        control_rows(SHUFFLED, "shuffled", problems, _sources(problems), 17)


def test_a_control_comes_after_what_it_is_made_of() -> None:
    known = {
        "none": _strategy(),
        "similar": WRITTEN,
        "noise": NOISE,
        "shuffled": SHUFFLED,
        "noise_of_shuffled": _strategy(noise={"like": "shuffled"}),
    }
    assert with_sources(["noise_of_shuffled", "none", "similar"], known) == [
        "similar",
        "shuffled",
        "noise_of_shuffled",
        "none",
    ]
    assert with_sources(["similar", "none"], known) == ["similar", "none"]
    assert [strategy.derived_from for strategy in known.values()] == [None, None, "similar", "similar", "shuffled"]


def test_a_control_of_itself_is_refused() -> None:
    known = {"a": _strategy(noise={"like": "b"}), "b": _strategy(shuffled={"of": "a"})}
    with pytest.raises(DataError, match=r"`strategies\.a` is derived from itself: a -> b -> a"):
        with_sources(["a"], known)
