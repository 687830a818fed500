r"""The algebra: whether two texts of kind `math` say the same. Runs in the worker processes of `its.grading.pool`.

The shape of the reference decides: words are compared as words, matrices, tuples and intervals entry by entry, in
order and with their brackets; the rest is math-verify's. Its own timeouts (signals) are off: the pool has a limit that
holds everywhere.
"""

from __future__ import annotations

import logging
import re
from itertools import chain

from its.grading.equal import GraderError, exactly_equivalent
from its.grading.normalise import CHANGING_WORDS, tidy, without_spaces, without_unit

PLACES = 6  # math-verify compares decimals to so many places, as the exact path does

_WORD = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mbox)\s*\{\s*\(?([^{}()]*)\)?\s*\}")
_LINK = re.compile(r"\s*,?\s*(?:\\(?:text|mathrm|mbox|textrm)\s*\{\s*,?\s*(?:and|or)\s*\}|\b(?:and|or)\b)\s*")
_MATRIX = re.compile(
    r"\(?\s*(?:\\(?:left)?\s*[\[(|]\s*|\[\s*)?\\begin\s*\{([pbvBV]?matrix|array)\}(?:\{[lcr| ]*\})?(.*?)\\end\s*\{\1\}"
    r"\s*(?:\\(?:right)?\s*[\])|]|\])?\s*\)?",
    re.DOTALL,
)
_CHANGED = re.compile(
    rf"(?<=[0-9)}}]) ?(?:\\(?:text|textbf|textrm|textnormal|mathrm|mbox)\s*\{{)?\s*({CHANGING_WORDS})\.?s?\s*\}}?$",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"[0-9]\s*:\s*0+(?![0-9.])")
_BASE = re.compile(r"[0-9A-Z]+_\{?([0-9]+)\}?")


def equivalent_math(answer: str, reference: str) -> bool:
    """Whether an answer is the reference in another form, where the exact path left it open.

    Raises:
        GraderError: math-verify failed, lost a part of a text, or cannot read the reference.
    """
    return _same(without_unit(tidy(answer), "math"), without_unit(tidy(reference), "math"))


def _same(given: str, wanted: str) -> bool:
    words = _word(given), _word(wanted)
    if any(word is not None for word in words):  # math-verify reads letters as a product: `was` would equal `saw`
        said, known = (text if word is None else word for word, text in zip(words, (given, wanted), strict=True))
        return _plain(said) == _plain(known)
    if _CLOCK.search(given) or _CLOCK.search(wanted):  # math-verify would divide by its zeros
        return _plain(given) == _plain(wanted)
    matrices = _matrix(given), _matrix(wanted)
    if matrices[1] is not None:
        rows = matrices[0] if matrices[0] is not None else _as_column(given, matrices[1])
        if rows is not None:
            return _same_rows(rows, matrices[1])
    elif matrices[0] is not None and (rows := _as_column(wanted, matrices[0])) is not None:
        return _same_rows(matrices[0], rows)
    bases = _BASE.fullmatch(given), _BASE.fullmatch(wanted)
    if bases[0] and bases[1] and bases[0].group(1) != bases[1].group(1):
        return False  # math-verify drops the base: 21_3 would equal 21_5
    given, wanted = _linked(given), _linked(wanted)
    given_parts, wanted_parts = _parts(given), _parts(wanted)
    if given_parts and wanted_parts and not {given_parts[0], wanted_parts[0]} <= {"", "{}"}:
        # math-verify 0.9 takes the pair (1,2) for the set {1,2}.
        brackets = {given_parts[0], wanted_parts[0]} - {""}
        if len(brackets) > 1 or len(given_parts[1]) != len(wanted_parts[1]):
            return False
        return all(_same_entry(*pair) for pair in zip(given_parts[1], wanted_parts[1], strict=True))
    return _verify(given, wanted)


def _same_entry(given: str, wanted: str) -> bool:
    if not given or not wanted:
        return False
    exact = exactly_equivalent(given, wanted, "math")
    return _same(without_unit(tidy(given), "math"), without_unit(tidy(wanted), "math")) if exact is None else exact


def _same_rows(given: list[list[str]], wanted: list[list[str]]) -> bool:
    if [len(row) for row in given] != [len(row) for row in wanted]:
        return False
    pairs = zip(chain.from_iterable(given), chain.from_iterable(wanted), strict=True)
    return all(_same_entry(*pair) for pair in pairs)


def _verify(given: str, wanted: str) -> bool:
    from math_verify import verify  # type: ignore[import-untyped,unused-ignore]

    known = _parse(wanted)
    if _is_prose(given) and _is_prose(wanted) and _plain(given) == _plain(wanted):
        return True
    one, other = without_spaces(given), without_spaces(wanted)
    if one == other or one.casefold() == other.casefold():
        return one == other  # math-verify takes R for r
    if _changed(given) != _changed(wanted):
        return False  # math-verify drops the word: 5 million would equal 5
    _readable(known, wanted)
    try:
        said = _parse(given)
        _whole(said, given)
        return bool(
            verify(
                known[:1],
                said[:1],
                float_rounding=PLACES,
                allow_set_relation_comp=True,
                timeout_seconds=None,
                raise_on_error=True,
            )
        )
    except GraderError:
        raise
    except MemoryError as error:
        raise GraderError("the comparison needs too much memory") from error
    except Exception as error:  # whatever sympy raises on a text that a model wrote
        raise GraderError(f"math-verify failed: {type(error).__name__}") from error


def _parse(text: str) -> list[object]:
    """What math-verify makes of a text: the expression, if it found one, and the string that it read."""
    from math_verify import parse  # type: ignore[import-untyped,unused-ignore]

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns once that its timeouts are off
    try:
        return list(parse(f"${text}$", parsing_timeout=None, raise_on_error=True))
    except MemoryError as error:
        raise GraderError("the expression needs too much memory") from error
    except Exception as error:  # whatever the parser raises on a text that a model wrote
        raise GraderError(f"math-verify failed: {type(error).__name__}") from error


def _readable(parsed: list[object], text: str) -> None:
    if not parsed or isinstance(parsed[0], str):
        if _is_prose(text):
            return
        raise GraderError(f"the reference `{text[:80]}` cannot be parsed")
    _whole(parsed, text)


def _whole(parsed: list[object], text: str) -> None:
    r"""math-verify 0.9 takes a unit out of a fraction and parses what is left: `1-\frac{1}{\mathrm{m}}` becomes 1."""
    if parsed and not isinstance(parsed[0], str) and _depth(str(parsed[-1])) and not _depth(text):
        raise GraderError(f"math-verify reads only a part of `{text[:80]}`")


def _depth(text: str) -> int:
    return len(re.findall(r"(?<!\\)\{", text)) - len(re.findall(r"(?<!\\)\}", text))


def _changed(text: str) -> str | None:
    """The word behind a number that makes it another: `million`, `p.m`."""
    found = _CHANGED.search(text)
    return found.group(1).casefold().replace(".", "") if found else None


def _word(text: str) -> str | None:
    match = _WORD.fullmatch(text)
    return match.group(1) if match else None


def _is_prose(text: str) -> bool:
    """Words that stand for themselves (`Evelyn`, `\text{Monday}, the 3rd`), not a formula."""
    bare = re.sub(r"\\(?:text|textbf|textit|textrm|mathrm|mbox)\s*\{([^{}]*)\}", r" \1 ", text)
    return "\\" not in bare and bool(re.search(r"[A-Za-z]{2}", bare)) and not re.search(r"[=^_<>+*/{}]", bare)


def _plain(text: str) -> str:
    return re.sub(r"\s+", "", text).casefold()


def _linked(text: str) -> str:
    """The text with commas for words: `1 and 2` and `x = 1 or x = 2` are lists."""
    return _LINK.sub(", ", text)


def _matrix(text: str) -> list[list[str]] | None:
    match = _MATRIX.fullmatch(text)
    if match is None or "\\begin" in match.group(2):
        return None
    rows = [row for row in re.split(r"\\\\|\\cr\b", match.group(2)) if row.strip()]
    return [[cell.strip() for cell in row.split("&")] for row in rows]


def _as_column(text: str, wanted: list[list[str]]) -> list[list[str]] | None:
    """The tuple `(1,2)` in the shape of a column or row that is wanted."""
    parts = _parts(text)
    if parts is None or parts[0] != "()":
        return None
    if all(len(row) == 1 for row in wanted):
        return [[part] for part in parts[1]]
    return [parts[1]] if len(wanted) == 1 else None


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
