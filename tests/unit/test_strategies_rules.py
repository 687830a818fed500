"""The stated rules for personas: what each finds, and what it leaves alone."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import get_args

import pytest

from its.recipe.schema import Limits, PersonaCheck
from its.strategies.leaks import leaks
from its.strategies.rules import RULES, copied_share, persona_flags
from its.types import Problem

PROBLEM = Problem(problem_id="p", text=r"What is $\frac{{1}}{2}$ of 24?", reference="12", source="s")
ALL = Limits(max_words=10, checks=["empty", "overlong", "refuses", "solves", "digits"])


@pytest.mark.parametrize(
    ("text", "reason", "flags"),
    [
        ("You are a potter who likes rain.", "stop", []),
        ("", "stop", ["empty"]),
        ("You are a " + "very " * 10 + "old man.", "stop", ["overlong"]),
        ("You are a potter who", "length", ["overlong"]),
        ("I'm sorry, that is not possible.", "stop", ["refuses"]),
        ("As an AI I have no field.", "stop", ["refuses"]),
        ("You are unable to stop.", "stop", ["refuses"]),
        ("The answer is twelve.", "stop", ["solves"]),
        ("You know that 24 / 2 is it.", "stop", ["solves", "digits"]),
        ("You own 12 ovens.", "stop", ["solves", "digits"]),
        ("You own 120 ovens.", "stop", ["digits"]),
        ("You write \\boxed{x}.", "stop", ["solves"]),
    ],
)
def test_rules(text: str, reason: str, flags: list[str]) -> None:
    assert persona_flags(text, reason, ALL, PROBLEM) == flags


def test_only_the_checks_asked_for_are_made() -> None:
    limits = Limits(max_words=1, checks=["digits"])
    assert persona_flags("You own 12 ovens.", "length", limits, PROBLEM) == ["digits"]


def test_every_rule_of_the_schema_is_told() -> None:
    assert set(RULES) == set(get_args(PersonaCheck))
    for rule in get_args(PersonaCheck):
        assert persona_flags("A potter.", "stop", Limits(max_words=9, checks=[rule]), PROBLEM) == []


def test_a_reference_that_is_a_word_of_the_persona_is_no_solution() -> None:
    problem = Problem(problem_id="p", text="Which?", reference="A", source="s")
    assert persona_flags("A potter.", "stop", ALL, problem) == []


def test_a_brief_persona_has_some_words_but_too_few() -> None:
    limits = Limits(max_words=10, min_words=3, checks=["empty", "brief"])
    assert persona_flags("A potter.", "stop", limits, PROBLEM) == ["brief"]
    assert persona_flags("A calm potter.", "stop", limits, PROBLEM) == []
    assert persona_flags("", "stop", limits, PROBLEM) == ["empty"]


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("12", "You own 12 ovens."),
        ("12", "You own 12.0 ovens."),
        ("12", "You live at no. 12"),
        ("1200", "You own 1,200 ovens."),
        ("1,200", "You own 1200 ovens."),
        ("-5", "It is \u22125 outside."),
        ("5", "Take 16-5 and see."),
        (r"\frac{1}{2}", "You drink 1/2 of it."),
        (r"\dfrac12", "You drink 0.5 of it."),
        ("0.5", r"You like $\frac{1}{2}$ cups."),
        (r"$12$", "You own 12 ovens."),
        (r"12\%", "A tax of 12 percent."),
        (r"12\text{ cm}", "A stick of 12 inches."),
        ("x = 12", "You own 12 ovens."),
        (r"2\sqrt{3}+1", r"You know $2 \sqrt 3 + 1$ well."),
        (r"2\sqrt{3}", "You know 2\u221a3 well."),
        (r"\frac{a+b}{c}", r"You know $\dfrac{a + b}{c}$ well."),
        (r"\frac{a+b}{c}", "You know (a+b)/c well."),
        (r"x^{2}", "You draw x^2 all day."),
        (r"\left( 3, \frac{\pi}{2} \right)", r"You walk to $(3,\frac{\pi}{2})$."),
        (r"\text{Monday}", "You rest on mondays? No, on Monday."),
        ("Monday", "you rest on MONDAY."),
        ("10^{\\circ}", "It is 10 degrees."),
    ],
)
def test_a_leak_is_seen_in_any_notation(reference: str, text: str) -> None:
    assert leaks(reference, text)
    limits = Limits(max_words=99, checks=["leaks"])
    problem = PROBLEM.model_copy(update={"reference": reference})
    assert persona_flags(text, "stop", limits, problem) == ["leaks"]


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("12", "You own 120 ovens."),
        ("12", "You own 3.12 ovens."),
        ("12", "You own 12.5 ovens."),
        ("12", "You own 1,212 ovens."),
        ("12", "You own a12 and b12x."),
        ("12", "You own twelve ovens."),  # said in its docstring: words are not read
        ("2", "You drink 1/2 of it."),
        ("5", "It is -5 outside."),
        ("A", "A potter who likes A."),
        ("x", "You solve for x."),
        ("x+1", "You know x+12."),
        ("x+1", "You know max+1."),
        ("even", "Evenings are yours."),
        (r"\frac{1}{0}", "You own 1 oven."),
        ("", "You own 12 ovens."),
        ("$", "You own $ 12."),
        ("12", ""),
    ],
)
def test_what_is_no_leak(reference: str, text: str) -> None:
    assert not leaks(reference, text)


def test_without_a_reference_nothing_leaks() -> None:
    problem = PROBLEM.model_copy(update={"reference": None})
    assert persona_flags("You own 12 ovens.", "stop", Limits(max_words=9, checks=["leaks"]), problem) == []


SHOP = "A shop has 8 boxes with 4 cards in each. It sells 27 of them. How many cards does it have?"


@pytest.mark.parametrize(
    ("text", "copies"),
    [
        (SHOP, True),
        (f"You are a clerk. {SHOP.upper()}", True),
        ("You run a shop that has 8 boxes with 4 cards in each.", True),
        ("You are a potter who " + "likes the rain and " * 20 + SHOP, True),
        ("You are a shop owner who sells a small quantity of something.", False),
        ("You are a clerk who counts boxes with cards and sells them.", False),
        ("How many?", False),
        ("", False),
    ],
)
def test_a_copy_of_the_problem_is_no_persona(text: str, copies: bool) -> None:
    problem = Problem(problem_id="p", text=SHOP, source="s")
    assert (persona_flags(text, "stop", Limits(max_words=999, checks=["copies"]), problem) == ["copies"]) == copies


def test_the_copied_share_is_of_the_text_with_fewer_runs() -> None:
    assert copied_share("a b c d e f", "a b c d e f g h i j") == 1.0
    assert copied_share("a b c d e x", "a b c d e f g h i j") == 0.5
    assert copied_share("a b c d", "a b c d") == 0.0


def test_the_language_is_asked_for_only_where_a_recipe_does(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"Du bist ein Bäcker.": "de", "You are a baker.": "en", "Hm.": None}
    monkeypatch.setitem(sys.modules, "its.language", SimpleNamespace(language_of=said.__getitem__))
    limits = Limits(max_words=9, language="en", checks=["language"])
    assert [persona_flags(text, "stop", limits, PROBLEM) for text in said] == [["language"], [], []]
    monkeypatch.setitem(sys.modules, "its.language", None)  # an import would fail
    assert persona_flags("Du bist.", "stop", Limits(max_words=9, language="en", checks=["empty"]), PROBLEM) == []
    assert persona_flags("Du bist.", "stop", Limits(max_words=9, checks=["language"]), PROBLEM) == []


def test_a_persona_in_another_language_is_flagged() -> None:
    limits = Limits(max_words=30, language="en", checks=["language"])
    said = {
        "Du bist ein Bäcker, der jeden Morgen frische Brötchen für die ganze Stadt backt.": ["language"],
        "You are a baker who makes fresh rolls for the whole town every morning.": [],
        "You are a baker.": [],  # too short to tell
    }
    assert {text: persona_flags(text, "stop", limits, PROBLEM) for text in said} == said
