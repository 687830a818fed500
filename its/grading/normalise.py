r"""The canonical form of an answer: one value, one spelling, as far as no algebra is needed.

Votes are counted in this form, and most comparisons end here. No rule forgives a factor of 100: a percent sign is a
unit, and 7 is not 700. A unit goes, it is not converted: `5 km` is 5.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from fractions import Fraction
from functools import cache
from typing import Literal

AnswerKind = Literal["integer", "number", "math", "choice"]

MAX_CHARACTERS = 2000
"""Longer texts are not parsed; it also keeps int() under Python's limit of 4,300 digits."""

_DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})++|[1-9][0-9]{0,2}(?: [0-9]{3})++|[0-9]++)"
_DECIMAL = re.compile(rf"([-+]?)\s?({_DIGITS}(?:\.[0-9]*+)?|\.[0-9]++)")
_COMMA_DECIMAL = re.compile(r"([-+]?)\s?([0-9]{4,}|0|[0-9]{1,3}(?=,(?:[0-9]{1,2}|[0-9]{4,})$)),([0-9]++)")
_SCIENTIFIC = re.compile(
    r"([-+]?[0-9]++(?:\.[0-9]++)?)\s?(?:[eE]|(?:\\times|\\cdot|\u00d7|\*)\s?10\s?(?:\^|\*\*)\s?)\s?\{?\s?([-+]?[0-9]{1,3})\s?\}?"
)
_RATIO = re.compile(r"([-+]?)\s?([0-9]++)\s?/\s?([0-9]++)")
_FRACTION = re.compile(
    r"([-+]?)\s?([0-9]*+)\s?\\frac\s?(?:\{\s?(-?[0-9]++)\s?\}\s?\{\s?(-?[0-9]++)\s?\}|([0-9])\s?([0-9]))"
)
_MIXED = re.compile(r"([-+]?)\s?([0-9]++) ([0-9]++)/([0-9]++)")

_NOISE = re.compile(r"(?<!\\)\\(?:! ?|[,;: ])|\\q?quad\b|~|\\left(?![a-z])|\\right(?![a-z])|\\displaystyle(?![a-zA-Z])")
_UPRIGHT = re.compile(r"\\(?:mathrm|operatorname)\s*\{\s*([eidCFP])\s*\}|\\(?:rm|mathrm)\s+([ei])(?![A-Za-z])")
# Words after a number that change its value are no unit: 5 million, 2 pi, 3 p.m.
_NO_UNIT = (
    r"\s*(?:pi|sqrt|or|and|mod|dozen|hundred|thousand|[mbtr]+illion|factorial|squared|cubed|"
    r"times|plus|minus|over|[ap]\.?m)\b"
)
_UNIT_TEXT = re.compile(
    r"(?<=[0-9}) ])\s*\\(?:text|textbf|textnormal|mathrm|mbox|textrm)\s*"
    rf"\{{(?!{_NO_UNIT})[^{{}}]*\}}(?:\^\{{?[23]\}}?)?$"
)
_UNIT_WORDS = re.compile(rf"(?<=[0-9]) (?!{_NO_UNIT})[A-Za-z]{{2,}}(?:[ /-][A-Za-z]+)*$")
_UNIT_PERCENT = re.compile(r"(?<=[0-9}]) ?(?:percent(?:age)?|pct)$", re.IGNORECASE)
_UNIT_SIGN = re.compile(r"(?<=[0-9])\s?(?:\\?%|°|\^\s?\{?\s?\\circ\s?\}?)$")
_UNIT_SHORT = re.compile(r"(?<=[0-9])(?:[kcm]?m|km/h|mph|k?g|mg|l|ml|s|h|min)[\u00b2\u00b3]?$", re.IGNORECASE)
_NAMED = re.compile(r"[A-Za-z]\s*=\s*([^=]*[0-9)}\]][^=]*)")
_LETTER = re.compile(
    r"(?:\\(?:text|textbf|mathrm|mathbf)\s*\{)?\s*\(?\s*([A-Ja-j])\s*\)?\s*\}?(?:\s*[).:].*|\s*\}.*)?", re.DOTALL
)
_SIGNS = {0x2212: "-", 0x2013: "-", 0xFE63: "-", 0xFF0D: "-", 0xA0: " ", 0x202F: " ", 0x2009: " "}
_SIGNS |= {0: None, 0x20AC: None, 0xA3: None, 0xA5: None}  # type: ignore[dict-item]


def normalise_answer(answer: str, kind: AnswerKind) -> str:
    r"""The canonical form of an answer, in which votes are counted; never raises.

    integer: `007`, `7.0`, `\$7`, `x = 7`, `7 \text{ cm}` and `7\%` are all `7`; `1,000` is `1000`; what is not a
    number stays as written. number: the same, and `\frac{1}{2}`, `1/2`, `0,5` and `5e-1` are `0.5`, a third is `1/3`.
    math: numbers, fractions and decimals in lowest terms (`0.5` is `\frac{1}{2}`); otherwise spaces, `\left`,
    `\right`, a final stop and a unit in `\text` go and `\dfrac` is `\frac`. choice: the letter, upper case; what is
    not a letter A-J stays.
    Two answers with one form are equivalent; two forms may still be.
    """
    if answer.isascii() and answer.isdigit() and len(answer) <= MAX_CHARACTERS and kind != "choice":
        return str(int(answer))
    if kind == "choice":
        text = tidy(answer)
        letter = _LETTER.fullmatch(text)
        return letter.group(1).upper() if letter else text.upper()
    text = without_unit(tidy(answer), kind)
    if kind != "math" and "=" in text:
        text = text.rpartition("=")[2].strip()
    elif named := _NAMED.fullmatch(text):
        # `x = 5` is 5, but the line `y = 2x + 1` keeps its name.
        value = named.group(1).strip()
        text = text if re.search(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", value) else value
    number = parse_number(text, kind)
    if number is None:
        return _without_spaces(text) if kind == "math" else text
    return number_form(number, kind)


def number_form(number: Fraction, kind: AnswerKind) -> str:
    """How a number is written in its kind's canonical form."""
    if number.denominator == 1:
        return str(number.numerator)
    if kind == "math":
        return f"{'-' if number < 0 else ''}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"
    places = decimal_places(number) if kind == "number" else None
    if places is None or places > 12:
        return str(number)
    scaled = str(abs(number.numerator) * 10**places // number.denominator).rjust(places + 1, "0")
    return f"{'-' if number < 0 else ''}{scaled[:-places]}.{scaled[-places:]}"


def decimal_places(number: Fraction) -> int | None:
    """How many places a number has after the point; None if its decimals never end."""
    rest, counts = number.denominator, []
    for prime in (2, 5):
        count = 0
        while rest % prime == 0:
            rest, count = rest // prime, count + 1
        counts.append(count)
    return max(counts) if rest == 1 else None


def is_choice(answer: str) -> bool:
    """Whether an answer names one of the options A-J."""
    letter = normalise_answer(answer, "choice")
    return len(letter) == 1 and "A" <= letter <= "J"


def parse_number(text: str, kind: AnswerKind = "math") -> Fraction | None:
    r"""The exact value of an integer, decimal, ratio, `\frac{a}{b}`, mixed number or `2 \times 10^{3}`; else None.

    A decimal comma counts for kind `number` alone, and only where it cannot part thousands (`0,5`, `1000,99`): in
    `math`, `1,22` is a list.
    """
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
    elif match := _SCIENTIFIC.fullmatch(text):
        digits, exponent = match.groups()
        return Fraction(digits) * Fraction(10) ** int(exponent)
    elif kind == "number" and (match := _COMMA_DECIMAL.fullmatch(text)):
        sign, whole, places = match.groups()
        value = Fraction(f"{whole}.{places}")
    else:
        return None
    return -value if sign == "-" else value


def tidy(answer: str) -> str:
    """Marks that carry no meaning go; spaces stay single."""
    text = answer.strip().strip("*").strip()
    for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
            text = text[len(left) : -len(right)]
    if not text.isascii():
        text = ascii_digits(text).translate(_SIGNS)
    elif "\0" in text:
        text = text.replace("\0", "")
    text = text.replace("{,}", ",").replace("\\$", "").replace("$", "")
    if "\\" in text or "~" in text:
        text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
        text = _UPRIGHT.sub(lambda match: match.group(1) or match.group(2), text)
        text = _NOISE.sub(lambda match: "" if match.group()[:2] in ("\\!", "\\,") else " ", text)
        if text[:1] == "\\" and text[1:2].isdigit():
            text = text[1:]  # `\15`: a dollar sign was lost on the way
    return " ".join(text.split()).rstrip(".").strip()


def without_unit(text: str, kind: AnswerKind) -> str:
    """The text without a unit behind its number; words only go where a number is wanted (`2 pi` keeps its pi)."""
    if len(text) > MAX_CHARACTERS or text.isdigit():
        return text
    text = _UNIT_PERCENT.sub("", _UNIT_SIGN.sub("", _UNIT_TEXT.sub("", text).strip()))
    return _UNIT_SHORT.sub("", _UNIT_WORDS.sub("", text)) if kind != "math" else text


def ascii_digits(text: str) -> str:
    """The text with every script's decimal digits as 0-9, character for character, so that places stay."""
    return text if text.isascii() else text.translate(_digits())


@cache
def _digits() -> dict[int, str]:
    wide = map(chr, range(128, sys.maxunicode + 1))
    return {ord(letter): str(unicodedata.decimal(letter)) for letter in wide if letter.isdecimal()}


def _without_spaces(text: str) -> str:
    r"""Spaces go, except where they part two numbers or words, end a command (`\pi r` is not `\pir`), or follow the
    comma of a list that would read as thousands (`32, 349`)."""
    return re.sub(
        r"(?<=[0-9]) (?=[0-9])|(?<=[A-Za-z]) (?=[A-Za-z])|(?<=[0-9],) (?=[0-9]{3}(?![0-9]))|( )",
        lambda m: "" if m.group(1) else " ",
        text,
    )
