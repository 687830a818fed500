r"""Two views of a problem's text for comparison: its canonical spelling, and its words.

`canonical` forgets what only typesets (white space, case, `$`, `\left`, `\dfrac` for `\frac`); two texts with one
canonical spelling ask the same. `words` forgets punctuation and brackets too and reads numbers, so that `eighty
thousand`, `80,000` and `80000` are one word. Words that are letters of mathematics stand with a leading `$`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from its.latex import ASCII, COMMANDS, SIGNS

VARIABLE = "$"
"""What a variable's word begins with."""

_FIGURE = re.compile(r"\[asy\](.*?)(?:\[/asy\]|\Z)", re.DOTALL | re.IGNORECASE)
_SPACING = re.compile(r"\\(?:[,;:>~ ]|q?quad(?![a-zA-Z])|hspace\*?\{[^{}]*\}|vspace\*?\{[^{}]*\})|~|\{,\}(?=\d{3})")
_LEXEME = re.compile(
    r"\\[a-zA-Z]+\*?|\\.|(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+|[^\W\d_]+(?:'[^\W\d_]+)?|[^\s]", re.DOTALL
)
_LONE_BRACE = re.compile(r"\{\s*([a-zA-Z0-9])\s*\}")
_RATIO = re.compile(r"(?<![\d./])(\d+)\s*/\s*(\d+)(?![\d./])")
_SHORT_FRACTION = re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)(?!\d)")
# NFKC would make `x²` into `x2`; the signs have names in LaTeX, which is what most rows write.
_SIGNS = {
    **{ord(up): f"^{down}" for up, down in zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)},
    **{ord(c): mark for c, mark in {**ASCII, "`": "'", "\u201e": '"'}.items()},
    **{ord(sign): f" {command} " for sign, command in {**SIGNS, "°": r"\circ"}.items()},
}
# What only typesets is dropped; what is spelt in several ways has one spelling.
_TYPESETTING = r"""
    \( \) \[ \] \! \\ \left \right \big \Big \bigg \Bigg \bigl \bigr \Bigl \Bigr \biggl \biggr \Biggl \Biggr
    \displaystyle \textstyle \limits \nolimits \text \textbf \textit \textrm \texttt \mathrm \mathbf \mathit \mathsf
    \boldsymbol \bold \bf \rm \it \mbox \emph \operatorname \hbox \noindent \par \centering $
"""
_DROPPED = frozenset(_TYPESETTING.split())
_SPELT: dict[str, str] = {
    **COMMANDS,
    r"\choose": r"\binom",
    **dict.fromkeys((r"\cdot", r"\ast", "*"), r"\times"),
    **dict.fromkeys((r"\dots", r"\cdots", r"\dotsb", r"\dotsc", r"\dotsm"), r"\ldots"),
    **dict.fromkeys((r"\{", r"\lbrace"), "{"),
    **dict.fromkeys((r"\}", r"\rbrace"), "}"),
    r"\%": "%",
    r"\mid": "|",
    r"\overrightarrow": r"\vec",
    r"\varphi": r"\phi",
    r"\emptyset": r"\varnothing",
    **{rf"\{name}": name for name in ("sin", "cos", "tan", "log", "ln", "gcd", "lcm", "max", "min", "det", "mod")},
}
_BLOCKS = re.compile(
    r"\\(?:begin|end)\s*\{\s*(?:align|equation|eqnarray|gather|multline|center|array)\*?\s*\}(?:\{[lcr|]*\})?"
)
_OPERATORS = frozenset("+-=<>%!/|")
_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_UNITS = {word: number for number, word in enumerate(_BELOW_TWENTY.split())}
_TEN_BY_TEN = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * number for number, word in enumerate(_TEN_BY_TEN.split(), 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_NUMERALS = _UNITS.keys() | _TENS.keys()


def canonical(text: str) -> str:
    """The spelling of a text that is compared: what asks the same under another typesetting becomes equal."""
    return " ".join(lexeme.casefold() for lexeme in _lexemes(text)).rstrip(" .?")


def words(text: str) -> list[str]:
    """The words, numbers, commands and operators of a text, in order; the code of `[asy]` figures does not count."""
    return _words(_FIGURE.sub(" ", text))


def figure_words(text: str) -> list[str]:
    """The words of the code of a text's `[asy]` figures; none where it has no figure."""
    return _words(" ".join(_FIGURE.findall(text)))


def is_given(word: str) -> bool:
    """Whether a word of `words` is data of its problem: a number, or a word in capitals that is talked about."""
    return word[-1].isdigit() or word.isupper()


def _words(text: str) -> list[str]:
    if text.isupper():
        text = text.casefold()
    return list(_numbered(_marked(_lexemes(_RATIO.sub(r"\\frac{\1}{\2}", text)))))


def _lexemes(text: str) -> Iterator[str]:
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS))
    if "\\" in text:
        text = _BLOCKS.sub(" ", text.replace(r"\!", ""))
        text = _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text)
    text = _LONE_BRACE.sub(r" \1 ", _SPACING.sub(lambda m: "," if m.group() == "{,}" else " ", text))
    for lexeme in _LEXEME.findall(text):
        if lexeme not in _DROPPED:
            yield _SPELT.get(lexeme, lexeme)


def _marked(lexemes: Iterable[str]) -> Iterator[str]:
    """Words in lower case, variables marked, punctuation gone but for the hyphen, which number words need."""
    for lexeme in lexemes:
        first = lexeme[0]
        if first.isalpha():
            if len(lexeme) == 1 or (len(lexeme) <= 4 and lexeme.isupper()):
                yield VARIABLE + lexeme.casefold()
            elif lexeme.isupper():
                yield lexeme  # a word that is talked about: "the letters of the word ELLIPSE"
            else:
                yield lexeme.casefold().removesuffix("'s")
        elif first.isdigit() or (first == "." and len(lexeme) > 1):
            yield _number(lexeme)
        elif first in _OPERATORS or first == "," or (first == "\\" and len(lexeme) > 2):
            yield lexeme


def _number(lexeme: str) -> str:
    plain = lexeme.replace(",", "")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".") or "0"
        return "0" + plain if plain.startswith(".") else plain
    return plain.lstrip("0") or "0"


def _numbered(tokens: Iterable[str]) -> Iterator[str]:
    """Number words as digits: `two hundred and five`, `twenty-five`, `5 thousand`, `one point five`."""
    stream = list(tokens)
    size = len(stream)
    at = 0
    while at < size:
        word = stream[at]
        follows = stream[at + 1] if at + 1 < size else ""
        if word in _NUMERALS or (follows in _SCALES and word.isdigit()):
            value, at = _spoken(stream, at)
            yield value
        else:
            at += 1
            # A comma only kept two spoken numbers apart, a hyphen only tied words.
            if word == "$a" and follows[:1].isalpha():
                yield "a"  # the article
            elif word != "," and not (word == "-" and follows[:1].isalpha()):
                yield word


def _spoken(stream: list[str], at: int) -> tuple[str, int]:
    """The number that is spoken from `at` on, and where it ends."""
    total, part, size = 0, 0, len(stream)
    last = ""  # unit, ten or scale: "two three" are two numbers, "twenty three" is one
    while at < size:
        word = stream[at]
        if word in ("-", "and") and last and at + 1 < size:
            ahead, beyond = stream[at + 1], stream[at + 2] if at + 2 < size else ""
            joins = (word == "-" and last == "ten" and ahead in _UNITS) or (
                # "between one hundred and two hundred" are two numbers
                word == "and" and last == "scale" and ahead in _NUMERALS and beyond != "hundred"
            )
            if not joins:
                break
            at += 1
            continue
        if word in _UNITS and (last in ("", "scale") or (last == "ten" and 0 < _UNITS[word] < 10)):
            part, last = part + _UNITS[word], "unit"
        elif word in _TENS and last in ("", "scale"):
            part, last = part + _TENS[word], "ten"
        elif not last and word.isdigit():
            part, last = int(word), "unit"
        elif word in _SCALES and last:
            scale = _SCALES[word]
            if scale == 100:
                part *= 100
            else:
                total, part = total + part * scale, 0
            last = "scale"
        else:
            break
        at += 1
    if at + 1 < size and stream[at] == "point" and stream[at + 1] in _UNITS:
        digits = ""
        at += 1
        while at < size and stream[at] in _UNITS and _UNITS[stream[at]] < 10:
            digits += str(_UNITS[stream[at]])
            at += 1
        return _number(f"{total + part}.{digits}"), at
    return str(total + part), at
