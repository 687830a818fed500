"""Texts of 1 MB that repeat one mark: whatever reads a text takes time by its length, not by the square of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import pytest
from hostile.outcomes import LONG

from its.curation.comparable_text import figure_words, words
from its.curation.duplicates import near_groups
from its.curation.filters import has_box, is_complete, needs_figure
from its.grading.equal import GraderError, compare_answer
from its.grading.extract import extract_answer
from its.grading.normalise import AnswerKind, normalise_answer, parse_number, read_answer
from its.language import language_of
from its.metrics.loops import ends_in_loop
from its.recipe.schema import Limits
from its.sources.expressions import boxed
from its.sources.text import damage
from its.sources.thoughts import normal_trace
from its.strategies.persona import persona_text, truncate
from its.strategies.rules import copied_share, persona_flags
from its.thinking import PlainMarks, cut_thinking
from its.types import Problem

MARKS = (
    *("\\boxed{", "\\boxed {", "\\boxed{\\text{", "\\frac{", "\\begin{", "\\begin{a}", "\\left", "\\sqrt{", "\\"),
    *("$", "$$", "\\(", "\\[", "\\)", "\\( \\[ ", "$\\", "{", "}", "{}", "(", ")", "( ", "[", "]", "|", "^{", "10^"),
    *("<think>", "</think>", "<answer>", "</answer>", "<|begin_of_thought|>", "```", "[asy]", "`", "*", "**1**"),
    *(" ", "\n", "\t", "\r", " \n", "\u00a0", "\u202f", "1", "0", "1,", "1.", "1/", "1 ", "-", "- ", "=", "%"),
    *("a", "A", "A ", "(A)", "a b ", "answer", "answer is ", "the answer is: 1 ", "Final Answer:\n", "#### "),
    *("x=", "see ", "I cannot ", "twenty one ", "cm ", "1 or ", "http://", "\u0301", "\ufdfd", "a-", "\t imes"),
    *("\n\\neq $", "\\boxed{1}, and ", "\\\\", "\u0663"),
    *(
        "\\boxed ",
        "\\boxed 1 ",
        "\\boxed\\frac",
        "A: 1, ",
        "\nA:",
        "C) x\n",
        "C is correct ",
        "I choose ",
        "is the answer ",
    ),
    *(
        "The answer is (",
        "The answer is $",
        "the answer, ",
        "\u7b54\u6848",
        "$n$ ",
        "when $x = 3$ ",
        "x_1 ",
        "1? ",
        "step 1 ",
    ),
    *("\u200b", "\uff21", "If the answer is 5, ", "the answer is approximately 3. ", "answer\n"),
)
KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
PROBLEM = Problem(problem_id="p", text="What is $1+1$?", reference="2", solution="2", source="s")
LIMITS = Limits(
    max_words=40, min_words=2, language="en", checks=[*get_args(get_args(Limits.model_fields["checks"].annotation)[0])]
)


def _compare(answer: str, reference: str, kind: AnswerKind) -> bool | None:
    return compare_answer(read_answer(answer, kind), reference, kind)


READERS: dict[str, Callable[[str], Any]] = {
    "damage": damage,
    "trace": normal_trace,
    "trace apart": partial(normal_trace, "x"),
    "box": has_box,
    "boxed": boxed,
    "complete": is_complete,
    "figure": needs_figure,
    "words": words,
    "figure words": figure_words,
    "duplicates": lambda text: near_groups([text, text + "x"]),
    "language": language_of,
    "loop": ends_in_loop,
    "copied": lambda text: copied_share(text, text),
    "persona": partial(persona_text, "You are"),
    "truncated": lambda text: truncate(text, 40),
    "rules": lambda text: persona_flags(text, "stop", LIMITS, PROBLEM),
    "thinking": lambda text: cut_thinking(text, PlainMarks("<think>", "</think>"), True),
    "thinking, one mark": lambda text: cut_thinking(text, PlainMarks("1", "1"), True),
    "thinking, marks in marks": lambda text: cut_thinking(text, PlainMarks("((", "((("), True),
    **{f"extract {kind}": partial(extract_answer, kind=kind) for kind in KINDS},
    **{f"normalise {kind}": partial(normalise_answer, kind=kind) for kind in KINDS},
    **{f"number {kind}": partial(parse_number, kind=kind) for kind in KINDS},
    **{f"answer {kind}": partial(_compare, reference="7", kind=kind) for kind in KINDS},
    **{f"reference {kind}": partial(_compare, "7", kind=kind) for kind in KINDS},
}
SIZE = 30_000
"""Of the fast part: a cost by the square takes seconds for it."""


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    language_of("The model of languages takes a while to load, once.")


@pytest.mark.parametrize("size", [SIZE, 1_000_000] if LONG else [SIZE])
@pytest.mark.parametrize("reader", READERS)
def test_time_goes_by_the_length_of_a_text(reader: str, size: int, tally: Any) -> None:
    read = READERS[reader]
    for mark in MARKS:
        text = mark * (size // len(mark))
        for hostile in (f"{text}1",) if size == SIZE else (text, f"{text}1", f"1{text}x"):
            tally("text", partial(_read, read, hostile), seconds=2.0 if size == SIZE else 60.0)


def _read(read: Callable[[str], Any], text: str) -> None:
    with contextlib.suppress(GraderError):  # it becomes a verdict
        read(text)
