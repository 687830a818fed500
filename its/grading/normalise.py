r"""The canonical form of an answer: one spelling for one value, as far as possible without algebra.

Votes are counted in this form, and most comparisons end here. No rule forgives a factor of 100: a percent sign is a
unit, and 7 is not 700. A unit is dropped, not converted: `5 km` is 5.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from its.grading.formula.characters import plain
from its.grading.formula.evaluate import TooLargeError, exact_value
from its.grading.formula.labels import labelled_value
from its.grading.formula.reading import MAX_CHARACTERS, Reading, read
from its.grading.formula.values import decimal_places, places_written

AnswerKind = Literal["integer", "number", "math", "choice"]

_DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})++|[1-9][0-9]{0,2}(?: [0-9]{3})++|[0-9]++)"
_DECIMAL = re.compile(rf"([-+]?)\s?({_DIGITS}(?:\.[0-9]*+)?|\.[0-9]++)")
_COMMA_DECIMAL = re.compile(r"([-+]?)\s?([0-9]{4,}|0|[0-9]{1,3}(?=,(?:[0-9]{1,2}|[0-9]{4,})$)),([0-9]++)")
_RATIO = re.compile(r"([-+]?)\s?([0-9]++)\s?/\s?([0-9]++)")
_FRACTION = re.compile(r"([-+]?)\s?\\[dt]?frac\s?\{\s?(-?[0-9]++)\s?\}\s?\{\s?([0-9]++)\s?\}")
_FORMATTING = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|boldsymbol|bf|rm)(?![A-Za-z])|[{}*$_]")
_LETTER = re.compile(
    r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice)\s*)?:?\s*"
    r"(?:[(\[]\s*([A-J])\s*[)\]].*|([A-J])\s*(?:[().:,].*)?)",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(slots=True, eq=False)  # not frozen: that would triple its cost, and each response has one
class Answer:
    """A parsed answer; treat as immutable.

    Attributes:
        form: its canonical form.
        number: its value, if it is a rational number; None if it is digits alone (`is_digits`).
        places: how many decimal places it is written with, if it is a decimal.
        name: the variable with this value, `x` in `x = 5`; for kind `math` alone.
        reading: the parsed formula, where a number's pattern did not match.
        fault: why a value was not evaluated: too many digits.
    """

    form: str
    number: Fraction | None = None
    places: int | None = None
    name: str | None = None
    reading: Reading | None = None
    fault: str | None = None
    is_digits: bool = False


def normalise_answer(answer: str, kind: AnswerKind) -> str:
    r"""The canonical form of an answer, in which votes are counted; never raises.

    integer: `007`, `7.0`, `\$7`, `x = 7`, `7 \text{ cm}`, `7\%` and `3 + 4` are all `7`; `1,000` is `1000`; anything
    else stays as written. number: the same, and `\frac{1}{2}`, `1/2`, `0,5` and `5e-1` are `0.5`, a third is `1/3`.
    math: rational numbers in lowest terms (`0.5` is `\frac{1}{2}`); anything else without spaces, `\left`, `\text` and
    a final stop, and with `\frac` for `\dfrac`. choice: the letter, upper case; what is not a letter A-J stays.
    Answers with the same form are equivalent; answers with different forms may be.
    """
    return read_answer(answer, kind).form


def read_answer(answer: str, kind: AnswerKind) -> Answer:
    """Parse an answer of a kind; never raises."""
    if answer.isdigit() and answer.isascii() and kind != "choice" and len(answer) <= MAX_CHARACTERS:
        return Answer(str(int(answer)), is_digits=True)  # most answers
    return _read(answer, kind)


@lru_cache(maxsize=8192)
def _read(answer: str, kind: AnswerKind) -> Answer:
    if kind == "choice":
        return Answer(_letter(plain(answer)))
    text = plain(answer).strip()
    number = parse_number(text, kind)
    if number is not None:
        reading = read(answer) if "," in text and kind == "math" else None  # it may also be a list
        return Answer(_number_form(number, kind), number, _places_of(text, kind), reading=reading)
    reading = read(answer, kind != "math")
    if kind == "number" and (number := parse_number(reading.text, kind)) is not None:  # a decimal comma
        return Answer(_number_form(number, kind), number, _places_of(reading.text, kind), reading=reading)
    name = places = fault = None
    if reading.node is not None:
        label, value = labelled_value(reading.node, of_number=kind != "math")
        if value is not None:
            try:
                number = exact_value(value)
            except TooLargeError as error:
                fault = str(error)
            places = places_written(value)
            if label is not None and kind == "math":
                name = label.text
    if number is None:
        return Answer(_spelled(reading, kind), reading=reading, fault=fault)
    try:
        form = _number_form(number, kind)
    except ValueError:  # more digits than Python converts
        form = _spelled(reading, kind)
    return Answer(form, number, places, name, reading)


def _spelled(reading: Reading, kind: AnswerKind) -> str:
    return reading.text if kind != "math" else reading.spelling or reading.text


def _places_of(text: str, kind: AnswerKind) -> int | None:
    """How many places a decimal has after its point or comma; None for anything else."""
    if "." not in text and (kind != "number" or not _COMMA_DECIMAL.fullmatch(text)):
        return None
    return len(text) - 1 - max(text.rfind("."), text.rfind(","))


def _number_form(number: Fraction, kind: AnswerKind) -> str:
    """A number in its kind's canonical form."""
    if number.denominator == 1:
        return str(number.numerator)
    if kind == "math":
        return f"{'-' if number < 0 else ''}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"
    places = decimal_places(number) if kind == "number" else None
    if places is None or places > 12:
        return str(number)
    scaled = str(abs(number.numerator) * 10**places // number.denominator).rjust(places + 1, "0")
    return f"{'-' if number < 0 else ''}{scaled[:-places]}.{scaled[-places:]}"


def is_choice(answer: str) -> bool:
    """Whether an answer names one of the options A-J."""
    letter = normalise_answer(answer, "choice")
    return len(letter) == 1 and "A" <= letter <= "J"


def parse_number(text: str, kind: AnswerKind = "math") -> Fraction | None:
    r"""The exact value of a text that is a plain number: `-1,234.5`, `3/4`, `\frac{3}{4}`; None for any other.

    A decimal comma counts for kind `number` alone, and only where it cannot separate thousands (`0,5`, `1000,99`): in
    `math`, `1,22` is a list.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    if match := _DECIMAL.fullmatch(text):
        sign, digits = match.groups()
        value = Fraction(digits.replace(",", "").replace(" ", "").rstrip(".") or "0")
    elif (match := _RATIO.fullmatch(text)) or ("\\" in text and (match := _FRACTION.fullmatch(text))):
        sign, top, bottom = match.groups()
        if not int(bottom):
            return None
        value = Fraction(int(top), int(bottom))
    elif kind == "number" and (match := _COMMA_DECIMAL.fullmatch(text)):
        sign, whole, places = match.groups()
        value = Fraction(f"{whole}.{places}")
    else:
        return None
    return -value if sign == "-" else value


def _letter(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        return text.upper()
    text = (
        text.strip().strip("*$_\"'`.").replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " ")
    )
    bare = " ".join(_FORMATTING.sub(" ", unicodedata.normalize("NFKC", text)).split())
    found = _LETTER.fullmatch(bare)
    return (found.group(1) or found.group(2)).upper() if found else text.strip().upper()
