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
_REPEATING = re.compile(r"([-+]?)\s?([0-9]*+)\.([0-9]*+)\s?\\(?:overline|bar)\s?\{\s?([0-9]++)\s?\}")
_MIXED = re.compile(r"([-+]?)\s?([0-9]++) ([0-9]++)/([0-9]++)")

_NOISE = re.compile(r"(?<!\\)\\(?:! ?|[,;: ])|\\q?quad\b|~|\\left(?![a-z])|\\right(?![a-z])|\\displaystyle(?![a-zA-Z])")
_UPRIGHT = re.compile(r"\\(?:mathrm|operatorname)\s*\{\s*([eidCFP])\s*\}|\\(?:rm|mathrm)\s+([ei])(?![A-Za-z])")
# Words after a number that change its value are no unit: 5 million, 2 pi, 3 p.m.
CHANGING_WORDS = (
    r"(?:dozen|hundred|thousand|[mbtr]+illion|lakh|crore|factorial|(?:ten|hundred|thousand)ths?|squared|cubed|times|"
    r"[ap]\.?m)"
)
_NO_UNIT = rf"\s*(?:{CHANGING_WORDS}|pi|sqrt|or|and|mod|plus|minus|over)\b"
_POWER = r"(?:\^\s?\{?\s?[23]\s?\}?|[\u00b2\u00b3])?"
_UNIT_TEXT = re.compile(
    r"(?<=[0-9}) ])\s*\\(?:text|textbf|textnormal|mathrm|mbox|textrm)\s*"
    rf"\{{(?!{_NO_UNIT})[^{{}}]*\}}{_POWER}$"
)
_UNIT_WORDS = re.compile(
    rf"(?<=[0-9]) (?!{_NO_UNIT})(?:[A-Za-z]{{2,}}|[mgshlLNJWVK\u00b5]){_POWER}(?:[ /-][A-Za-z]+{_POWER})*$"
)
_UNIT_PERCENT = re.compile(r"(?<=[0-9}]) ?(?:percent(?:age)?|pct)$", re.IGNORECASE)
_UNIT_SIGN = re.compile(
    r"(?<=[0-9])\s?(?:\\?%|(?:\u00b0|\^\s?\{?\s?\\circ\s?\}?)\s?"
    r"(?:[CF]|\\(?:text|textrm|mathrm)\s?\{\s?[CF]\s?\})?)$"
)
_UNIT_SHORT = re.compile(
    r"(?<=[0-9])(?:(?:[kcmd]?m|[Kk]m|KM|CM|MM|ft|in|yd|mi|h|hrs?|min|s|ms)(?:/(?:h|s|min))?|mph|[km]?g|[kK]g|KG|lbs?|oz|"
    rf"m?[lL]|[kM]?W|[kM]?J|N|V){_POWER}(?:/s{_POWER})?$"
)
_NAME = re.compile(r"([A-Za-z])\s*=")
_EQUALS = re.compile(r"(?<![<>!])=|\\approx(?![A-Za-z])|\u2248")
_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|boldsymbol|bm|underline|mbox|"
    r"textcolor\s*\{[^{}]*\})\s*(\{.*)",
    re.DOTALL,
)
_SWITCH = re.compile(r"\\(?:bf|rm|it|bfseries)(?![A-Za-z])\s*")
_OPTION = re.compile(r"\A(?:\\(?:text|textbf|mathrm|mathbf)\s*\{\s*)?\(\s*[A-J]\s*\)\s*\}?[\s:]*(?=[-+.0-9\\])")
_ORDINAL = re.compile(
    r"(?<=[0-9])\s?(?:\^\s?\{?\s?)?(?:\\(?:text|textrm|mathrm)\s?\{\s?)?(?:st|nd|rd|th)[\s}]*$", re.IGNORECASE
)
_QUOTES = "\"'`\u201c\u201d\u2018\u2019"
_DRESS = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|boldsymbol|bf|rm)(?![A-Za-z])|[{}*$_]")
_LETTER = re.compile(
    r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice)\s*)?:?\s*(?:\(\s*([A-J])\s*\).*|([A-J])\s*(?:[().:,].*)?)",
    re.DOTALL | re.IGNORECASE,
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
        return _letter(tidy(answer))
    text = tidy(answer)
    number = parse_number(text, kind)
    if number is None:
        text = _name_and_value(without_unit(text, kind))[1] if kind == "math" else _value(text, kind)
        number = parse_number(text, kind)
    if number is None:
        return without_spaces(text) if kind == "math" else text
    return number_form(number, kind)


def name_of(answer: str, kind: AnswerKind) -> str | None:
    """The letter whose value an answer of kind `math` says it is: `x` in `x = 5`; None where there is none."""
    return _name_and_value(without_unit(tidy(answer), kind))[0] if kind == "math" and "=" in answer else None


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
    r"""The exact value of a text, or None where it is no number.

    Numbers are integers, decimals (`0.1\overline{6}` too), ratios, `\frac{a}{b}`, mixed numbers, `2 \times 10^{3}`.
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
    elif "\\" in text and (match := _REPEATING.fullmatch(text)):
        sign, whole, places, period = match.groups()
        once = Fraction(int(places + period) - int(places or 0), 10 ** len(places) * (10 ** len(period) - 1))
        value = int(whole or 0) + once
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


def _name_and_value(text: str) -> tuple[str | None, str]:
    """`x = 5` is 5, but the line `y = 2x + 1` keeps its name: ("x", "5") and (None, text)."""
    named = _NAME.match(text)
    value = text[named.end() :].strip() if named else ""
    if named is None or "=" in value or not re.search(r"[0-9)}\]]", value):
        return None, text
    return (None, text) if re.search(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", value) else (named.group(1), value)


def _value(text: str, kind: AnswerKind) -> str:
    """What a number is written in: without its name, its unit, its option's letter and what dresses it."""
    if len(text) > MAX_CHARACTERS:
        return text
    text = _OPTION.sub("", _undressed(text))
    said = None
    for said in _EQUALS.finditer(text):  # noqa: B007 - the last one is what is wanted
        pass
    text = _undressed(text[said.end() :] if said else text)
    return _undressed(without_unit(_ORDINAL.sub("", text), kind))


def _undressed(text: str) -> str:
    r"""Without `\text{...}` and its like, braces, parentheses or quotes around all of it, or marks behind it."""
    for _ in range(8):
        bare = _SWITCH.sub("", text.strip().removesuffix("\\checkmark")).rstrip(" \\,;:").strip(_QUOTES).strip()
        if (wrapped := _WRAPPED.fullmatch(bare)) and _is_pair(wrapped.group(1)):
            bare = wrapped.group(1)[1:-1]
        elif bare[:1] in ("{", "(") and (bare[0] == "{" or "," not in bare) and _is_pair(bare):
            bare = bare[1:-1]
        if bare == text:
            break
        text = bare
    return text


def _is_pair(text: str) -> bool:
    """Whether the first bracket is closed by the last character, and not before."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter in "({") - (letter in ")}")
        if depth <= 0:
            return place == len(text) - 1 and place > 0
    return False


def _letter(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        return text.upper()
    bare = " ".join(_DRESS.sub(" ", unicodedata.normalize("NFKC", text)).split())
    found = _LETTER.fullmatch(bare)
    return (found.group(1) or found.group(2)).upper() if found else text.upper()


def ascii_digits(text: str) -> str:
    """The text with every script's decimal digits as 0-9, character for character, so that places stay."""
    return text if text.isascii() else text.translate(_digits())


@cache
def _digits() -> dict[int, str]:
    wide = map(chr, range(128, sys.maxunicode + 1))
    return {ord(letter): str(unicodedata.decimal(letter)) for letter in wide if letter.isdecimal()}


def without_spaces(text: str) -> str:
    r"""Spaces go, except where they part two numbers or words, end a command (`\pi r` is not `\pir`), or follow the
    comma of a list that would read as thousands (`32, 349`)."""
    return re.sub(
        r"(?<=[0-9]) (?=[0-9])|(?<=[A-Za-z]) (?=[A-Za-z])|(?<=[0-9],) (?=[0-9]{3}(?![0-9]))|( )",
        lambda m: "" if m.group(1) else " ",
        text,
    )
