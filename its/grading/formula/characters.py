r"""Unicode characters as LaTeX: `√2` is `\sqrt 2`, `½` is `\frac{1}{2}`."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

from its.latex import ASCII, SIGNS

_SAME = {
    "-": "\u2015\ufe63\uff0d\u207b\u208b",
    "+": "\u207a\u208a",
    " ": "\u00a0\u202f\u2009\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u200a\u205f\u3000\u1680",
    "'": "\u02b9\u00b4",
    "''": "\u2033",
    "/": "\u2044\u2215",
    ":": "\u2236",
    ",": "\u3001",
    ".": "\u3002",
    "|": "\u2223\u2758",
    "\\times ": "\u2a2f\u2715",
    "\\cdot ": "\u22c5\u2219\u2022",
    "*": "\u2217",
    "\\sqrt[3]": "\u221b",
    "\\sqrt[4]": "\u221c",
    "\\pm ": "\u00b1",
    "\\mp ": "\u2213",
    "\\le ": "\u2a7d\u2266",
    "\\ge ": "\u2a7e\u2267",
    "\\approx ": "\u2248",
    "\\equiv ": "\u2261",
    "\\cong ": "\u2245",
    "\\sim ": "\u223c",
    "\\in ": "\u2208",
    "\\notin ": "\u2209",
    "\\subset ": "\u2282",
    "\\subseteq ": "\u2286",
    "\\cup ": "\u222a",
    "\\cap ": "\u2229",
    "\\setminus ": "\u2216",
    "\\emptyset ": "\u2205",
    "\\mathbb{R}": "\u211d",
    "\\mathbb{N}": "\u2115",
    "\\mathbb{Z}": "\u2124",
    "\\mathbb{Q}": "\u211a",
    "\\mathbb{C}": "\u2102",
    "^{\\circ}": "\u00b0\u02da\u00ba",
    "\\to ": "\u2192",
    "\\Rightarrow ": "\u21d2\u27f9",
    "\\iff ": "\u21d4\u27fa",
    "\\ldots ": "\u22ef",
    "\\langle ": "\u27e8\u2329",
    "\\rangle ": "\u27e9\u232a",
    "\\lfloor ": "\u230a",
    "\\rfloor ": "\u230b",
    "\\lceil ": "\u2308",
    "\\rceil ": "\u2309",
    "\\sum ": "\u2211",
    "\\prod ": "\u220f",
    "\\int ": "\u222b",
    "\\partial ": "\u2202",
    "\\nabla ": "\u2207",
    "\\perp ": "\u22a5",
    "\\parallel ": "\u2225",
    "\\land ": "\u2227",
    "\\lor ": "\u2228",
    "\\neg ": "\u00ac",
    "\\forall ": "\u2200",
    "\\exists ": "\u2203",
    "\\ell ": "\u2113",
    "\\hbar ": "\u210f",
    "\\mu ": "\u00b5",
    "\\%": "\uff05",
    "": "\u20ac\u00a3\u00a5\u20b9",  # a currency is a unit before its number
}
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f]"
)
"""Format characters: zero-width spaces and joiners, direction marks, the soft hyphen, the byte order mark."""
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma_ sigma tau upsilon "
    "phi chi psi omega"
)
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱᵃᵇᶜᵈᵉᵏᵐᵒᵖᵗˣʸ", "0123456789+-=()niabcdekmoptxy", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑᵢⱼₖₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789+-=()aeijkmnoprstuvx", strict=True))
_SCRIPTS = re.compile(f"([{''.join(_RAISED)}]+)|([{''.join(_LOWERED)}]+)")


def plain(text: str) -> str:
    """The text in ASCII and LaTeX as far as possible; invisible format characters (category Cf) are removed.

    Wide forms, letters of mathematical alphabets and every script's digits become ASCII, superscripts and subscripts
    powers and indices.
    """
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    text = _SCRIPTS.sub(_script, text)
    return "".join(map(_one, text)) if not text.isascii() else text


def place_for_place(text: str) -> tuple[str, list[int] | None]:
    """The text without invisible characters, and with wide ones and every script's digits as ASCII.

    The second value is the place in `text` of each character that is left; None where none was removed.
    """
    if text.isascii():
        return text, None
    text = text.translate(_plain_letters())
    if not _INVISIBLE.search(text):
        return text, None
    places = [place for place, letter in enumerate(text) if not _INVISIBLE.match(letter)]
    return _INVISIBLE.sub("", text), places


def _script(match: re.Match[str]) -> str:
    if match.group(1):
        return "^{" + "".join(_RAISED[letter] for letter in match.group(1)) + "}"
    return "_{" + "".join(_LOWERED[letter] for letter in match.group(2)) + "}"


@cache
def _one(letter: str) -> str:
    """One character as ASCII or LaTeX."""
    if letter.isascii():
        return "" if letter == "\0" else letter
    known = _table().get(letter)
    if known is not None:
        return known
    kind = unicodedata.category(letter)
    if kind == "Cf" or "\ufe00" <= letter <= "\ufe0f":
        return ""
    if letter.isdecimal():
        return str(unicodedata.decimal(letter))
    folded = unicodedata.normalize("NFKC", letter)
    if kind == "No" and "\u2044" in folded:  # a fraction in one character
        top, _, bottom = folded.partition("\u2044")
        return f"\\frac{{{top}}}{{{bottom}}}" if top.isdigit() and bottom.isdigit() else letter
    if len(folded) == 1 and folded != letter:
        return _one(folded)
    return letter


@cache
def _table() -> dict[str, str]:
    table = ASCII | {letter: f"{command} " for letter, command in SIGNS.items()}
    table |= {letter: known for known, letters in _SAME.items() for letter in letters}
    names = _GREEK.split()
    for start, capital in ((0x3B1, False), (0x391, True)):
        for place, name in enumerate(names):
            if capital and name == "sigma_":
                continue  # no capital: only the lower-case sigma has a separate form at the end of a word
            name = name.rstrip("_")
            table[chr(start + place)] = f"\\{name.capitalize() if capital else name} "
    return table | {"\u03d5": "\\phi ", "\u03f5": "\\epsilon ", "\u03d1": "\\theta ", "\u2126": "\\Omega "}


@cache
def _plain_letters() -> dict[int, str]:
    """Digits of every script, wide characters, circled capitals, and the letters of mathematical alphabets."""
    foreign = map(chr, range(128, sys.maxunicode + 1))
    digits = {ord(letter): str(unicodedata.decimal(letter)) for letter in foreign if letter.isdecimal()}
    wide = {place: chr(place - 0xFEE0) for place in range(0xFF01, 0xFF5F)} | {0x3000: " "}
    styled = [*range(0x24B6, 0x24D0), *range(0x1D400, 0x1D7CC)]
    ascii_ = {place: unicodedata.normalize("NFKC", chr(place)) for place in styled}
    return digits | wide | {place: letter for place, letter in ascii_.items() if len(letter) == 1}
