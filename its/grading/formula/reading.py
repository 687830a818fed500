r"""An answer's text without its formatting, and the tree of its formula if it is one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from its.boxes import BOX_OPENS
from its.grading.formula.characters import plain
from its.grading.formula.nodes import Node
from its.grading.formula.parse import parse
from its.grading.formula.tokens import ReadError, Thousands, Token, group_end, spelled, tokenise, written
from its.grading.formula.vocabulary import is_word

MAX_CHARACTERS = 2000
"""Longer texts are not parsed; this also keeps int() below Python's limit of 4,300 digits."""
MAX_TOKENS = 1000

_MARKS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_QUOTES = '"`\u201c\u201d\u2018\u2019'
_WRAPPED = re.compile(r"\\(?:boxed|fbox|text|textbf|textit|textrm|mathbf|mathrm|boldsymbol|bm)\s*(\{.*\})", re.DOTALL)
_FONT = r"\\(?:text|textbf|textrm|mathrm|mathbf|bf)\s*\{\s*"
_PARTED = re.compile(r"[,|]|\\(?:mid|choose|over)(?![a-z])")
"""What makes braces around the whole text more than a group: a list, a condition, a fraction."""
_OPTION = re.compile(
    rf"(?P<sure>{_FONT}(?:\(\s*([A-J])\s*\)|([A-J])\s*[.:)])[\s:]*\}}|{_FONT}([A-J])\s*\}}(?=\s*\\q?quad)"
    r"|([A-J])(?:\)|[.:](?=\s))|\(\s*([A-J])\s*\)(?=\s+[A-Za-z]{2}))"
    r"|\(\s*([A-J])\s*\)(?=(?:\s|\\[,;: ])*[-0-9$\\.])"
)
_BETWEEN = re.compile(r"(?:[\s:.~]|\\[,;: ]|\\q?quad)*")
_OPTION_BEHIND = re.compile(r"(?<=[^\s(])\s*\\(?:text|textbf|textrm|mathrm|mathbf)\s*\{\s*\(\s*([A-J])\s*\)\s*\}\Z")


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed answer.

    Attributes:
        text: without formatting around it; compared and shown where no formula was parsed.
        node: the tree; None if the text cannot be parsed to its end; `fault` says why.
        others: alternative trees, where a comma before three digits may separate numbers or thousands.
        spelling: one spelling of the text, for comparison as text; without spaces if it cannot be split into tokens.
        option: the letter of the option before it, `C` in `\\textbf{(C)}\\ 12`.
    """

    text: str
    node: Node | None
    fault: str | None = None
    others: tuple[Node, ...] = ()
    spelling: str = ""
    option: str | None = None


@lru_cache(maxsize=4096)
def read(text: str, single_units: bool = False) -> Reading:
    """Parse an answer; never raises.

    Args:
        single_units: one letter after a number may be a unit, since no variable is expected.
    """
    bare = _unformatted(text)
    if not bare:
        return Reading("", None, "it is empty")
    if len(bare) > MAX_CHARACTERS:
        return Reading(bare, None, f"a text of {len(bare)} characters is too long")
    option = None
    if (match := _OPTION.match(bare)) and (rest := _BETWEEN.sub("", bare[match.end() :], count=1)):
        option = next(letter for letter in match.groups()[1:] if letter)
        bare = _unformatted(rest)
    elif match := _OPTION_BEHIND.search(bare):
        option, bare = match.group(1), _unformatted(bare[: match.start()])
    found = _read(bare, single_units)
    return found if option is None else replace(found, option=option)


def _read(text: str, single_units: bool) -> Reading:
    spelling = "".join(text.split())
    try:
        tokens = tokenise(text)
        spelling = written(tokens)
        if len(tokens) > MAX_TOKENS:
            return Reading(text, None, f"a text of {len(tokens)} tokens is too long", spelling=spelling)
        try:
            node = parse(list(tokens), single_units)
        except ReadError as error:
            if _is_prose(tokens):
                return Reading(text, Node("words", text=spelled(tokens)), spelling=spelling)
            return Reading(text, None, str(error), spelling=spelling)
        return Reading(text, node, others=_others(text, node, single_units), spelling=spelling)
    except ReadError as error:
        return Reading(text, None, str(error), spelling=spelling)
    except RecursionError:
        return Reading(text, None, "it is nested too deep", spelling=spelling)


def _others(text: str, node: Node, single_units: bool) -> tuple[Node, ...]:
    """Alternative trees of a text with a comma before three digits: `(1,234)` and `1,234` are one number or two."""
    found: list[Node] = []
    if re.search(r"[0-9],[0-9]{3}", text):
        ways: tuple[Thousands, ...] = ("never", "always")
        for way in ways:
            try:
                other = parse(tokenise(text, way), single_units)
            except ReadError:
                continue
            if other not in (node, *found):
                found.append(other)
    return tuple(found)


def _is_prose(tokens: list[Token]) -> bool:
    """Whether a text that is not a formula is prose: it has a word, and nothing that only a formula has."""
    marks = {token.text for token in tokens if token.kind == "mark"}
    if marks - set(".,;:'-()!?/\"&%#$*`[]") or any(token.kind == "command" for token in tokens):
        return False
    return any(
        token.kind == "word"
        or (token.kind == "upright" and len(token.text) > 1)
        or (token.kind == "letters" and (is_word(token.text) or token.text.casefold() in ("am", "pm")))
        for token in tokens
    )


def _unformatted(text: str) -> str:
    r"""The text without math delimiters, Markdown, quotes, `\boxed` and `\text` around it, and without a final stop."""
    text = plain(text)
    for _ in range(8):
        before = text
        text = text.strip().strip("*").strip()
        for left, right in _MARKS:
            if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
                inner = text[len(left) : -len(right)]
                if left not in inner:
                    text = inner
        text = re.sub(r"\\(?:displaystyle|checkmark|textstyle)(?![A-Za-z])\s*", "", text).strip()
        text = re.sub(r"(?:[\s.,;:]|(?<!\\)\\[,;: ]|\\\\|(?<!\\)\\$)+\Z", "", text) if text[-1:] in ".,;: \\" else text
        text = text.strip(_QUOTES)
        if (opened := BOX_OPENS.match(text)) and group_end(text, opened.end() - 1) is None:
            text = text[opened.end() :]  # a box that never closes
        match = _WRAPPED.fullmatch(text)
        if match and group_end(match.group(1)) == len(match.group(1)):
            inner = match.group(1)[1:-1]
            if "text" not in text[:6] or not inner.strip().isalpha():
                text = inner
        elif text[:1] == "{" and group_end(text) == len(text) and not _PARTED.search(text):
            text = text[1:-1]
        if text[:1] == "\\" and text[1:2].isdigit():
            text = text[1:]  # `\15`: a dollar sign was lost on the way
        if text == before:
            break
    return text
