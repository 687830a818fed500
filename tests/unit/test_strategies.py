"""Strategies: who gets which persona is a matter of seeds, and what a query looks like one of templates."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from its.errors import DataError
from its.prompts.render import render
from its.recipe.schema import PersonaRequest, Prompt, Strategy
from its.strategies.persona import (
    best_attempt,
    draw_domain,
    has_persona,
    persona_indices,
    persona_messages,
    persona_text,
    truncate,
)
from its.strategies.query import query_messages
from its.types import Problem

PROBLEM = Problem(problem_id="p", text=r"What is $\frac{{1}}{2}$ of 24?", reference="12", source="s")


def _strategy(**values: Any) -> Strategy:
    return Strategy.model_validate({"query": "prompts/q.j2", **values})


WRITES = {"persona": {"template": "prompts/p.j2"}}


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


def test_domains_of_one_strategy_are_the_same_in_every_version() -> None:
    """Stored responses are found by what was asked: a draw that changed would ask everything again."""
    strategy = _strategy(**WRITES, domains=["a", "b", "c"])
    assert "".join(str(draw_domain(strategy, "random", f"p{index}", 17)) for index in range(12)) == "caaabbcbcaba"


def test_several_personas_get_domains_of_their_own() -> None:
    strategy = _strategy(**WRITES, domains=list("abcd"))
    for problem_id in map(str, range(50)):
        drawn = [draw_domain(strategy, "random", problem_id, 17, index) for index in range(6)]
        assert set(drawn[:4]) == set("abcd") and drawn[4:] == drawn[:2]
    firsts = Counter(draw_domain(strategy, "random", str(index), 17, 0) for index in range(400))
    assert all(60 < count < 140 for count in firsts.values())


def test_several_personas_are_counted_from_nought() -> None:
    assert persona_indices(PersonaRequest(template="prompts/p.j2", count=3)) == [0, 1, 2]
    assert persona_indices(PersonaRequest(template="prompts/p.j2")) == [None]


@pytest.mark.parametrize(
    ("strategy", "gives"),
    [({}, False), (WRITES, True), ({"noise": {"like": "a"}}, True), ({"shuffled": {"of": "a"}}, True)],
)
def test_what_gives_a_persona_has_a_share_of_the_problems(strategy: dict[str, Any], gives: bool) -> None:
    assert _strategy(**strategy).has_context == gives
    chosen = sum(has_persona(_strategy(**strategy, share=0.5), "s", str(index), 1) for index in range(200))
    assert (70 < chosen < 130) if gives else not chosen


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
            "examples": [
                {"problem": "1 + 1?", "persona": "You are one.", "domain": "law"},
                {"problem": "2 + 2?", "persona": "You are two.", "domain": "music"},
            ],
        }
    )
    messages = persona_messages(asked, "{{ domain }}: {{ problem.text }}", PROBLEM, "botany")
    assert messages == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "law: 1 + 1?"},
        {"role": "assistant", "content": "You are one."},
        {"role": "user", "content": "music: 2 + 2?"},
        {"role": "assistant", "content": "You are two."},
        {"role": "user", "content": f"botany: {PROBLEM.text}"},
    ]


def test_a_template_that_fails_is_named() -> None:
    asked = PersonaRequest.model_validate({"template": "prompts/p.j2"})
    with pytest.raises(DataError, match=r"^recipes/prompts/p\.j2:1: undefined variable `domain`; given: `problem`$"):
        persona_messages(asked, "{{ domain }}", PROBLEM, None)
    with pytest.raises(DataError, match=r"^recipes/prompts/q\.j2:2: undefined variable `question`"):
        query_messages(_strategy(), "a\n{{ question }}", Prompt(user="{{ query }}"), PROBLEM, [])


BODY = "{% if persona %}{{ persona }}\n\n{% endif %}{{ problem.text }}"


def _shown(strategy: Strategy, prompt: Prompt, *personas: str, body: str = BODY) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in query_messages(strategy, body, prompt, PROBLEM, list(personas))]


def test_a_persona_stands_in_the_user_turn() -> None:
    frame = Prompt(user="{{ query }}\n\nBox it.")
    assert _shown(_strategy(), frame, "You are x.") == [("user", f"You are x.\n\n{PROBLEM.text}\n\nBox it.")]


def test_a_persona_stands_in_the_system_turn() -> None:
    strategy = _strategy(**WRITES, place="system")
    frame = Prompt(user="{{ query }}", system="Box it.")
    assert _shown(strategy, frame, "You are x.") == [("system", "Box it.\n\nYou are x."), ("user", PROBLEM.text)]
    assert _shown(strategy, Prompt(user="{{ query }}")) == [("user", PROBLEM.text)]


def test_without_a_persona_all_strategies_give_the_same_prompt() -> None:
    frame = Prompt(user="{{ query }}", system="Box it.")
    assert _shown(_strategy(), frame) == _shown(_strategy(**WRITES), frame)


def test_several_personas_stand_one_by_one_or_joined() -> None:
    frame = Prompt(user="{{ query }}", system="Box it.")
    panel = "{% for one in personas %}- {{ one }}\n{% endfor %}{{ problem.text }}"
    user = f"- You are x.\n- You are y.\n{PROBLEM.text}"
    assert _shown(_strategy(), frame, "You are x.", "You are y.", body=panel)[1] == ("user", user)
    assert _shown(_strategy(), frame, "You are x.", "You are y.")[1][1].startswith("You are x.\n\nYou are y.\n\n")
    system = _strategy(place="system")
    assert _shown(system, frame, "You are x.", "You are y.", body=panel) == [
        ("system", "Box it.\n\nYou are x.\n\nYou are y."),
        ("user", PROBLEM.text),
    ]


def test_a_persona_stands_behind_the_query_if_the_template_says_so() -> None:
    after = "{{ problem.text }}\n{% if persona %}\n\n{{ persona }}\n{% endif %}"
    shown = _shown(_strategy(), Prompt(user="{{ query }}"), "You are x.", body=after)
    assert shown == [("user", f"{PROBLEM.text}\n\nYou are x.")]


@pytest.mark.parametrize(
    "frame",
    [
        "{{ query }}",
        "{{query}}\n\nBox it.\n",
        "  Solve.\n\n{{ query }}  ",
        "100 % sure? # {{ query }} %",
        "{{ query|upper }}",
        "{{ query }} in \\boxed{}",
        "{# why #}{{ query }}",
        "{% if query %}{{ query }}{% endif %}",
        "a\r\n{{ query }}",
    ],
)
def test_every_frame_is_what_the_renderer_makes_of_it(frame: str) -> None:
    """A plain frame is put together without the renderer: nobody may see a difference."""
    ((_, shown),) = _shown(_strategy(), Prompt(user=frame), "You are x.")
    body = render(BODY, "body", {"problem": PROBLEM, "persona": "You are x."})
    assert shown == render(frame, "prompt.user", {"query": body})
