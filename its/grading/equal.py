r"""Answer against reference: exact where both are numbers, math-verify for the rest of `math`.

No rule forgives a factor of 100: 7 is not 700, and a percent sign is a unit. Decimals are exact: 0.33 is not 1/3.
"""

from __future__ import annotations

import math
import re
import threading
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from its.grading.extract import AnswerKind

MAX_CHARACTERS = 2000
"""Longer texts are not parsed; it also keeps int() under Python's limit of 4,300 digits."""

_MAX_POWER = 10_000

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})++|[0-9]{1,3}(?: [0-9]{3})++|[0-9]++)"
_DECIMAL = re.compile(rf"([-+]?)\s?({_DIGITS}(?:\.[0-9]*+)?|\.[0-9]++)")
_RATIO = re.compile(r"([-+]?)\s?([0-9]++)\s?/\s?([0-9]++)")
_FRACTION = re.compile(
    r"([-+]?)\s?([0-9]*+)\s?\\frac\s?(?:\{\s?(-?[0-9]++)\s?\}\s?\{\s?(-?[0-9]++)\s?\}|([0-9])\s?([0-9]))"
)
_MIXED = re.compile(r"([-+]?)\s?([0-9]++) ([0-9]++)/([0-9]++)")

_NOISE = re.compile(r"(?<!\\)\\[!,;: ]|\\q?quad\b|~|\\left(?![a-z])|\\right(?![a-z])|\\displaystyle(?![a-zA-Z])")
# Words after a number that change its value are no unit: 5 million, 2 pi, 3 p.m.
_NO_UNIT = (
    r"\s*(?:pi|sqrt|or|and|mod|dozen|hundred|thousand|[mbtr]+illion|factorial|squared|cubed|"
    r"times|plus|minus|over|[ap]\.?m)\b"
)
_UNIT_TEXT = re.compile(
    rf"(?<=[0-9}}) ])\s*\\(?:text|mathrm|mbox|textrm)\s*\{{(?!{_NO_UNIT})[^{{}}]*\}}(?:\^\{{?[23]\}}?)?$"
)
_UNIT_WORDS = re.compile(rf"(?<=[0-9]) (?!{_NO_UNIT})[A-Za-z]{{2,}}(?:[ /-][A-Za-z]+)*$")
_UNIT_SIGN = re.compile(r"(?<=[0-9])\s?(?:\\?%|°|\^\s?\{?\s?\\circ\s?\}?)$")
_NAMED = re.compile(r"[A-Za-z]\s*=\s*([^=]*[0-9)}\]][^=]*)")
_WORD = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s*\{\s*\(?([^{}()]*)\)?\s*\}")
_LETTER = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mathbf)\s*\{)?\s*\(?\s*([A-Ja-j])\s*\)?\s*\}?(?:\s*[).:].*|\s*\}.*)?", re.DOTALL
)


class GraderError(Exception):
    """The grader could not decide; the response is neither right nor wrong and gets the verdict `grader_error`."""


def normalise_answer(answer: str, kind: AnswerKind) -> str:
    r"""The canonical form of an answer, in which votes are counted; never raises.

    integer: `007`, `7.0`, `\$7`, `x = 7`, `7 \text{ cm}` and `7\%` are all `7`; `1,000` is `1000`; what is not a
    number stays as written. math: the same for numbers, fractions and decimals in lowest terms (`0.5` is
    `\frac{1}{2}`); otherwise spaces, `\left`, `\right`, a final stop and a unit in `\text` go and `\dfrac` is
    `\frac`. choice: the letter, upper case; what is not a letter A-J stays.
    Two answers with one form are equivalent; two forms may still be.
    """
    if kind == "choice":
        text = _tidy(answer)
        letter = _LETTER.fullmatch(text)
        return letter.group(1).upper() if letter else text.upper()
    text = _without_unit(_tidy(answer), kind)
    if kind == "integer" and "=" in text:
        text = text.rpartition("=")[2].strip()
    elif named := _NAMED.fullmatch(text):
        # `x = 5` is 5, but the line `y = 2x + 1` keeps its name.
        value = named.group(1).strip()
        text = text if re.search(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", value) else value
    number = parse_number(text)
    if number is None:
        return text if kind == "integer" else _without_spaces(text)
    if number.denominator == 1:
        return str(number.numerator)
    if kind == "integer":
        return str(number)
    return f"{'-' if number < 0 else ''}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"


def equivalent(answer: str, reference: str, kind: AnswerKind, timeout_seconds: float = 5.0) -> bool:
    """Whether an answer is the reference in another form.

    Two numbers are compared exactly. `integer` and `choice` never go further; `math` asks math-verify, whose timeouts
    are SIGALRM signals: it runs in the main thread only, and an alarm that the caller has set is lost. Tuples and
    intervals are compared part by part, in order and with their brackets; two bare lists `1,2` are sets.

    Args:
        answer: as extracted; need not be normalised.
        reference: the known answer.
        timeout_seconds: for each of math-verify's steps, rounded up to whole seconds, at least 1.

    Raises:
        GraderError: math-verify failed or ran out of time, a text is over 2,000 characters or holds a power too
            large to work out, or the reference is not of its kind.
        RuntimeError: math-verify is needed off the main thread.
    """
    given, wanted = normalise_answer(answer, kind), normalise_answer(reference, kind)
    if not wanted:
        raise GraderError("the reference is empty")
    if kind == "choice":
        if not is_choice(wanted):
            raise GraderError(f"the reference `{reference[:80]}` is not a letter A-J")
        return given == wanted
    given_number, wanted_number = parse_number(given), parse_number(wanted)
    if kind == "integer":
        if wanted_number is None:
            raise GraderError(f"the reference `{reference[:80]}` is not a number")
        return given_number == wanted_number
    if given == wanted:
        return True
    if given_number is not None and wanted_number is not None:
        return given_number == wanted_number
    try:
        return _equivalent_math(
            _without_unit(_tidy(answer), kind), _without_unit(_tidy(reference), kind), timeout_seconds
        )
    except RecursionError as error:
        raise GraderError("the answer is nested too deep") from error


def is_choice(answer: str) -> bool:
    """Whether an answer names one of the options A-J."""
    letter = normalise_answer(answer, "choice")
    return len(letter) == 1 and "A" <= letter <= "J"


def parse_number(text: str) -> Fraction | None:
    r"""The exact value of an integer, decimal, ratio, `\frac{a}{b}` or mixed number; None for anything else."""
    if len(text) > MAX_CHARACTERS:
        return None
    if match := _DECIMAL.fullmatch(text):
        sign, digits = match.groups()
        value = Fraction(digits.replace(",", "").replace(" ", "").rstrip(".") or "0")
    elif match := _RATIO.fullmatch(text):
        sign, top, bottom = match.groups()
        if not int(bottom):
            return None
        value = Fraction(int(top), int(bottom))
    elif match := _FRACTION.fullmatch(text):
        sign, whole, top, bottom, short_top, short_bottom = match.groups()
        above, below = int(top or short_top), int(bottom or short_bottom)
        if not below or (whole and (above < 0 or below < 0)):
            return None
        value = Fraction(above, below) + int(whole or 0)
    elif match := _MIXED.fullmatch(text):
        sign, whole, top, bottom = match.groups()
        if not int(bottom):
            return None
        value = Fraction(int(top), int(bottom)) + int(whole)
    else:
        return None
    return -value if sign == "-" else value


def _tidy(answer: str) -> str:
    """Marks that carry no meaning go; spaces stay single."""
    text = answer.strip().strip("*").strip()
    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
            text = text[len(left) : -len(right)]
    text = text.translate({0x2212: "-", 0x2013: "-", 0xFE63: "-", 0xFF0D: "-", 0xA0: " ", 0x202F: " ", 0x2009: " "})
    text = text.replace("{,}", ",").replace("\\$", "").replace("$", "")
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
    text = _NOISE.sub(lambda match: "" if match.group() in ("\\!", "\\,") else " ", text)
    return " ".join(text.split()).rstrip(".").strip()


def _without_unit(text: str, kind: AnswerKind) -> str:
    if len(text) > MAX_CHARACTERS:
        return text
    text = _UNIT_SIGN.sub("", _UNIT_TEXT.sub("", text).strip())
    return _UNIT_WORDS.sub("", text) if kind == "integer" else text


def _without_spaces(text: str) -> str:
    r"""Spaces go, except where they part two numbers or end a command (`\pi r` is not `\pir`)."""
    return re.sub(r"(?<=[0-9]) (?=[0-9])|(?<=[A-Za-z]) (?=[A-Za-z])|( )", lambda m: "" if m.group(1) else " ", text)


def _equivalent_math(given: str, wanted: str, timeout_seconds: float) -> bool:
    if max(len(given), len(wanted)) > MAX_CHARACTERS:
        if re.fullmatch(r"[-+]?[0-9.,]+", given) and len(wanted) <= MAX_CHARACTERS:
            return False  # a number of thousands of digits, the usual end of a looping model
        raise GraderError(f"an answer of {max(len(given), len(wanted))} characters is not parsed")
    if not given:
        return False
    words = _WORD.fullmatch(given), _WORD.fullmatch(wanted)
    if any(words):  # math-verify reads letters as a product: `was` would equal `saw`
        said, known = (match.group(1) if match else text for match, text in zip(words, (given, wanted), strict=True))
        return said.strip().casefold() == known.strip().casefold()
    given_parts, wanted_parts = _parts(given), _parts(wanted)
    if given_parts and wanted_parts and not {given_parts[0], wanted_parts[0]} <= {"", "{}"}:
        # math-verify 0.9 takes the pair (1,2) for the set {1,2}.
        brackets = {given_parts[0], wanted_parts[0]} - {""}
        if len(brackets) > 1 or len(given_parts[1]) != len(wanted_parts[1]):
            return False
        pairs = zip(given_parts[1], wanted_parts[1], strict=True)
        return all(bool(one) and bool(two) and equivalent(one, two, "math", timeout_seconds) for one, two in pairs)
    for text in (given, wanted):
        _refuse_huge_powers(text)
    return _verify(given, wanted, max(1, math.ceil(timeout_seconds)))


def _verify(given: str, wanted: str, seconds: int) -> bool:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("math answers are graded in the main thread only: math-verify's timeouts are signals")
    from math_verify import parse, verify  # type: ignore[import-untyped,unused-ignore]
    from math_verify.errors import TimeoutException  # type: ignore[import-untyped,unused-ignore]

    try:
        parsed_wanted = parse(f"${wanted}$", parsing_timeout=seconds, raise_on_error=True)
        parsed_given = parse(f"${given}$", parsing_timeout=seconds, raise_on_error=True)
        return bool(verify(parsed_wanted, parsed_given, timeout_seconds=seconds, raise_on_error=True))
    except TimeoutException as error:  # derives from BaseException in math-verify 0.9
        raise GraderError(f"math-verify took longer than {seconds} s") from error
    except Exception as error:  # whatever sympy raises on a text that a model wrote
        raise GraderError(f"math-verify failed: {type(error).__name__}") from error


def _parts(text: str) -> tuple[str, list[str]] | None:
    r"""Brackets and elements of `(a,b)`, `[a,b)`, `\{a,b\}`; brackets are "" for a bare list; None without a comma."""
    brackets, inner = "", text
    if text.startswith("\\{") and text.endswith("\\}"):
        brackets, inner = "{}", text[2:-2]
    elif text[:1] in tuple("([") and text[-1:] in tuple(")]"):
        brackets, inner = text[0] + text[-1], text[1:-1]
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(inner):
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth < 0:  # `(1,2),(3,4)`: the outer brackets are not a pair
                return None
        elif letter == "," and depth == 0:
            parts.append(inner[start:index].strip())
            start = index + 1
    if depth or not parts:
        return None
    parts.append(inner[start:].strip())
    return brackets, parts


def _refuse_huge_powers(text: str) -> None:
    """Python works out an integer power in one C call, which no signal interrupts: refuse before."""
    product = 1
    for match in re.finditer(r"(?:\^|\*\*)\s*", text):
        exponent = _group_at(text, match.end())
        numeric = re.search(r"[0-9]", exponent) and not re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", exponent))
        if numeric and re.search(r"\^|\*\*|!", exponent):
            raise GraderError("a tower of powers is not worked out")
        for digits in re.findall(r"[0-9]+", exponent):
            product *= max(1, int(digits)) if len(digits) < 6 else _MAX_POWER + 1
        if text[match.end() + len(exponent) :].lstrip().startswith(("^", "**")) and numeric:
            raise GraderError("a tower of powers is not worked out")
    if product > _MAX_POWER:
        raise GraderError(f"a power above {_MAX_POWER} is not worked out")
    if re.search(r"[0-9]{5,}\s*!|[)}!]\s*!|\\d?binom\s*\{?\s*[0-9]{6,}", text):
        raise GraderError("a large factorial is not worked out")


def _group_at(text: str, start: int) -> str:
    """The exponent that starts here: a group in braces or parentheses, or one run of characters."""
    if text[start : start + 1] not in ("{", "("):
        match = re.compile(r"[-+]?(?:[0-9]+|\\[A-Za-z]+|.)?").match(text, start)
        return match.group() if match else ""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] in "{(") - (text[index] in "})")
        if depth == 0:
            return text[start : index + 1]
    return text[start:]
