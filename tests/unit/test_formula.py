r"""Formulas: what is read, which spellings say the same, and that what differs is never equal (generated)."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pace import processor_seconds

from its.grading.algebra import equivalent
from its.grading.equal import GraderError, compare_answer
from its.grading.formula.reading import read
from its.grading.grade import Grader, Item
from its.grading.normalise import AnswerKind, normalise_answer, read_answer

ROOT = Path(__file__).resolve().parents[2]
CASES = [json.loads(line) for line in (ROOT / "tests/cases/answers.jsonl").read_text("utf-8").splitlines()]


def _same(answer: str, reference: str, kind: AnswerKind = "math") -> bool:
    """As the grader has it, in this process."""
    exact = compare_answer(read_answer(answer, kind), reference, kind)
    return equivalent(answer, reference, kind) if exact is None else exact


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as opened:
        yield opened


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case['why']}" for n, case in enumerate(CASES, 1)])
def test_case(case: dict[str, str], grader: Grader) -> None:
    answer = case["answer"] if "\\boxed" in case["answer"] else f"\\boxed{{{case['answer']}}}"
    verdict = grader.grade_one(Item("q", 0, answer, case["reference"], "math"))
    assert verdict.verdict == case["verdict"], verdict


@pytest.mark.parametrize(
    ("spellings", "opposite"),
    [
        (("x<5", r"x\lt 5"), "x>5"),
        (("x>5", r"x\gt 5"), "x<5"),
        ((r"x\le 5", r"x\leq 5", r"x\leqslant 5", "x≤5"), r"x\ge 5"),
        ((r"x\ge 5", r"x\geq 5", r"x\geqslant 5", "x≥5"), r"x\le 5"),
    ],
)
def test_every_spelling_of_a_relation_keeps_its_direction(spellings: tuple[str, ...], opposite: str) -> None:
    for spelling in spellings:
        assert _same(spelling, spellings[0]) and not _same(spelling, opposite), spelling


def test_there_are_enough_cases_of_each_verdict() -> None:
    verdicts = [case["verdict"] for case in CASES]
    assert (len(CASES) >= 300, verdicts.count("incorrect") >= 60, verdicts.count("grader_error") >= 3) == (True,) * 3


# Numbers, polynomials, sets and intervals that differ are never equal; in every spelling they equal themselves.

rationals = st.fractions(max_denominator=10**9, min_value=-(10**12), max_value=10**12)


def _spellings(value: Fraction) -> list[str]:
    sign, top, below = "-" if value < 0 else "", abs(value.numerator), value.denominator
    found = [f"{sign}\\frac{{{top}}}{{{below}}}", f"{sign}{top}/{below}", f"\\dfrac{{{sign}{top}}}{{{below}}}"]
    found += [f"{sign}\\tfrac {{{top}}} {{{below}}}", f"\\left({sign}\\frac{{{top}}}{{{below}}}\\right)"]
    if below == 1:
        found += [f"{sign}{top}", f"{sign}{top:,}", f"{sign}{top}.0", f"{sign}{top:,}".replace(",", "{,}")]
        found += [f"\\text{{{sign}{top}}}", f"${sign}{top}$", f"{sign}{top}.", f"x = {sign}{top}", f"{sign}{top}e0"]
        found += [
            f"{sign}{top:,}".replace(",", "\\,"),
            f"\u2212{top}" if sign else f"\u200b{top}",
            f"{sign}{top}\\text{{ cm}}",
        ]
    whole, rest = divmod(top, below)
    if whole and rest:
        found += [f"{sign}{whole}\\frac{{{rest}}}{{{below}}}", f"{sign}{whole} {rest}/{below}"]
    return found


@settings(max_examples=300, deadline=None)
@given(rationals)
def test_a_rational_number_equals_itself_in_every_spelling(value: Fraction) -> None:
    spellings = _spellings(value)
    forms = {normalise_answer(spelling, "math") for spelling in spellings}
    assert len(forms) == 1, forms
    assert all(_same(spelling, spellings[0]) for spelling in spellings)


@settings(max_examples=1500, deadline=None)
@given(rationals, rationals | st.just(Fraction(0)), st.integers(0, 40), st.randoms(use_true_random=False))
def test_two_rational_numbers_are_never_equal(one: Fraction, step: Fraction, places: int, draw: random.Random) -> None:
    other = one + (step / 10**places if step else Fraction(1, 10**places))  # a neighbour as near as may be
    assume(one != other)
    assert not _same(draw.choice(_spellings(one)), draw.choice(_spellings(other)))


coefficients = st.lists(st.fractions(-50, 50, max_denominator=12), min_size=3, max_size=5)


def _polynomial(numbers: list[Fraction], draw: random.Random) -> str:
    terms = []
    for power, value in enumerate(numbers):
        if value == 0:
            continue
        number = draw.choice(
            [f"\\frac{{{value.numerator}}}{{{value.denominator}}}", f"({value.numerator}/{value.denominator})"]
        )
        letter = ["", "x", "x^2", "x^{3}", "x**4"][power] or "1"
        terms.append(draw.choice([f"{number} {letter}", f"{number}\\cdot {letter}", f"{letter}*{number}"]))
    draw.shuffle(terms)
    return "+".join(terms) or "0"


@settings(max_examples=700, deadline=None)
@given(coefficients, st.integers(0, 4), rationals, st.randoms(use_true_random=False))
def test_polynomials_are_equal_exactly_if_their_coefficients_are(
    numbers: list[Fraction], at: int, step: Fraction, draw: random.Random
) -> None:
    other = list(numbers)
    other[at % len(other)] += step / 10**6
    same = other == numbers
    assert _same(_polynomial(numbers, draw), _polynomial(numbers, draw))
    assert _same(_polynomial(numbers, draw), _polynomial(other, draw)) is same


@settings(max_examples=500, deadline=None)
@given(st.sets(rationals, min_size=2, max_size=5), rationals, st.randoms(use_true_random=False))
def test_sets_are_equal_exactly_if_their_elements_are(
    elements: set[Fraction], another: Fraction, draw: random.Random
) -> None:
    def written(values: set[Fraction]) -> str:
        texts = [draw.choice(_spellings(value)[:3]) for value in values]
        draw.shuffle(texts)
        inside = ", ".join(texts)
        return draw.choice([f"\\{{{inside}\\}}", f"\\left\\{{{inside}\\right\\}}", inside, f"x \\in \\{{{inside}\\}}"])

    assert _same(written(elements), written(elements))
    changed = (elements - {draw.choice(sorted(elements))}) | {another}
    assert _same(written(elements), written(changed)) is (changed == elements)


@settings(max_examples=500, deadline=None)
@given(rationals, rationals, st.booleans(), st.booleans(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_intervals_are_equal_exactly_if_ends_and_brackets_are(
    one: Fraction, two: Fraction, left: bool, right: bool, change: int, draw: random.Random
) -> None:
    assume(one != two)
    low, high = sorted((one, two))

    def written(low: Fraction, high: Fraction, left: bool, right: bool) -> str:
        first, last = draw.choice(_spellings(low)[:3]), draw.choice(_spellings(high)[:3])
        signs = "\\le" if left else "<", "\\leq" if right else "<"
        return draw.choice(
            [
                f"{'[' if left else '('}{first}, {last}{']' if right else ')'}",
                f"\\left{'[' if left else '('}{first},{last}\\right{']' if right else ')'}",
                f"{first} {signs[0]} x {signs[1]} {last}",
                f"x {'>=' if left else '>'} {first} \\text{{ and }} x {signs[1]} {last}",
            ]
        )

    assert _same(written(low, high, left, right), written(low, high, left, right))
    others = [(low - 1, high, left, right), (low, high + 1, left, right), (low, high, not left, right)]
    others.append((low, high, left, not right))
    assert not _same(written(low, high, left, right), written(*others[change]))


# Formulas of every kind equal themselves in other spellings, and no formula with something behind it.

_leaves = st.sampled_from(["x", "y", "2", "3", "7", "\\pi", "n", "\\theta", "\\frac{1}{2}", "E_1", "x_{\\max}"])


def _formulas() -> st.SearchStrategy[str]:
    return st.recursive(
        _leaves,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda two: f"{two[0]}+{two[1]}"),
            st.tuples(inner, inner).map(lambda two: f"\\frac{{{two[0]}}}{{{two[1]}}}"),
            st.tuples(inner, inner).map(lambda two: f"\\left({two[0]}\\right)\\left({two[1]}\\right)"),
            inner.map(lambda one: f"\\sqrt{{{one}}}"),
            inner.map(lambda one: f"\\left({one}\\right)^{{2}}"),
            inner.map(lambda one: f"\\sin\\left({one}\\right)"),
            inner.map(lambda one: f"-\\left({one}\\right)"),
        ),
        max_leaves=6,
    )


def _respelled(formula: str) -> list[str]:
    return [
        formula.replace("\\left", "").replace("\\right", ""),
        formula.replace("\\frac", "\\dfrac").replace("+", " + "),
        formula.replace("\\pi", "\u03c0").replace("\\theta", "\u03b8").replace("^{2}", "\u00b2"),
        formula.replace("\\sqrt", "sqrt").replace("\\sin", "sin").replace("\\pi", " pi ").replace("^{2}", "**2"),
        f"${formula}$",
        f"\\displaystyle {formula}.",
        f"\\boxed{{{formula}}}",
        f"\u200b{formula}\ufeff",
    ]


@settings(max_examples=300, deadline=None)
@given(_formulas())
def test_a_formula_equals_itself_in_every_spelling(formula: str) -> None:
    assert read(formula).node is not None
    for spelling in _respelled(formula):
        assert _same(spelling, formula), spelling


@settings(max_examples=300, deadline=None)
@given(
    _formulas(),
    st.sampled_from(["+1", "\\sqrt(2)", "\\gcd(a,b)", "z", ", 5", " = 5", "_5", "i", "\\text{ is odd}"]),
)
def test_what_stands_behind_a_formula_is_never_lost(formula: str, behind: str) -> None:
    assume(_differs(formula, "0") and _differs(formula, "5"))  # `2+3, 5` and `2+3 = 5` both state 5
    # A divisor that is 0 only in theory, as sin(sin(pi)), is computed as almost 0: beside the quotient, 1 is nothing.
    assume(not ("\\frac" in formula and "\\sin\\left(\\pi" in formula))
    with contextlib.suppress(GraderError):  # neither right nor wrong
        assert not _same(f"\\left({formula}\\right){behind}", formula)


def _differs(formula: str, value: str) -> bool:
    try:
        return not _same(formula, value)
    except GraderError:
        return False


@pytest.mark.parametrize(
    "text",
    [
        *("{" * 1900, "(" * 1900, "\\sqrt" * 400, "\\text{" * 250 + "}" * 250, "|" * 1900, "\\frac" * 300, "1," * 900),
        *("1,000" * 380, "x^" * 900, "9^9^" * 400 + "9", "\\{" * 900, "1" * 1999 + "!", "\\begin{pmatrix}" * 100),
        *("f(" * 39 + "x" + ")" * 39, "3\\frac{" * 39 + "1" + "}{2}" * 39, "+".join(["20000!"] * 150), "x or " * 400),
        *(
            "\\sum_{a=1}^{9999}\\sum_{b=1}^{9999}a",
            "\\sum_{a=1}^{1600}\\sum_{b=1}^{1}(" + "+1" * 450 + ")",
            "2^{199999}" * 60,
            "(1," * 600,
            "\\pm" * 600 + "1",
            "0." + "3" * 1900,
        ),
        *(
            "5 cm (" * 300,
            "\\text{Let } " * 150 + "= 5",
            "a_" * 900,
            "'" * 1900,
            "\\left(" * 300,
            "[" * 900 + "]" * 900,
        ),
    ],
)
def test_no_text_takes_long_to_read(text: str) -> None:
    with processor_seconds(0.5):
        for kind in ("math", "integer"):
            read_answer(text, kind)
