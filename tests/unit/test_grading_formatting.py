r"""One value in many formats, and what only looks like it: answers as models write them, graded as a reader would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pace import processor_seconds

from its.grading.equal import compare_answer
from its.grading.extract import extract_answer
from its.grading.grade import Grader, Item
from its.grading.normalise import AnswerKind, normalise_answer, read_answer


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as opened:
        yield opened


def _verdict(grader: Grader, text: str, reference: str, kind: AnswerKind) -> str:
    return grader.grade_one(Item("q", 0, text, reference, kind)).verdict


@pytest.mark.parametrize(
    "answer",
    [
        *("\\text{25}", "\\mathbf{25}", "\\mathrm{25}", "\\bf 25", "{25}", "(25)", "\\left(25\\right)", '"25"'),
        *("\\approx 25", "x \\approx 25", "x = 25", "\\textbf{(C) } 25", "\\textbf{(C)}\\ 25", "25^{\\text{th}}"),
        *("25th", "25\\ ", "25\\\\", "\\textcolor{blue}{25}", "\\underline{25}", "25\\checkmark", "25,", "25 m"),
        *("20+5", "5^2", "\\sqrt{625}", "25\\cdot 1", "\\frac{50}{2}", "25 cm^2", "25\\text{ cm}^2", "25^\\circ"),
    ],
)
def test_an_integer_is_seen_in_every_formatting(grader: Grader, answer: str) -> None:
    for kind in ("integer", "number"):
        assert _verdict(grader, f"\\boxed{{{answer}}}", "25", kind) == "correct"
        assert _verdict(grader, f"\\boxed{{{answer}}}", "26", kind) == "incorrect"


@pytest.mark.parametrize(
    "answer",
    ["x <= 25", "x != 25", "x \\le 25", "x \\neq 25", "25 or 26", "25, 26", "25i", "25x", "2 5", "25 million", "-25"],
)
def test_what_only_holds_an_integer_is_not_it(grader: Grader, answer: str) -> None:
    for kind in ("integer", "number"):
        assert _verdict(grader, f"\\boxed{{{answer}}}", "25", kind) == "incorrect"


@pytest.mark.parametrize(
    "answer",
    [
        *("12 m", "12 g", "12ft", "12^\\circ\\text{C}", "12 m/s", "12 cm^2", "12 m\u00b2", "12 N", "12\u00b0C", "12cm"),
        *("12 km/h", "12 miles per hour", "12 m/s^2", "\\approx 12", "12\\,\\text{kg}", "12 square meters", "12L"),
    ],
)
def test_a_unit_goes(answer: str) -> None:
    assert normalise_answer(answer, "number") == "12"


@pytest.mark.parametrize("answer", ["12M", "12 hundredths", "12 tenths", "12 lakh", "12 million", "12 x", "12 pi"])
def test_what_changes_a_number_is_no_unit(grader: Grader, answer: str) -> None:
    assert _verdict(grader, f"\\boxed{{{answer}}}", "12", "number") == "incorrect"


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        *(("1 2", "12"), ("1 2 3", "123"), ("1 2, 3", "12, 3"), ("(1 2,3)", "(12,3)"), ("2 3^2", "23^2")),
        ("\\begin{pmatrix}1 2\\\\3\\end{pmatrix}", "\\begin{pmatrix}12\\\\3\\end{pmatrix}"),
        *(("2I", "2i"), ("\\pi R^2", "\\pi r^2"), ("\\Delta", "\\delta"), ("2N", "2n"), ("x=2", "y=2"), ("z=0", "x=0")),
        *(("5 \\text{ million}", "5"), ("2\\text{ thousand}", "2"), ("3 \\text{ dozen}", "3")),
        *(("5\\text{ squared}", "5"), ("2\\text{ a.m.}", "2\\text{ p.m.}"), ("4:00", "3:00")),
    ],
)
def test_what_differs_is_not_equal(grader: Grader, answer: str, reference: str) -> None:
    assert _verdict(grader, f"\\boxed{{{answer}}}", reference, "math") == "incorrect"
    assert _verdict(grader, f"\\boxed{{{answer}}}", answer, "math") == "correct"


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("(1,2)", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
        ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)"),
        *(("0.\\overline{3}", "\\frac13"), ("0.1\\overline{6}", "\\frac16"), ("-1.\\overline{27}", "-\\frac{14}{11}")),
        *(("evelyn", "Evelyn"), ("3:00", "3:00"), ("3 : 00", "3:00"), ("x = 2", "2"), ("2", "x=2"), ("X=2", "2")),
        *(("x \\cdot y", "xy"), ("2\\sqrt{3}", "\\sqrt{12}")),
    ],
)
def test_what_is_the_same_is_equal(grader: Grader, answer: str, reference: str) -> None:
    assert _verdict(grader, f"\\boxed{{{answer}}}", reference, "math") == "correct"


@pytest.mark.parametrize(
    ("text", "kind", "answer"),
    [
        ("It is not \\boxed{3}, but \\boxed{5}.", "math", "5"),
        ("We first get \\boxed{3}, so the answer is \\boxed{5}.", "math", "5"),
        ("Since r = \\boxed{3}, the sum is \\boxed{5}", "math", "5"),
        ("\\boxed{3}, \\boxed{5}", "math", "3, 5"),
        ("x = \\boxed{3} or x = \\boxed{5}", "math", "3, 5"),
        ("The final answer is 5 (since 3+2).", "math", "5"),
        ("The final answer is 3 + 2 = 5, as was shown.", "math", "5"),
        ("p - q", "math", "p - q"),
    ],
)
def test_the_answer_of_a_text(text: str, kind: AnswerKind, answer: str) -> None:
    found = extract_answer(text, kind)
    assert found is not None and found.answer == answer


def test_an_empty_box_is_no_answer() -> None:
    for kind in ("integer", "number", "math", "choice"):
        assert extract_answer("\\boxed{}", kind) is None


@pytest.mark.parametrize(
    "text",
    [
        *("\\boxed{\\text{Option B}}", "\\boxed{B,}", "\\boxed{(\\text{B})}", "\\boxed{B \\text{ (12)}}"),
        *("\\boxed{\uff22}", "<answer>Option B</answer>", "<answer>The answer is B</answer>"),
        *("Option B is the correct answer.", "\\boxed{\\textbf{(B)} 12}", "The answer is **B**", "\\boxed{b}"),
        *("The correct option is B.", "\\boxed{B: 12 apples}"),
    ],
)
def test_a_choice_is_seen_in_every_formatting(grader: Grader, text: str) -> None:
    assert _verdict(grader, text, "B", "choice") == "correct"
    assert _verdict(grader, text, "C", "choice") == "incorrect"


@pytest.mark.parametrize(
    "text", ["The answer is not B.", "The answer is B or C", "\\boxed{Bob}", "\\boxed{a man}", "It is neither A nor B."]
)
def test_what_is_no_choice(grader: Grader, text: str) -> None:
    assert _verdict(grader, text, "B", "choice") == "no_answer"


def test_a_fraction_of_thousands_of_digits_is_compared(grader: Grader) -> None:
    """Python refuses to write numbers of more than 4,300 digits."""
    for kind in ("number", "math"):
        assert _verdict(grader, f"\\boxed{{1/{2**6600}}}", "1/3", kind) == "incorrect"


def test_a_fault_of_the_grader_is_a_grader_error(grader: Grader, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("not foreseen")

    monkeypatch.setattr("its.grading.grade.compare_answer", fails)
    found = grader.grade_one(Item("q", 0, "\\boxed{5}", "5", "math"))
    assert (found.verdict, found.reason) == ("grader_error", "the grader failed: RuntimeError: not foreseen")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("\\boxed{x=" + "1" * 200_000 + "=}", "math"),
        ("\\boxed{" * 20_000 + "x" + "}" * 20_000, "choice"),
        ("\\boxed{" + "(" * 50_000 + "5" + ")" * 50_000 + "}", "integer"),
        ("\\boxed{" + "\\text{" * 20_000 + "5" + "}" * 20_000 + "}", "integer"),
        ("\\boxed{" + "=" * 100_000 + "}", "integer"),
        ("\\boxed{0." + "1" * 100_000 + "\\overline{3}}", "math"),
        ("The answer is " + "B or " * 20_000, "choice"),
        ("\\boxed{" + "option " * 20_000 + "}", "choice"),
    ],
    ids=["named", "nested letters", "parentheses", "text", "equals", "overline", "or", "option"],
)
def test_no_formatting_takes_long(text: str, kind: AnswerKind) -> None:
    with processor_seconds(1):
        found = extract_answer(text, kind)
        if found is not None:
            normalise_answer(found.answer, kind)


def test_integers_stay_exact() -> None:
    assert compare_answer(read_answer("24.9999999", "integer"), "25", "integer") is False
    assert compare_answer(read_answer("1,000", "integer"), "1000", "integer") is True
