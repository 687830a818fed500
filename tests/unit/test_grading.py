"""The grader: every row of cases/grading.jsonl, hostile texts, properties, agreement with published verdicts."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from its.grading.equal import GraderError, equivalent, normalise_answer
from its.grading.extract import AnswerKind, extract_answer
from its.grading.grade import GRADER_VERSION, grade_response

ROOT = Path(__file__).resolve().parents[2]
CASES = [json.loads(line) for line in (ROOT / "tests/cases/grading.jsonl").read_text("utf-8").splitlines()]
SHARED = Path(os.environ.get("ITS_SHARED_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case['why']}" for i, case in enumerate(CASES, 1)])
def test_case(case: dict[str, Any]) -> None:
    verdict = grade_response(
        query_id="q", sample_index=0, text=case["response"], reference=case["reference"], kind=case["kind"]
    )
    assert verdict.verdict == case["verdict"], (verdict.answer, case["why"])
    assert verdict.grader_version == GRADER_VERSION


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
    assert {case["verdict"] for case in CASES} == {"correct", "incorrect", "no_answer", "grader_error"}


@pytest.mark.parametrize(
    ("answer", "kind", "form"),
    [
        ("007", "integer", "7"),
        ("1,000", "integer", "1000"),
        ("27.0", "integer", "27"),
        ("\\$5", "integer", "5"),
        ("-0", "integer", "0"),
        ("\u22125", "integer", "-5"),
        ("\\dfrac{1}{2}", "math", "\\frac{1}{2}"),
        ("0.5", "math", "\\frac{1}{2}"),
        ("\\left( 1, 2 \\right).", "math", "(1,2)"),
        ("2 \\pi r", "math", "2\\pi r"),
        ("11 1/2", "math", "\\frac{23}{2}"),
        ("y = 2x + 1", "math", "y=2x+1"),
        ("(b)", "choice", "B"),
    ],
)
def test_normalised_form(answer: str, kind: AnswerKind, form: str) -> None:
    assert normalise_answer(answer, kind) == form
    assert normalise_answer(form, kind) == form


@pytest.mark.parametrize("kind", ["integer", "math", "choice"])
@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 15_000,
        "{" * 100_000,
        "\\boxed{" + "{" * 50_000 + "}" * 50_000 + "}",
        "\\(" * 50_000,
        "\\[" * 50_000,
        "$" * 100_000,
        "$$ " * 30_000,
        "1," * 50_000,
        "1,000" * 20_000,
        ",".join(["1"] + ["000"] * 25_000) + "0",
        "9" * 100_000,
        "final answer " * 8_000,
        "final answer is" + " " * 100_000,
        "#" * 100_000,
        "####" + " " * 100_000,
        "answer is " * 10_000,
        "answer" + " " * 100_000,
        " " * 100_000 + "x",
        "\\" * 100_000,
        "-" * 100_000,
    ],
    ids=lambda text: text[:8],
)
def test_long_texts_take_no_time(text: str, kind: AnswerKind) -> None:
    start = time.perf_counter()
    grade_response(query_id="q", sample_index=0, text=text, reference="A" if kind == "choice" else "5", kind=kind)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    "answer",
    ["9^{9^9}", "9^9^9", "9**9**9", "9^{99999999}", "(9^{9999})^{9999}", "9^{2\\cdot9^9}", "99999!", "9!!", "(9^9)!"],
)
def test_what_no_signal_can_stop_is_refused(answer: str) -> None:
    start = time.perf_counter()
    with pytest.raises(GraderError, match="worked out"):
        equivalent(answer, "x", "math")
    assert time.perf_counter() - start < 1


def test_deep_nesting_is_a_grader_error_or_wrong_not_a_crash() -> None:
    for answer in ("(" * 400 + "1" + ",1)" * 400, "(" * 900, "\\frac{" * 300):
        verdict = grade_response(query_id="q", sample_index=0, text=f"${answer}$", reference="(1,2)", kind="math")
        assert verdict.verdict in {"incorrect", "grader_error"}


def test_math_off_the_main_thread_is_a_loud_bug() -> None:
    seen: list[BaseException] = []

    def work() -> None:
        try:
            equivalent("x+1", "1+x", "math")
        except RuntimeError as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen) == 1 and "main thread" in str(seen[0])


def test_integer_never_needs_math_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "math_verify", None)
    assert equivalent("1,000", "1000.0", "integer")
    assert not equivalent("\\frac{x}{2}", "1000", "integer")


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_every_integer_is_found_in_every_dress(value: int) -> None:
    for text in (f"\\boxed{{{value}}}", f"The final answer is {value}.", f"x\n#### {value:,}", f"I get {value:,}."):
        for kind in ("integer", "math"):
            verdict = grade_response(query_id="q", sample_index=0, text=text, reference=str(value), kind=kind)
            assert (verdict.verdict, verdict.answer) == ("correct", str(value)), text


@settings(deadline=None)
@given(st.text(max_size=80), st.sampled_from(["integer", "math", "choice"]))
def test_normalising_never_raises_and_is_idempotent_on_numbers(text: str, kind: AnswerKind) -> None:
    form = normalise_answer(text, kind)
    if form.lstrip("-").isdecimal() and form.isascii():
        assert normalise_answer(form, kind) == form
    extract_answer(text, kind)


@settings(deadline=None)
@given(st.integers(1, 10**6))
def test_no_percentage_rule(value: int) -> None:
    for other in (f"{value * 100}", f"{value / 100}"):
        assert not equivalent(str(value), other, "math")
        assert not equivalent(str(value), other, "integer")


def test_agreement_with_published_gsm8k_verdicts() -> None:
    path = SHARED / "grading" / "gsm8k_four_models.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not there; set ITS_SHARED_DATA")
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(500), strict=False)]
    agreed = 0
    for row in rows:
        verdict = grade_response(
            query_id="q", sample_index=0, text=row["response"], reference=row["gold"], kind="integer"
        )
        agreed += (verdict.verdict == "correct") == row["expected"]
    assert agreed / len(rows) >= 0.99
