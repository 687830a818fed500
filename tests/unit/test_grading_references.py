"""References that no answer can be graded against, and those that only look so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from its.grading.grade import Grader
from its.grading.normalise import AnswerKind
from its.grading.references import compared_as_text, references_agree, ungradable_references


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("1/0", "the reference `1/0` divides by zero"),
        ("\\frac{1}{0}", "the reference `\\frac{1}{0}` divides by zero"),
        ("\\frac{3}{2-\\sqrt{4}} + 1", "divides by zero"),
        ("?", "the reference `?` has no letter and no digit"),
        ("2\\sqrt{", "the reference `2\\sqrt{` cannot be parsed: a `{` is not closed"),
        ("\\frac{1}{2}}", "unmatched `}`"),
        ("\\begin{cases} 1 \\\\ 2", "a `\\begin{cases}` is not closed"),
        ("{1 \\end{cases}}", "unmatched `\\end{cases}`"),
        ("nan", "the reference `nan` stands for a missing value"),
        ("None", "stands for a missing value"),
        ("$NULL$", "stands for a missing value"),
        ("n/a", "stands for a missing value"),
        ("Infinity", "the reference `Infinity` is not a value"),
        ("-inf", "the reference `-inf` is not a value"),
        (str(json.loads("NaN")), "stands for a missing value"),
        (str(json.loads("-Infinity")), "is not a value"),
        ("see solution", "the reference `see solution` is a statement about an answer"),
        ("The answer is 5", "is a statement about an answer"),
        ("\\text{The final answer is } 5", "is a statement about an answer"),
        ("proof", "is a statement about an answer"),
        ("[asy] draw((0,0)--(1,1)); [/asy]", "contains a figure"),
        ("Proof. " + "Let x be the smallest of them, then we are done. " * 5, "has 51 words"),
    ],
)
def test_no_answer_could_be_told_right(reference: str, message: str) -> None:
    (fault,) = ungradable_references([("p.jsonl:1", reference, "math")])
    assert fault.where == "p.jsonl:1"
    assert message in fault.message
    assert fault.hint


GOOD = [
    "7",
    "8",
    "-\\infty",
    "\\text{None}",  # of the above
    "no solution",
    "\\text{no solutions}",
    "infinitely many solutions",
    "\\text{Evelyn}",
    "\\text{Monday}, the 3rd",
    "\\{1, 2\\}",
    "[0,1)",
    "\\left[0,\\frac{1}{2}\\right)",
    "\\begin{pmatrix} 1 & 2 \\\\ {3} & 4 \\end{pmatrix}",
    "x \\in (-\\infty, 0) \\cup (0, \\infty)",
    "y = 2x + 3",
    "2^{100}",
    "\\sqrt[3]{2}",
    "9^{9^{9^9}}",  # its like is right, and nothing else is decided
    "2^{100000}",
    "\\text{The area is at most } \\frac{1}{2}",
    "\\sin t",
    "(2k-1)!!",
    "\\lambda_{\\text{red}}/\\sqrt{2}",
]


def test_what_can_be_graded_passes() -> None:
    faults = ungradable_references((text, text, "math") for text in GOOD)
    assert [(fault.where, fault.message) for fault in faults] == []


@pytest.mark.parametrize("kind", ["integer", "number", "choice"])
def test_other_kinds_say_what_they_want(kind: AnswerKind) -> None:
    faults = ungradable_references((f"p:{n}", text, kind) for n, text in enumerate(["None", "inf", "nan", None], 1))
    assert [fault.where for fault in faults] == ["p:1", "p:2", "p:3", "p:4"]


def test_faults_come_in_the_order_of_the_rows() -> None:
    texts = ["nan", "1/0", "x+1", "", "see proof", "?", "{", "5"]
    faults = ungradable_references((f"p:{n}", text, "math") for n, text in enumerate(texts, 1))
    assert [fault.where for fault in faults] == ["p:1", "p:2", "p:4", "p:5", "p:6", "p:7"]


def test_what_cannot_be_parsed_is_compared_as_text() -> None:
    assert compared_as_text("\\text{The area is at most } \\frac{1}{2}", "math") == "`The` is a word"
    for reference, kind in (("\\frac{x}{2}", "math"), ("5", "math"), ("Evelyn", "math"), ("5 of them", "number")):
        assert compared_as_text(reference, kind) is None  # type: ignore[arg-type]


def test_references_agree_only_where_the_grader_can_tell() -> None:
    with Grader() as grader:
        assert references_agree("\\frac{x}{2}", "0.5x", "math", grader)
        assert not references_agree("x", "2x", "math", grader)
        assert not references_agree("\\int x\\,dx", "x^2", "math", grader)  # undecided


def test_recipe_check_names_faulty_rows_and_faulty_references_at_once(
    project: Path, edit: Callable[..., None], its: Callable[..., tuple[int, str, str]]
) -> None:
    rows = [("1", "5"), ("2", ""), ("3", "many"), ("\u0007", "6"), ("5", "nan")]
    lines = "".join(json.dumps({"q": text, "a": reference}) + "\n" for text, reference in rows)
    (project / "data" / "sources" / "test.jsonl").write_text(lines, encoding="utf-8")
    text = (project / "params.yaml").read_text(encoding="utf-8")
    source = re.search(r"  arithmetic_test:\n(    source:\n(?:      .*\n)+)", text)
    assert source
    file = "    source: {kind: files, path: data/sources/test.jsonl}\n    fields: {problem: q, reference: a}\n"
    edit((source.group(), f"  arithmetic_test:\n{file}"))
    code, _, said = its("recipe", "check", "params.yaml")
    assert code == 3
    assert re.findall(r"test\.jsonl:(\d+): ", said) == ["2", "4", "3", "5"], said
