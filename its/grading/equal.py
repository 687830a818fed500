"""The exact path: compares answer and reference without algebra. It decides nearly all comparisons.

The rest goes to `its.grading.algebra`, in a separate process (`its.grading.pool`).
"""

from __future__ import annotations

from fractions import Fraction

from its.grading.formula.nodes import is_constant
from its.grading.formula.reading import Reading
from its.grading.formula.values import is_cut_from
from its.grading.normalise import Answer, AnswerKind, is_choice, read_answer


class GraderError(Exception):
    """The grader could not decide; the response is neither right nor wrong: verdict `grader_error`."""


def compare_answer(given: Answer, reference: str, kind: AnswerKind) -> bool | None:
    """Whether an answer is the reference in another form; None where only algebra can tell.

    Rational numbers are compared as fractions. `integer` requires the exact value; for `number` and `math` a decimal
    with at least six places and six significant digits also equals the non-terminating one that it was truncated or
    rounded from (0.333333 is 1/3, 0.33 is not). A text that cannot be parsed to its end is compared as text.

    Args:
        given: the answer, from `read_answer` with the same kind.
        reference: as written.

    Raises:
        GraderError: the reference is not of its kind, or the texts differ and one cannot be parsed or evaluated.
    """
    wanted = read_answer(reference, kind)
    if given.is_digits and wanted.is_digits:
        return given.form == wanted.form
    fault = reference_fault(reference, kind)
    if fault is not None:
        raise GraderError(fault)
    if given.name is not None and wanted.name is not None and given.name != wanted.name:
        return False
    options = [side.reading.option for side in (given, wanted) if side.reading and side.reading.option]
    if len(options) == 2 and options[0] != options[1]:
        return False
    if given.form == wanted.form:
        return True
    if kind == "choice":
        return False
    one, other = _number_of(given), _number_of(wanted)
    if one is not None and other is not None and not (_may_be_list(given) and _may_be_list(wanted)):
        return one == other or (kind != "integer" and _stands_for(given, wanted))
    for side, name in ((given, "answer"), (wanted, "reference")):
        reading = side.reading
        if reading is not None and reading.node is None:
            if kind != "math" and _is_long_number(reading):
                return False
            raise GraderError(f"the {name} `{shortened(reading.text)}` cannot be parsed to its end: {reading.fault}")
    if given.fault or wanted.fault:
        raise GraderError(given.fault or wanted.fault)
    if kind == "math":
        return None
    node = given.reading.node if given.reading is not None else None
    if node is None or not is_constant(node):
        return False  # words, a list, a letter: not a number
    return None


def _number_of(answer: Answer) -> Fraction | None:
    """The value of an answer, if it is a rational number."""
    return Fraction(int(answer.form)) if answer.is_digits else answer.number


def _may_be_list(answer: Answer) -> bool:
    """Whether its thousands separators may be a list's commas: `101,102,103`."""
    return answer.reading is not None and bool(answer.reading.others)


def _stands_for(given: Answer, wanted: Answer) -> bool:
    """Whether one of two numbers is a decimal truncated or rounded from the other."""
    for one, other in ((given, wanted), (wanted, given)):
        short, endless = _number_of(one), _number_of(other)
        if short is not None and endless is not None and one.places and is_cut_from(short, endless, one.places):
            return True
    return False


def reference_fault(reference: str, kind: AnswerKind) -> str | None:
    """Why a reference is not of its kind, or None; of kind `math` only an empty one is not."""
    known = read_answer(reference, kind)
    if not known.form:
        return "the reference is empty"
    if kind == "choice":
        return None if is_choice(known.form) else f"the reference `{shortened(reference)}` is not a letter A-J"
    number = _number_of(known)
    if kind == "integer" and (number is None or number.denominator != 1):
        return f"the reference `{shortened(reference)}` is not an integer"
    if kind == "number" and number is None:
        return f"the reference `{shortened(reference)}` is not a number"
    return None


def shortened(text: str) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= 80 else f"{text[:80]}..."


def _is_long_number(reading: Reading) -> bool:
    """Whether a text is a number of thousands of digits, the usual end of a looping model; the reference is shorter."""
    return not reading.text.strip("-+0123456789., ")
