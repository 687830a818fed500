r"""Whether a known answer occurs in a text, in any notation: `\frac{1}{2}`, 1/2 and 0.5 are one answer.

It reads symbols, not meaning: a number written as a word (`twelve`) or an expression in another order (1+x for x+1) is
not found. It prefers false positives to misses, since a flagged persona is only requested again.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_SIGNS = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u221a": r"\sqrt ", "\u03c0": r"\pi ", "\u00d7": r"\times ", "\u00b0": " "}
)
_NO_SIGN = re.compile(
    r"\\left(?![a-z])|\\right(?![a-z])|\\displaystyle|\\[,;:! ()\[\]]|\\?[%$]|\^\s*\{?\s*\\circ\s*\}?"
)
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|(\d)\s*(\d))")
_WORDS = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_UNIT = re.compile(r"(?<=[\d}])\s*\\(?:text|mathrm|mbox|textrm)\s*\{[^{}]*\}(?:\^\{?[23]\}?)?\s*$")
_NAMED = re.compile(r"\s*[A-Za-z]\s*=\s*([^=]+)")
# The sign counts only if there is nothing before it to subtract from: 16-3 contains 16 and 3.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]}])-\s?)?(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?/\s?\d+(?:\.\d+)?)?(?![\w]|\.\d)"
)


def leaks(reference: str, text: str) -> bool:
    """Whether the reference occurs in the text.

    A number is found by its value, with thousands separators, as a ratio or as a decimal; its unit does not count.
    Anything else is found symbol by symbol, except spaces, braces and formatting, and not inside a longer word or
    number. A single letter is never found: it may be a word (`A`) or a variable.
    """
    if not text:
        return False
    plain, value, pattern = _sought(reference)
    found = _plain(text)
    if value is not None:
        return any(_value(match.group()) == value for match in _NUMBER.finditer(found))
    return pattern is not None and len(plain) > 1 and bool(pattern.search(found))


@lru_cache(maxsize=4096)
def _sought(reference: str) -> tuple[str, Fraction | None, re.Pattern[str] | None]:
    plain = " ".join(_plain(_UNIT.sub("", reference)).split()).strip(" .")
    if named := _NAMED.fullmatch(plain):
        plain = named.group(1).strip()
    value = _value(plain) if _NUMBER.fullmatch(plain) else None
    tokens = re.findall(r"\\[A-Za-z]+|[A-Za-z]+|\d+(?:\.\d+)?|\S", plain)
    if not tokens:
        return plain, value, None
    cased = re.IGNORECASE if re.fullmatch(r"[A-Za-z ]+", plain) else 0
    spelled = r"\s*".join(map(re.escape, tokens))
    return plain, value, re.compile(rf"(?<![\w\\]){spelled}(?!\w)", cased)


def _plain(text: str) -> str:
    """Fractions as ratios; formatting and grouping removed."""
    text = _NO_SIGN.sub(" ", text.translate(_SIGNS))
    text = _WORDS.sub(r"\1", text)
    for _ in range(3):  # fractions within fractions, from the inside
        text = _FRACTION.sub(lambda match: f"{_group(match[1] or match[3])}/{_group(match[2] or match[4])}", text)
    return re.sub(r"\\?[{}]", "", text)


def _group(part: str) -> str:
    part = part.strip()
    return part if re.fullmatch(r"-?\w*", part) else f"({part})"


def _value(text: str) -> Fraction | None:
    top, _, bottom = text.replace(",", "").replace(" ", "").partition("/")
    try:
        return Fraction(top) / Fraction(bottom or "1")
    except (ValueError, ZeroDivisionError):
        return None
