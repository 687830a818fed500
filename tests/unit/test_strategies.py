"""Strategies: who gets which persona is a matter of seeds, and bad personas are found by stated rules."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from its.errors import DataError
from its.recipe.schema import Limits, PersonaRequest, Prompt, Strategy
from its.strategies.persona import (
    RULES,
    best_attempt,
    draw_domain,
    has_persona,
    persona_flags,
    persona_messages,
    persona_text,
    truncate,
)
from its.strategies.query import query_messages
from its.types import Problem

PROBLEM = Problem(problem_id="p", text=r"What is $\frac{{1}}{2}$ of 24?", reference="12", source="s")
ALL = Limits(max_words=10, checks=["empty", "overlong", "refuses", "solves", "digits"])


def _strategy(**values: Any) -> Strategy:
    return Strategy.model_validate({"query": "prompts/q.j2", **values})


WRITES = {"persona": {"template": "prompts/p.j2"}}


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
    assert set(RULES) == {"empty", "overlong", "refuses", "solves", "digits"}


def test_a_reference_that_is_a_word_of_the_persona_is_no_solution() -> None:
    problem = Problem(problem_id="p", text="Which?", reference="A", source="s")
    assert persona_flags("A potter.", "stop", ALL, problem) == []


@pytest.mark.parametrize(
    ("start", "completion", "text"),
    [
        ("You are a", " potter.", "You are a potter."),
        ("You are a", "potter.", "You are a potter."),
        ("You are a ", "potter.\n", "You are a potter."),
        (None, "  A\n potter. ", "A potter."),
        ("You are a", " \n", ""),
        (None, "", ""),
    ],
)
def test_a_started_answer_and_what_followed(start: str | None, completion: str, text: str) -> None:
    assert persona_text(start, completion) == text


@pytest.mark.parametrize(
    ("text", "words", "cut"),
    [
        ("One two. Three four five.", 4, "One two."),
        ("One two three four five", 3, "One two three"),
        ("One two three.", 3, "One two three."),
        ("Is it 3.5 or more then", 4, "Is it 3.5 or"),
        ("Who? Me! And so on", 4, "Who? Me!"),
    ],
)
def test_truncation_ends_with_a_sentence_if_it_can(text: str, words: int, cut: str) -> None:
    assert truncate(text, words) == cut


def test_the_best_attempt_is_the_earliest_with_the_fewest_faults_and_some_text() -> None:
    assert best_attempt([("", ["empty"]), ("a", ["digits", "solves"]), ("b", ["digits"]), ("c", ["digits"])]) == 2
    assert best_attempt([("", ["empty"]), ("a", ["digits", "solves"])]) == 1
    assert best_attempt([("", ["empty"]), ("", ["empty"])]) == 0


def test_domains_are_drawn_by_seed_strategy_and_problem_alone() -> None:
    strategy = _strategy(**WRITES, domains=["a", "b", "c"])
    drawn = [draw_domain(strategy, "random", str(index), 17) for index in range(600)]
    assert drawn == [draw_domain(strategy, "random", str(index), 17) for index in range(600)]
    assert drawn != [draw_domain(strategy, "other", str(index), 17) for index in range(600)]
    assert drawn != [draw_domain(strategy, "random", str(index), 18) for index in range(600)]
    assert all(150 < count < 250 for count in Counter(drawn).values())
    assert draw_domain(_strategy(**WRITES), "random", "1", 17) is None


def test_a_share_is_kept_and_a_larger_one_holds_the_smaller() -> None:
    def chosen(share: float | None) -> set[int]:
        strategy = _strategy(**WRITES, share=share)
        return {index for index in range(1000) if has_persona(strategy, "s", str(index), 1)}

    assert 220 < len(chosen(0.25)) < 280
    assert chosen(0.25) < chosen(0.5) < chosen(None) == set(range(1000))
    assert not has_persona(_strategy(), "s", "1", 1)


def test_the_writer_sees_system_examples_and_problem() -> None:
    asked = PersonaRequest.model_validate(
        {
            "template": "prompts/p.j2",
            "system": "Be short.",
            "examples": [{"problem": "1 + 1?", "persona": "You are one.", "domain": "law"}],
        }
    )
    messages = persona_messages(asked, "{{ domain }}: {{ problem.text }}", PROBLEM, "botany")
    assert messages == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "law: 1 + 1?"},
        {"role": "assistant", "content": "You are one."},
        {"role": "user", "content": f"botany: {PROBLEM.text}"},
    ]


def test_a_template_that_fails_is_named() -> None:
    asked = PersonaRequest.model_validate({"template": "prompts/p.j2"})
    with pytest.raises(DataError, match=r"^recipes/prompts/p\.j2:1: undefined variable `domain`; given: `problem`$"):
        persona_messages(asked, "{{ domain }}", PROBLEM, None)
    with pytest.raises(DataError, match=r"^recipes/prompts/q\.j2:2: undefined variable `question`"):
        query_messages(_strategy(), "a\n{{ question }}", Prompt(user="{{ query }}"), PROBLEM, "")


BODY = "{% if persona %}{{ persona }}\n\n{% endif %}{{ problem.text }}"


def _shown(strategy: Strategy, prompt: Prompt, persona: str) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in query_messages(strategy, BODY, prompt, PROBLEM, persona)]


def test_a_persona_stands_in_the_user_turn() -> None:
    frame = Prompt(user="{{ query }}\n\nBox it.")
    assert _shown(_strategy(), frame, "You are x.") == [("user", f"You are x.\n\n{PROBLEM.text}\n\nBox it.")]


def test_a_persona_stands_in_the_system_turn() -> None:
    strategy = _strategy(**WRITES, place="system")
    frame = Prompt(user="{{ query }}", system="Box it.")
    assert _shown(strategy, frame, "You are x.") == [("system", "Box it.\n\nYou are x."), ("user", PROBLEM.text)]
    assert _shown(strategy, Prompt(user="{{ query }}"), "") == [("user", PROBLEM.text)]


def test_without_a_persona_all_strategies_give_the_same_prompt() -> None:
    frame = Prompt(user="{{ query }}", system="Box it.")
    assert _shown(_strategy(), frame, "") == _shown(_strategy(**WRITES), frame, "")
