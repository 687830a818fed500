"""Values to text without loss, and texts that a wrong escape or encoding has damaged.

These pass: HTML, braces of LaTeX and of Jinja, every script, U+2028, and the marks, embeddings and isolates with
which right-to-left text is set. These are faults: characters that no problem contains unless something went
wrong on its way here, and overrides of direction (U+202D, U+202E), which make a text read other than it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from its.sources.records import RowFault

_ESCAPED = {"\0": "0", "\x07": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r"}
_HARD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff]")
# Texts do hold tabs and line ends, so after one only what is no word by itself counts; `eq` (for \neq) may stand for
# an equation, so it counts within an open `$` alone.
_SOFT = re.compile(
    r"\t(?:imes|heta|frac|riangle|herefore|ilde|anh)(?![a-z])|\text(?:bf|it|rm|tt)?(?=\{)|\tan(?=[\\({^_])"
    r"|\n(?:eq|abla|otin|onumber)(?![a-zA-Z.])"
    r"|\r(?:ight(?:arrow)?|ceil|floor|ho|angle)(?![a-z])(?! [A-Z])"
)
_COMMAND = re.compile("[a-zA-Z]+")
_HALF = re.compile("[\ud800-\udfff]")
_MAX_DIGITS = 4300
"""Python's own limit on the digits of an integer; a number beyond it is a mistake, not an answer."""
_BOUND = 10**_MAX_DIGITS
_MAX_DEPTH = 100
"""Of lists and objects in `meta`: what writes them, and whoever reads them, nests no deeper than a few hundred."""


class NoValueError(TypeError):
    """A float that is not a number, by its name in JSON: programs write it for a missing or overflowed value."""

    @property
    def told(self) -> str:
        """What it is, to follow `is`."""
        if self.args[0] == "NaN":
            return "NaN, which stands for a missing value"
        return f"{self.args[0]}, which stands for a missing value or one that overflowed"


def as_text(value: Any) -> str:
    """Text of a scalar: `27.0` becomes `27` (AMC answers are floats), other numbers exactly.

    Raises:
        NoValueError: if it is NaN or infinite.
        TypeError: if the value is neither text nor a number, or is a number with more than 4,300 digits before the
            point, or zeros behind it.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):  # first: one of 309 digits is no float
        if abs(value) >= _BOUND:
            raise TypeError(f"number of more than {_MAX_DIGITS} digits")
        return str(value)
    if not _is_finite(value):
        raise _no_number(value)
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    if number and abs(number.adjusted()) > _MAX_DIGITS:
        raise TypeError(f"number of more than {_MAX_DIGITS} digits")
    return str(int(number)) if number == number.to_integral_value() else format(number, "f")


def _is_finite(value: Any) -> bool:
    """Whether it is a float or a decimal with a value; a decimal may be one that no float holds."""
    return value.is_finite() if isinstance(value, Decimal) else isinstance(value, float) and math.isfinite(value)


def as_json(value: Any, depth: int = 0) -> Any:
    """A value as JSON holds it, to be kept in `meta`; a decimal that no float holds is kept as its digits.

    Raises:
        NoValueError: if it is or holds NaN or an infinity.
        TypeError: with the type that JSON has no word for, or a text that cannot be written.
    """
    if isinstance(value, str):
        if not value.isascii() and _HALF.search(value):
            raise TypeError("text with a lone surrogate")
        return value
    if isinstance(value, int) and abs(value) >= _BOUND:
        raise TypeError(f"number of more than {_MAX_DIGITS} digits")
    if value is None or isinstance(value, bool | int):
        return value
    if _is_finite(value):
        return value if isinstance(value, float) else str(value)
    if depth == _MAX_DEPTH:
        raise TypeError(f"value nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return {as_json(str(key)): as_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item, depth + 1) for item in value]
    raise _no_number(value)


def _no_number(value: Any) -> TypeError:
    if not isinstance(value, float | Decimal):
        return TypeError(type(value).__name__)
    return NoValueError("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")


def damage(text: str) -> RowFault | None:
    """The damage that a wrong escape or encoding did to a text; None where none is seen."""
    hard = _HARD.search(text)
    if hard:
        return _explained(text, hard.start())
    for soft in _SOFT.finditer(text):
        if soft.group() != "\neq" or text.count("$", 0, soft.start()) % 2:
            return _explained(text, soft.start())
    return None


def _explained(text: str, at: int) -> RowFault:
    character = text[at]
    code = f"U+{ord(character):04X}"
    if "\ud800" <= character <= "\udfff":
        if "\udc80" <= character <= "\udcff":  # how an undecodable byte of a CSV file is carried
            return RowFault(f"not UTF-8: byte 0x{ord(character) - 0xDC00:02X} at character {at}", "re-encode the file")
        return RowFault(f"half a character ({code}) at character {at}", "the JSON escape lacks its pair: fix the row")
    if character in "\u202d\u202e":
        return RowFault(f"{code} at character {at} overrides the direction of text", "remove it: it hides what is read")
    command = _COMMAND.match(text, at + 1)
    if character in _ESCAPED and command:
        meant = f"\\{_ESCAPED[character]}{command.group()}"
        message = f"control character {code} at character {at}: `{meant}` was probably meant"
        return RowFault(message, f"in JSON a backslash is doubled: `\\{meant}`")
    if "\x80" <= character <= "\x9f":
        return RowFault(
            f"control character {code} at character {at}", "the text was read in a wrong encoding (cp1252?) before"
        )
    return RowFault(f"control character {code} at character {at}", "fix or remove the row")
