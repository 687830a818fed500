"""Regenerated solutions, as values: the text of a response, who needs one, the counts; and the checks of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from its.errors import FaultsError
from its.grading.grade import Grader, Item
from its.recipe.load import load_recipe
from its.recipe.sampling_checks import all_sampled, extras
from its.recipe.schema import Strategy
from its.recipe.schema.strategies import Mix, Union
from its.recipe.template_checks import _use
from its.report.data import TrainedAccount
from its.report.warnings import solution_warnings
from its.sources.thoughts import Trace, normal_trace
from its.strategies.members import members_of
from its.strategies.query import UnfitSolution, solution_turn
from its.strategies.solutions import (
    has_known_marks,
    solution_summary,
    solution_text,
    solutions_needed,
    trained_summary,
)
from its.thinking import SOLUTION_MARKS, PlainMarks
from its.types import Solution

Edit = Callable[..., None]
THINK = PlainMarks("<think>", "</think>")
R1 = PlainMarks("<think>", "</think>", "prompt")
OWN = PlainMarks("[THINK]", "[/THINK]", "model")
WHOLE = "<think>\na\n</think>\n\n5"


@pytest.mark.parametrize(
    ("text", "apart", "marks", "wanted"),
    [
        ("  It is 5.\n", None, None, "It is 5."),
        ("It is 5.", None, THINK, "It is 5."),
        ("<think>\na\n</think>\n\n5", None, THINK, WHOLE),
        ("<think>a</think>5", None, None, "<think>a</think>5"),  # a teacher without declared marks
        ("\na\n</think>\n\n5\n", None, R1, WHOLE),  # the prompt wrote the first mark
        ("[THINK]a[/THINK] 5", None, OWN, WHOLE),
        ("5", "a", None, WHOLE),  # a server that separates the thought
        ("5", "a", R1, WHOLE),
        ("5", "", R1, "<think>\n\n</think>\n\n5"),
        ("5", None, R1, None),  # never ended its thought
        ("<think>a", None, THINK, None),
        ("<think>a</think>5<think>b</think>6", None, THINK, "<think>\na\n\nb\n</think>\n\n5\n6"),
        ("<think>a</think>", None, THINK, "<think>\na\n</think>\n\n"),  # the grader finds no answer
        ("", None, None, ""),
    ],
)
def test_a_response_as_a_solution(text: str, apart: str | None, marks: PlainMarks | None, wanted: str | None) -> None:
    assert solution_text(text, apart, marks) == wanted


@pytest.mark.parametrize(
    ("solution", "known"),
    [
        ("It is 5.", True),
        (WHOLE, True),
        ("a</think>5", False),
        ("5 <think>a</think>", False),
        ("<think>a <think> b</think>5", False),
        ("<think>a</think>5</think>", False),
        ("<think>a", False),
    ],
)
def test_marks_in_an_order_that_prepare_would_refuse_are_known(solution: str, known: bool) -> None:
    assert has_known_marks(solution) == known
    trace = normal_trace(solution)
    assert not known or (isinstance(trace, Trace) and trace.text == solution)


PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "[THINK]", "[/THINK]", "a", " ", "\n", "\\boxed{5}"]), max_size=9
)


@settings(deadline=None)
@given(PIECES.map("".join), st.sampled_from([None, THINK, R1, OWN]), st.none() | PIECES.map("".join))
def test_whatever_is_kept_can_be_written_cut_and_graded_as_a_solution_of_a_dataset(
    text: str, marks: PlainMarks | None, apart: str | None
) -> None:
    solution = solution_text(text, apart, marks)
    if not solution or not has_known_marks(solution):
        return
    assert isinstance(normal_trace(solution), Trace)
    with Grader(workers=1) as grader:
        verdict = grader.grade_one(Item("q", 0, solution, "5", "math", SOLUTION_MARKS)).verdict
    assert (verdict == "correct") <= ("5" in solution.rpartition("</think>")[2])
    for own in (None, THINK, R1, OWN):
        try:
            turn = solution_turn(solution, own)
        except UnfitSolution:
            continue
        assert turn.strip()


STRATEGIES = {
    "none": Strategy(query="prompts/q.j2"),
    "fresh": Strategy(query="prompts/q.j2", solutions="regenerate"),
    "other": Strategy(query="prompts/q.j2", solutions="regenerate"),
    "mixed": Strategy(mix=Mix(shares={"fresh": 0.3, "none": 0.7})),
    "both": Strategy(union=Union(of=["none", "fresh", "other"])),
}
IDS = [f"p{number}" for number in range(200)]


def test_a_mix_needs_its_members_for_the_problems_that_it_draws() -> None:
    needed = solutions_needed(STRATEGIES, ["mixed"], IDS, 7)
    assert needed == {"fresh": {item for item in IDS if members_of(STRATEGIES, "mixed", item, 7) == ["fresh"]}}
    assert 30 < len(needed["fresh"]) < 90
    assert solutions_needed(STRATEGIES, ["both"], IDS, 7) == {"fresh": set(IDS), "other": set(IDS)}
    assert solutions_needed(STRATEGIES, ["mixed", "fresh"], IDS, 7) == {"fresh": set(IDS)}
    assert solutions_needed(STRATEGIES, ["none"], IDS, 7) == solutions_needed(STRATEGIES, ["fresh"], [], 7) == {}
    assert solutions_needed(STRATEGIES, [], IDS, 7) == {}


def test_what_a_train_strategy_lost() -> None:
    lost = {"fresh": {"p1", "p2"}, "other": {"p2"}}
    found = {row["strategy"]: row for row in trained_summary(STRATEGIES, "s", list(STRATEGIES), IDS, lost, 7)}
    drawn = sum(members_of(STRATEGIES, "mixed", item, 7) == ["fresh"] for item in lost["fresh"])
    counts = {name: (row["rows"], row["rows_lost"], row["problems_lost"]) for name, row in found.items()}
    assert counts == {
        "none": (200, 0, 0),
        "fresh": (200, 2, 2),
        "other": (200, 1, 1),
        "mixed": (200, drawn, drawn),
        "both": (600, 3, 0),
    }
    rows = [TrainedAccount.model_validate(row) for row in found.values()]
    (warning,) = solution_warnings(rows)
    assert warning.startswith("s: no correct solution was written for some problems")
    assert "198 of 200 under fresh" in warning and "597 of 600 under both" in warning
    assert solution_warnings([rows[0]]) == []


def test_the_account_adds_up() -> None:
    tried: list[tuple[str, Any]] = [
        ("a", ["correct"]),
        ("b", ["cut", "unfit", "correct"]),
        ("c", ["incorrect", "grader_error", "unfit"]),
        ("d", []),
    ]
    found = solution_summary("s", "fresh", tried, {"too_long": 1, "marks": 1}, 99)
    counts = ("problems", "not_asked", "kept", "lost", "attempts", "attempts_per_kept", "tokens")
    assert [found[name] for name in counts] == [4, 1, 2, 1, 7, 2.0, 99]
    assert sum(found["verdicts"].values()) == found["attempts"] and found["lost_problems"] == ["c"]
    assert found["unfit"] == {"marks": 1, "too_long": 1}
    assert solution_summary("s", "fresh", [("a", ["cut"])], {}, 1)["attempts_per_kept"] is None


@pytest.mark.parametrize(
    ("text", "verdicts"),
    [
        ("", ["correct"]),
        ("5", ["incorrect"]),
        ("5", []),
        ("5", ["correct", "correct"]),
        ("", ["correct", "cut"]),
        ("5", ["odd"]),
    ],
)
def test_a_row_with_a_text_ends_with_the_one_correct_attempt(text: str, verdicts: list[Any]) -> None:
    with pytest.raises(ValidationError):
        Solution(problem_id="p", strategy="fresh", text=text, verdicts=verdicts, grader_version="5")


# --- the recipe
FRESH = "strategies:\n  fresh:\n    query: prompts/query_plain.j2\n    solutions: regenerate\n"
SAMPLING = "sampling: {temperature: 0.8, top_p: 1, max_tokens: 64}"
WRITER = f"writer:\n  solutions: {{{SAMPLING}, attempts: 3}}\n"
BOTH = [
    ("strategies:\n", FRESH),
    ("writer:\n", WRITER),
    ("  train: [none, random]", "  train: [none, fresh]"),
]
FILES = "    source: {kind: files, path: data/sources/x.jsonl}\n    fields: {problem: question, solution: answer}\n"
TEACHER = """models:
  teacher:
    source: {kind: hub, id: a/b, revision: "0123456789012345678901234567890123456789"}
    dtype: bfloat16
    context_length: 1024
    special_tokens: {eos: <|im_end|>, pad: <|im_end|>}
"""


def _faults(project: Path) -> list[tuple[str, str, str]]:
    """(line of params.yaml, message, hint) of each fault."""
    path = project / "params.yaml"
    try:
        load_recipe(path, project)
    except FaultsError as error:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [
            (lines[int(fault.where.split(":")[1]) - 1].strip(), fault.message, fault.hint or "")
            for fault in error.faults
        ]
    return []


def test_a_recipe_with_solutions_regenerated_is_sound(project: Path, edit: Edit) -> None:
    edit(*BOTH)
    assert _faults(project) == []
    values = {"writer": {"model": "m", "sampling": {}, "solutions": {"sampling": {"max_tokens": 7}}}}
    (own,) = [item for item in all_sampled(values) if item.values.get("max_tokens") == 7]
    assert own.models == ("m",) and own.places["max_tokens"] == ("writer", "solutions", "sampling", "max_tokens")


@pytest.mark.parametrize(
    ("more", "line", "message", "hint"),
    [
        (
            [(WRITER, "writer:\n")],
            "solutions: regenerate",
            "`strategies.fresh` regenerates its solutions, and no `writer.solutions` says by whom",
            "under `writer`",
        ),
        (
            [("    solutions: regenerate\n", ""), ("  train: [none, fresh]", "  train: [none]")],
            "solutions: {",
            "`writer.solutions` is declared, and no strategy regenerates its solutions",
            "or remove it",
        ),
        (
            [("temperature: 0.8", "temperature: 0")],
            "solutions: {",
            "`writer.solutions.attempts` is 3 at temperature 0: the same solution 3 times",
            "`attempts: 1`",
        ),
        (
            [(SAMPLING, f"model: smolm2_135m, {SAMPLING}")],
            "solutions: {",
            "`writer.solutions.model`: model `smolm2_135m` is not declared",
            "did you mean `smollm2_135m`?",
        ),
        (
            [("max_tokens: 64}", "max_tokens: 1024}")],
            "solutions: {",
            "`writer.solutions.sampling.max_tokens` is 1024: `smollm2_135m` has a context of 1024",
            "leave room",
        ),
        (
            [("top_p: 1, max_tokens: 64", "top_p: 1, max_tokens: 64, extra: {seed: 4}")],
            "solutions: {",
            "`writer.solutions.sampling.extra.seed`: a request gets this from ITS",
            "each response has its own",
        ),
        (
            [("top_p: 1, max_tokens: 64", "top_p: 1, max_tokens: 64, thinking_budget: 9")],
            "solutions: {",
            "`writer.solutions.sampling.thinking_budget` limits the thinking of `smollm2_135m`",
            "thinking: {start",
        ),
        (
            [("top_p: 1, max_tokens: 64", "top_p: 1, max_tokens: 64, extra: {logits_processors: [a.b]}")],
            "solutions: {",
            "`writer.solutions.sampling.extra.logits_processors`",
            "ITS_ALLOW_CODE",
        ),
        (
            [("top_p: 1, max_tokens: 64", "top_p: 1, max_tokens: 64, extra: {api_key: sk-aaaaaaaaaaaaaaaaaaaaaaaa}")],
            "solutions: {",
            "`writer.solutions.sampling.extra.api_key`",
            "leave it in the environment",
        ),
    ],
)
def test_a_fault_is_one_and_located(
    more: list[tuple[str, str]], line: str, message: str, hint: str, project: Path, edit: Edit
) -> None:
    edit(*BOTH)
    edit(*more)
    found = _faults(project)
    own = [item for item in found if message in item[1] and hint in item[2]]
    assert len(own) == 1 and own[0][0].startswith(line), found
    assert len(found) == 1 or "extra" in message, found


def test_a_dataset_without_a_reference_is_named(project: Path, edit: Edit) -> None:
    edit(*BOTH)
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    begin = text.index("    source:", text.index("datasets:\n"))
    path.write_text(text[:begin] + FILES + text[text.index("\nbenchmarks:") :], encoding="utf-8")
    (project / "data" / "sources" / "x.jsonl").write_text('{"question": "a", "answer": "b"}\n', encoding="utf-8")
    ((line, message, hint),) = _faults(project)
    assert line == "arithmetic:" and hint == "add it to `fields`"
    assert message == "`datasets.arithmetic` maps no `reference`, and new solutions are graded against it"
    edit(("solution: answer}", "solution: answer, reference: answer}"))
    assert _faults(project) == []


def test_a_teacher_without_thoughts_cannot_teach_a_model_that_begins_with_one(project: Path, edit: Edit) -> None:
    plain = "    context_length: 1024\n"
    thinking = f"    thinking: {{start: <think>, end: </think>, opened_by: prompt}}\n{plain}"
    edit(*BOTH)
    edit((plain, thinking))
    assert not [
        message for _, message, _ in _faults(project) if "declares no `thinking`" in message
    ]  # it is the teacher
    edit(("models:\n", TEACHER), (SAMPLING, f"model: teacher, {SAMPLING}"))
    own = [(line, hint) for line, message, hint in _faults(project) if "declares no `thinking`" in message]
    assert own == [
        (
            f"solutions: {{model: teacher, {SAMPLING}, attempts: 3}}",
            "another `model`, or `models.teacher.thinking` if it thinks",
        )
    ]


def test_a_teacher_may_have_its_own_frame_but_answers_no_test_query(project: Path, edit: Edit) -> None:
    edit(*BOTH)
    edit(
        ("models:\n", TEACHER),
        (SAMPLING, f"model: teacher, {SAMPLING}"),
        ('  user: "{{ query }}"\n', '  user: "{{ query }}"\n  models: {teacher: {system: Be brief.}}\n'),
    )
    assert _faults(project) == []
    edit(("generation:\n", "generation:\n  models: {teacher: {temperature: 0.5}}\n"))
    ((_, message, hint),) = _faults(project)
    assert "`teacher` is not a model of the design" in message
    assert hint == "`writer.solutions.sampling` is how it is sampled"


def test_the_chat_template_of_a_teacher_is_tried_with_what_it_is_sent() -> None:
    values: dict[str, Any] = {
        "models": {"student": {}, "teacher": {"thinking": {"start": "<think>", "end": "</think>"}}},
        "writer": {"model": "student", "sampling": {}, "solutions": {"model": "teacher", "sampling": {}}},
        "strategies": {"fresh": {"query": "q", "solutions": "regenerate"}},
        "design": {"models": ["student"], "datasets": ["d"], "train": ["fresh"], "test": ["fresh"]},
        "datasets": {"d": {"source": {"kind": "procedural"}}},
        "prompt": {"user": "{{ query }}", "models": {"teacher": {"system": "Be brief."}}},
    }
    teacher = _use("teacher", values["models"]["teacher"], values, None)
    assert (teacher.trained, teacher.asked, teacher.examples) == ((), (True,), False)
    assert "solutions" in teacher.system_of
    student = _use("student", values["models"]["student"], values, THINK)
    assert student.trained == (False,) and student.thoughts and student.plain
    values["models"]["teacher"] = {}
    assert not _use("student", {}, values, THINK).thoughts


def test_what_is_passed_on_is_checked_wherever_it_is() -> None:
    values = {"writer": {"solutions": {"sampling": {"extra": {"a": 1}}}}}
    assert list(extras(values)) == [({"a": 1}, ("writer", "solutions", "sampling", "extra"))]
