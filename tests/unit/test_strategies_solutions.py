"""The turn that is trained on a solution, for models whose prompt opens a thought, closes one, or does neither."""

from __future__ import annotations

import itertools
import random

import pytest

from its.errors import DataError
from its.strategies.query import SolutionTurns, UnfitSolution, solution_turn
from its.thinking import SOLUTION_MARKS, PlainMarks, cut_thinking

R1 = PlainMarks("<think>", "</think>", "prompt")
QWEN3 = PlainMarks("<think>", "</think>", "model")
OTHER = PlainMarks("[T]", "[/T]", "prompt")


def test_a_model_without_thinking_is_trained_on_the_solution_as_it_is() -> None:
    for solution in ("5", "<think>a</think>5", "</think>", " <think>\n"):
        assert solution_turn(solution, None) == solution


@pytest.mark.parametrize("opened_by", ["model", None])
def test_a_model_that_opens_its_thoughts_is_trained_on_the_solution_as_it_is(opened_by: str | None) -> None:
    marks = PlainMarks("<think>", "</think>", opened_by)  # type: ignore[arg-type]
    for solution in ("5", "<think>a</think>5", "Well. <think>a</think>5", "a</think>5", "<think>a", "<think></think>"):
        assert solution_turn(solution, marks) == solution
    own = PlainMarks("[T]", "[/T]", opened_by)  # type: ignore[arg-type]
    assert solution_turn("<think>\na\n</think>\n5<think>b</think>", own) == "[T]\na\n[/T]\n5[T]b[/T]"
    assert solution_turn("[T]a[/T]5", own) == "[T]a[/T]5"


@pytest.mark.parametrize(
    ("solution", "turn"),
    [
        ("<think>a</think>5", "a</think>5"),
        ("<think>\n  a\n</think>\n\n5", "a\n</think>\n\n5"),
        (" \n<think>a</think>5", "a</think>5"),
        ("a</think>5", "a</think>5"),
        ("<think></think>5", "</think>5"),
        ("<think>\n\n</think>\n\n5", "</think>\n\n5"),
        ("</think>5", "</think>5"),
        ("<think>a<think>b</think>c</think>5", "a<think>b</think>c</think>5"),
        ("<think>a</think>5<think>b</think>6", "a</think>5<think>b</think>6"),
        ("a</think>5<think>b</think>6", "a</think>5<think>b</think>6"),
        ("<think><think>a</think>5", "<think>a</think>5"),
        ("<think>a</think>", "a</think>"),
    ],
)
def test_the_mark_that_the_prompt_writes_is_not_trained(solution: str, turn: str) -> None:
    assert solution_turn(solution, R1) == turn
    other = solution.replace("<think>", "[T]").replace("</think>", "[/T]")
    wanted = turn.replace("<think>", "[T]").replace("</think>", "[/T]")
    assert solution_turn(solution, OTHER) == solution_turn(other, OTHER) == wanted


@pytest.mark.parametrize(
    ("solution", "wrong"),
    [
        ("5", "has no whole thought, up to `</think>`"),
        ("", "has no whole thought"),
        ("<think>", "has no whole thought"),
        ("<think>a", "has no whole thought"),
        ("<think>a</think>5<think>b", "has no whole thought"),
        ("Sure. <think>a</think>5", "has text before `<think>`"),
        ("< think >a</ think >5", "has no whole thought"),
        ("<Think>a</Think>5", "has no whole thought"),
    ],
)
def test_a_solution_without_a_thought_does_not_follow_a_prompt_that_opens_one(solution: str, wrong: str) -> None:
    with pytest.raises(UnfitSolution, match=wrong):
        solution_turn(solution, R1)


def test_a_solution_with_a_thought_does_not_follow_a_prompt_that_closed_one() -> None:
    assert solution_turn("5", QWEN3, closed=True) == "5"
    for solution in ("<think>a</think>5", "5<think>", "a</think>5", "<think>\n\n</think>\n\n5"):
        with pytest.raises(UnfitSolution, match="and the prompt ends a thought"):
            solution_turn(solution, QWEN3, closed=True)


def test_a_thought_does_not_follow_a_closed_one_of_undeclared_marks() -> None:
    assert solution_turn("5", None, closed=True) == "5"
    with pytest.raises(UnfitSolution, match="contains `<think>`, and the prompt ends a thought"):
        solution_turn("<think>a</think>5", None, closed=True)
    turns = SolutionTurns("m", None, closed=True)
    assert [turns.turn("a:1", "p0", "5"), turns.turn("a:2", "p1", "<think>a</think>5")] == ["5", "<think>a</think>5"]
    with pytest.raises(DataError, match="1 of 2 solutions cannot be trained on by `m`: its prompt ends a thought"):
        turns.refuse()


def test_marks_of_both_kinds_are_refused() -> None:
    for solution in ("<think>a [T] b</think>5", "[T]<think>a</think>[/T]5", "<think>a</think>5[/T]"):
        for opened_by in ("prompt", "model", None):
            with pytest.raises(UnfitSolution, match=r"contains `\[/?T\]` of the model beside `<think>`"):
                solution_turn(solution, PlainMarks("[T]", "[/T]", opened_by))


def test_marks_with_white_space_or_alike() -> None:
    assert solution_turn("<think>\na\n</think>5", PlainMarks("<think>\n", "\n</think>\n", "prompt")) == "a\n</think>5"
    assert solution_turn("*a*5", PlainMarks("*", "*", "prompt")) == "a*5"
    assert solution_turn("a*5", PlainMarks("*", "*", "prompt")) == "a*5"
    assert solution_turn("<t>a<t>>5", PlainMarks("<t>", "<t>>", "prompt")) == "a<t>>5"
    assert solution_turn("a<t>>5", PlainMarks("<t>", "<t>>", "prompt")) == "a<t>>5"


@pytest.mark.parametrize("marks", [R1, OTHER])
def test_generated_solutions_keep_their_thought_and_their_answer(marks: PlainMarks) -> None:
    """Whatever is accepted is read, after the prompt, as the solution itself is read; whatever is refused could not."""
    chance = random.Random(1)
    parts = ["<think>", "</think>", "a", "\n", " ", "5", "é"]
    solutions = {"".join(item) for size in range(6) for item in itertools.product(parts[:5], repeat=size)}
    solutions |= {"".join(chance.choices(parts, k=chance.randrange(6, 14))) for _ in range(3000)}
    accepted = 0
    for solution in solutions:
        whole = cut_thinking(solution, SOLUTION_MARKS, False)
        begins = solution.lstrip().startswith("<think>")
        try:
            turn = solution_turn(solution, marks)
        except UnfitSolution:
            first = min((solution.find(mark) for mark in ("<think>", "</think>") if mark in solution), default=-1)
            late = first >= 0 and solution.startswith("<think>", first) and solution[:first].strip()
            assert first < 0 or late or not whole.finished, repr(solution)
            continue
        accepted += 1
        read = cut_thinking(turn, marks, False)
        ours = turn.replace("[T]", "<think>").replace("[/T]", "</think>")
        assert read.finished and read.thinking is not None and whole.finished, repr(solution)
        assert read.answer == whole.answer, repr(solution)
        rest = solution.lstrip().removeprefix("<think>").lstrip() if begins else solution
        assert ours == rest, repr(solution)
    assert accepted > 1000


def test_rows_without_a_thought_are_counted_and_the_first_is_named() -> None:
    turns = SolutionTurns("r1", R1)
    given = ["<think>a</think>5", "5", "no", "<think>b</think>6"]
    made = [turns.turn(f"data/q.jsonl:{line}", f"q{line}", text) for line, text in enumerate(given, 1)]
    assert made[0] == "a</think>5" and made[3] == "b</think>6"
    with pytest.raises(DataError) as caught:
        turns.refuse()
    assert caught.value.message == (
        "data/q.jsonl:2: the solution of `q2` has no whole thought, up to `</think>`; 2 of 4 solutions cannot be "
        "trained on by `r1`: its prompt opens a thought, so a solution must be `<think>`, the thought, `</think>`, "
        "the answer"
    )
    assert "fields: {thinking: ...}" in str(caught.value.hint)
    SolutionTurns("r1", R1).refuse()
    closed = SolutionTurns("q", QWEN3, closed=True)
    closed.turn("f:1", "q1", "<think>a</think>5")
    with pytest.raises(DataError, match="its prompt ends a thought, so a solution must have none") as caught:
        closed.refuse()
    assert "enable_thinking: true" in str(caught.value.hint)
