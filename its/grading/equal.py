"""The exact path: answer against reference where no algebra is needed. It decides nearly all comparisons.

What it leaves open goes to `its.grading.symbolic`, in a process of its own (`its.grading.pool`).
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from its.grading.normalise import (
    MAX_CHARACTERS,
    AnswerKind,
    decimal_places,
    is_choice,
    name_of,
    normalise_answer,
    parse_number,
)

SAME_PLACES = 6
"""A decimal of so many places, and so many digits that count, stands for the endless one that it was cut from."""

FORMULA_CHARACTERS = 200
"""Longer texts are no number of kind `integer` or `number` that waits to be worked out."""

_WORKED_OUT = re.compile(r"[0-9].*[-+*/^!(]|[-+*/^(\\].*[0-9]", re.DOTALL)
_LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")  # of no command
_NUMERIC_EXPONENT = re.compile(r"(?:\^|\*\*)\s*\{?\s*\(?\s*[-+]?\s*([0-9]+)")


class GraderError(Exception):
    """The grader could not decide; the response is neither right nor wrong and gets the verdict `grader_error`."""


def exactly_equivalent(answer: str, reference: str, kind: AnswerKind) -> bool | None:
    """Whether an answer is the reference in another form; None where only algebra can tell.

    Numbers are compared as fractions. `integer` wants the very value; for `number` and `math` a decimal with at least
    six places and six digits that count also equals the endless one that it was cut or rounded from (0.333333 is 1/3,
    0.33 is not), as math-verify has it for roots.

    Args:
        answer, reference: as written; they are normalised here.

    Raises:
        GraderError: the reference is not of its kind, or a text holds what cannot be worked out: over 2,000
            characters, a tower of powers.
    """
    return compare_form(normalise_answer(answer, kind), reference, kind, name_of(answer, kind))


def compare_form(form: str, reference: str, kind: AnswerKind, name: str | None = None) -> bool | None:
    """As `exactly_equivalent`, for an answer that is normalised already; `name` is its `name_of`."""
    wanted, wanted_number, fault = _known(reference, kind)
    if fault is not None:
        raise GraderError(fault)
    if name is not None and (wanted_name := name_of(reference, kind)) is not None and name != wanted_name:
        return False
    if form == wanted:
        return True
    if kind == "choice" or (wanted.isdecimal() and form.isdecimal()):
        return False
    given_number = parse_number(form, kind)
    if given_number is not None and wanted_number is not None:
        return given_number == wanted_number or (kind != "integer" and _cut_from(given_number, wanted_number))
    return _before_algebra(form, wanted) if kind == "math" or _is_formula(form) else False


@lru_cache(maxsize=4096)
def _known(reference: str, kind: AnswerKind) -> tuple[str, Fraction | None, str | None]:
    """A reference's form, its value if it is a number, and what is wrong with it."""
    form = normalise_answer(reference, kind)
    if not form:
        return form, None, "the reference is empty"
    shown = reference if len(reference) <= 80 else f"{reference[:80]}..."
    if kind == "choice":
        return form, None, None if is_choice(form) else f"the reference `{shown}` is not a letter A-J"
    number = parse_number(form, kind)
    if kind == "integer" and (number is None or number.denominator != 1):
        return form, number, f"the reference `{shown}` is not an integer"
    if kind == "number" and number is None:
        return form, number, f"the reference `{shown}` is not a number"
    if len(form) > MAX_CHARACTERS:
        return form, number, f"a reference of {len(form)} characters is not parsed"
    return form, number, None


def _cut_from(one: Fraction, other: Fraction) -> bool:
    """Whether one of two numbers is a decimal of enough digits and the other the endless one that it stands for."""
    for short, endless in ((one, other), (other, one)):
        places = decimal_places(short)
        if places is None or decimal_places(endless) is not None:
            continue
        counting = abs(short.numerator) * 10**places // short.denominator
        if places >= SAME_PLACES and counting >= 10 ** (SAME_PLACES - 1):
            return abs(short - endless) < Fraction(1, 10**places)
    return False


def _is_formula(form: str) -> bool:
    """Whether what should be a number may be one that is worked out: `5^2`, `\\sqrt{625}`, `20+5`; no letters."""
    return len(form) <= FORMULA_CHARACTERS and bool(_WORKED_OUT.search(form)) and not _LETTERS.search(form)


def _before_algebra(given: str, wanted: str) -> bool | None:
    """What is plain without algebra, or not to be tried."""
    if max(len(given), len(wanted)) > MAX_CHARACTERS:
        if re.fullmatch(r"[-+]?[0-9.,]+", given) and len(wanted) <= MAX_CHARACTERS:
            return False  # a number of thousands of digits, the usual end of a looping model
        raise GraderError(f"an answer of {max(len(given), len(wanted))} characters is not parsed")
    if not given:
        return False
    for text in (given, wanted):
        _refuse_towers(text)
    return None


def _refuse_towers(text: str) -> None:
    """A plain tower of powers or a huge factorial would cost its process; say at once what the limit would say."""
    for match in _NUMERIC_EXPONENT.finditer(text):
        rest = text[match.end() :].lstrip(" })")
        if rest.startswith(("^", "**", "!")):
            raise GraderError("a tower of powers is not worked out")
        if len(match.group(1)) > 5:
            raise GraderError(f"a power of {match.group(1)[:20]} is not worked out")
    if re.search(r"[0-9]{5,}\s*!|[)}!]\s*!|\\d?binom\s*\{?\s*[0-9]{6,}", text):
        raise GraderError("a large factorial is not worked out")
