"""The grader: every row of cases/grading.jsonl, what is extracted and by which rule, canonical forms, hostile texts."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import processor_seconds

from its.grading.equal import GraderError, compare_answer
from its.grading.extract import extract_answer
from its.grading.grade import GRADER_VERSION, Grader, Item
from its.grading.normalise import AnswerKind, normalise_answer, read_answer
from its.grading.references import ungradable_references
from its.thinking import PlainMarks
from its.types import Verdict

ROOT = Path(__file__).resolve().parents[2]
CASES = [json.loads(line) for line in (ROOT / "tests/cases/grading.jsonl").read_text("utf-8").splitlines()]
KINDS: list[AnswerKind] = ["integer", "number", "math", "choice"]
THINK = PlainMarks("<think>", "</think>")


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as opened:
        yield opened


def _item(text: str, reference: str, kind: AnswerKind, thinking: PlainMarks | None = None) -> Item:
    return Item("q", 0, text, reference, kind, thinking)


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case['why']}" for i, case in enumerate(CASES, 1)])
def test_case(case: dict[str, Any], grader: Grader) -> None:
    verdict = grader.grade_one(_item(case["response"], case["reference"], case["kind"]))
    assert verdict.verdict == case["verdict"], (verdict, case["why"])
    assert verdict.rule == case.get("rule", verdict.rule)
    assert verdict.grader_version == GRADER_VERSION
    if verdict.span is not None:  # what it says of where the answer stands is true
        start, end = verdict.span
        assert 0 <= start < end <= len(case["response"])


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 100
    assert {case["verdict"] for case in CASES} == {"correct", "incorrect", "no_answer", "grader_error"}
    assert {case["kind"] for case in CASES} == set(KINDS)


@pytest.mark.parametrize(
    ("answer", "kind", "form"),
    [
        ("007", "integer", "7"),
        ("1,000", "integer", "1000"),
        ("27.0", "integer", "27"),
        ("\\$5", "integer", "5"),
        ("-0", "integer", "0"),
        ("\u22125", "integer", "-5"),
        ("\uff11\uff12", "integer", "12"),
        ("\u0663", "integer", "3"),
        ("7\0", "integer", "7"),
        ("0.50", "number", "0.5"),
        ("-1/8", "number", "-0.125"),
        ("1/3", "number", "1/3"),
        ("1,5", "number", "1.5"),
        ("1,500", "number", "1500"),
        ("3 \\times 10^{4}", "number", "30000"),
        ("2.5e-1", "number", "0.25"),
        ("28 percent", "number", "28"),
        ("5 km", "number", "5"),
        ("5 million", "number", "5000000"),
        ("\\dfrac{1}{2}", "math", "\\frac{1}{2}"),
        ("0.5", "math", "\\frac{1}{2}"),
        ("\\left( 1, 2 \\right).", "math", "(1,2)"),
        ("2 \\pi r", "math", "2\\pi r"),
        ("11 1/2", "math", "\\frac{23}{2}"),
        ("\\sqrt[3]{-8}", "math", "-2"),
        ("y = 2x + 1", "math", "y=2x+1"),
        ("32, 349", "math", "32, 349"),
        ("32,\\! 349", "math", "32349"),
        ("(b)", "choice", "B"),
    ],
)
def test_normalised_form(answer: str, kind: AnswerKind, form: str) -> None:
    assert normalise_answer(answer, kind) == form
    assert normalise_answer(form, kind) == form


@pytest.mark.parametrize(
    ("text", "kind", "answer", "rule", "where"),
    [
        ("so \\boxed{204}.", "integer", "204", "box", "204"),
        ("\\boxed{1}, \\boxed{2} and \\boxed{3}", "math", "1, 2, 3", "boxes", "\\boxed{1}, \\boxed{2} and \\boxed{3}"),
        ("\\boxed{3}. No: \\boxed{4}", "math", "4", "box", "4"),
        ("\\boxed{3}\n\nso\n\n\\boxed{3} and \\boxed{3}", "math", "3", "box", "3"),
        ("<answer> 12 </answer> or so", "integer", "12", "tag", " 12 "),
        ("<answer>it is \\boxed{12}</answer>", "integer", "12", "box", "12"),
        ("\\boxed{7} <answer>8</answer>", "math", "8", "tag", "8"),
        ("The final answer is $x^2$.", "math", "x^2", "final_answer", "$x^2$"),
        ("\\boxed{200} so the final answer is $455$.", "math", "455", "final_answer", "$455$"),
        ("\\boxed{200}, my final answer is right", "math", "200", "box", "200"),
        ("Final Answer: The volume is 120. I hope it is.", "math", "120", "final_answer", "120"),
        ("text\n#### 18", "integer", "18", "hashes", "18"),
        ("\\frac{10}{9}", "math", "\\frac{10}{9}", "whole", "\\frac{10}{9}"),
        ("wins with probability 2/3. <|im_start|>", "math", "2/3", "last_number", "2/3"),
        ("so it is $ \\frac13 $", "math", "\\frac13", "last_math", "$ \\frac13 $"),
        ("it costs 2,74 now", "number", "2,74", "last_number", "2,74"),
        ('So the answer is "C"', "choice", "C", "final_answer", "C"),
        ("All fail.\nB", "choice", "B", "option", "B"),
        ("All fail, so B", "choice", "B", "last_letter", "B"),
    ],
)
def test_rule_and_place(text: str, kind: AnswerKind, answer: str, rule: str, where: str) -> None:
    found = extract_answer(text, kind)
    assert found is not None
    assert (found.answer, found.rule) == (answer, rule)
    assert text[found.start : found.end] == where


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<think>\\boxed{4}</think> \\boxed{5}", "correct"),
        ("<think>is it \\boxed{5}?", "no_answer"),
        ("<think>is it \\boxed{5}?</think>", "no_answer"),
        ("<think>a</think> \\boxed{5} <think> or \\boxed{4}", "no_answer"),
        ("\\boxed{4}</think>\\boxed{5}", "correct"),  # the template opened the thinking
        ("\\boxed{5}", "correct"),
    ],
)
def test_only_what_follows_the_thinking_is_an_answer(text: str, verdict: str, grader: Grader) -> None:
    assert grader.grade_one(_item(text, "5", "integer", THINK)).verdict == verdict


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 15_000,
        "\\boxed{1} " * 100_000,
        "\\boxed{1}, \\boxed{2}" * 20_000,
        "{" * 100_000,
        "\\boxed{" + "{" * 50_000 + "}" * 50_000 + "}",
        "\\boxed{" + " " * 100_000,
        "\\(" * 50_000,
        "\\[" * 50_000,
        "$" * 100_000,
        "$$ " * 30_000,
        "$x " * 30_000,
        "1," * 50_000,
        "1,000" * 20_000,
        "K2A " * 50_000,
        ",".join(["1"] + ["000"] * 25_000) + "0",
        "9" * 1_000_000,
        "1/" * 50_000,
        "\\frac{" * 20_000 + "1",
        "<answer>" * 20_000,
        "<answer>" + "x" * 100_000,
        "final answer " * 8_000,
        "final answer is" + " " * 100_000,
        "#" * 100_000,
        "####" + " " * 100_000,
        "answer is " * 10_000,
        "answer" + " " * 100_000,
        " " * 100_000 + "x",
        "\\" * 100_000,
        "-" * 100_000,
        "\0" * 100_000 + "\\boxed{5}",
        "\u0665" * 100_000,
        "word " * 200_000 + "\\boxed{A}",
    ],
    ids=lambda text: repr(text[:8]),
)
def test_long_texts_take_little_time(text: str, kind: AnswerKind) -> None:
    with processor_seconds(2):
        found = extract_answer(text, kind)
        if found is not None:
            form = normalise_answer(found.answer, kind)
            with contextlib.suppress(GraderError):
                compare_answer(read_answer(form, kind), "A" if kind == "choice" else "5", kind)


@pytest.mark.parametrize(
    "answer", ["9^{9^9}", "9^9^9", "9**9**9", "9^{99999999}", "(9^{9999})^{9999}", "99999!", "((9!)!)!", "(9^9)!"]
)
def test_plain_towers_are_refused_at_once(answer: str) -> None:
    with pytest.raises(GraderError, match="is not evaluated"):
        compare_answer(read_answer(answer, "math"), "x", "math")


def test_rational_numbers_never_need_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpmath", None)
    monkeypatch.setattr("its.grading.grade.WorkerPool", None)  # nor a process
    grader = Grader()
    assert grader.equivalent("1,000", "1000.0", "integer")
    assert not grader.equivalent("\\frac{x}{2}", "1000", "integer")
    assert grader.equivalent("\\frac{2}{4}", "0.5", "math")
    assert grader.equivalent("2^{10} + \\sqrt{16} + 3!", "1034", "integer")


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("0.333333", "\\frac{1}{3}", True),
        ("0.33", "\\frac{1}{3}", False),
        ("0.66667", "2/3", False),
        ("0.666667", "2/3", True),
        ("0.666666", "2/3", True),
        ("0.666668", "2/3", False),
        ("2.999999", "3", False),  # not endless: 3 is 3
        ("0.000001", "1/1000003", False),  # one digit that counts
        ("0.00000333333", "1/300000", True),  # six of them, wherever they stand
        ("33.3333", "100/3", False),  # six digits, but four places
        ("33.333333", "100/3", True),
        ("333.33", "1000/3", False),
        ("333333", "1000000/3", False),  # an integer is no decimal
    ],
)
def test_a_decimal_needs_six_digits_to_stand_for_a_fraction(answer: str, reference: str, same: bool) -> None:
    for kind in ("number", "math"):
        assert compare_answer(read_answer(answer, kind), reference, kind) is same
        assert compare_answer(read_answer(reference, kind), answer, kind) is same


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_every_integer_is_found_in_every_formatting(value: int) -> None:
    for text in (f"\\boxed{{{value}}}", f"The final answer is {value}.", f"x\n#### {value:,}", f"I get {value:,}."):
        for kind in ("integer", "number", "math"):
            verdict = Grader().grade_one(_item(text, str(value), kind))
            assert (verdict.verdict, verdict.answer) == ("correct", str(value)), text


@settings(deadline=None)
@given(st.text(max_size=80), st.sampled_from(KINDS))
def test_normalising_never_raises_and_is_idempotent_on_numbers(text: str, kind: AnswerKind) -> None:
    form = normalise_answer(text, kind)
    if form.lstrip("-").isdecimal() and form.isascii():
        assert normalise_answer(form, kind) == form
    found = extract_answer(text, kind)
    assert found is None or 0 <= found.start < found.end <= len(text)


@settings(deadline=None)
@given(st.integers(1, 10**6))
def test_no_percentage_rule(value: int) -> None:
    for other in (f"{value * 100}", f"{value / 100}"):
        for kind in ("integer", "number", "math"):
            if kind != "integer" or float(other).is_integer():
                assert not compare_answer(read_answer(str(value), kind), other, kind)


@pytest.mark.parametrize(
    ("reference", "kind", "message"),
    [
        ("", "math", "the reference is empty"),
        ("27.5", "integer", "is not an integer"),
        ("many", "number", "is not a number"),
        ("K", "choice", "is not a letter A-J"),
        ("\\frac{1}{", "math", "cannot be parsed"),
        ("x" * 2001, "math", "of 2001 characters"),
        (None, "math", "no reference"),
    ],
)
def test_references_that_nothing_can_be_graded_against(reference: str | None, kind: AnswerKind, message: str) -> None:
    good = "3" if kind != "choice" else "C"
    faults = ungradable_references([("p.jsonl:1", good, kind), ("p.jsonl:2", reference, kind)])
    assert [fault.where for fault in faults] == ["p.jsonl:2"]
    assert message in faults[0].message
    assert faults[0].hint


def test_all_faults_of_the_references_at_once() -> None:
    texts = ["(1,2]", "", "\\text{Evelyn}", "\\frac{", "x \\in [0,1)"]
    faults = ungradable_references((f"p:{n}", text, "math") for n, text in enumerate(texts, 1))
    assert [fault.where for fault in faults] == ["p:2", "p:4"]


def test_old_verdicts_are_read_and_reasons_are_for_errors() -> None:
    old = {"query_id": "q", "sample_index": 0, "answer": "7", "verdict": "correct", "grader_version": "1"}
    assert Verdict.model_validate(old).rule is None
    with pytest.raises(ValueError, match="`reason` is for `grader_error` alone"):
        Verdict.model_validate({**old, "reason": "slow"})
    with pytest.raises(ValueError, match="None exactly if"):
        Verdict.model_validate({**old, "answer": None})
