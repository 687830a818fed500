r"""Finds the boxes of a text, `\boxed{...}` and `\fbox{...}`, in one pass.

Grading, sources and curation all use it. Of the boxes that close and are not empty, the one that starts last counts, so
of nested ones the innermost. Without braces (`\boxed 12`, `\boxed12`, `\boxed x`) a box contains one number or one
token, whatever follows. A box of only spaces, dots or a placeholder (`\boxed{\ldots}`, `\boxed{?}`) is empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_COMMAND = r"\\{1,2}(?:boxed|fbox)"
# The content of a box without braces: a number with what is attached, a command with its arguments, a pair, a letter.
_GROUP = r"\{[^{}\n]{0,200}(?:\{[^{}\n]{0,200}\}[^{}\n]{0,200}){0,8}\}"
_TAIL = rf"(?:[0-9A-Za-z^_/+*%!\u00b0-]|[.,](?=[0-9])|\\[A-Za-z]|{_GROUP}|\([^()\n]{{0,200}}\)){{0,200}}+"
_FRACTION = rf"\\[dtc]?frac\s*(?:[0-9]|{_GROUP})\s*(?:[0-9]|{_GROUP})"
_NO_ARGUMENT = r"(?:boxed|fbox|end|begin|left|right|q?quad)(?![A-Za-z])|(?:text|math)[a-z]*\s?(?:[^\s{a-z]|\Z)"
_NAMED = rf"\\(?!{_NO_ARGUMENT})[A-Za-z]++(?:\s?{_GROUP})*"
_BARE = (
    rf"[-+]?\s?\\?\$?\.?[0-9]{_TAIL}|[-+]?\s?(?:{_FRACTION}|\\sqrt\s*[0-9]|{_NAMED})"
    r"|[(\[]\s*[-+\\0-9][^()\[\]\n]{0,200}[)\]]"
    r"|(?<=\s)(?![aAI]\s+[A-Za-z])[A-Za-z](?![A-Za-z'\u2019])"
)
_BRACE = re.compile(rf"{_COMMAND}\s*+(?:\{{|(?P<bare>{_BARE}))|\\[\\{{}}]|[{{}}]")
BOX_OPENS = re.compile(rf"{_COMMAND}\s*+\{{")
"""The beginning of a box, including its brace."""
_BLANK = re.compile(
    r"(?:[\s$~.?_\u2026\u200b-\u200f\u2060\ufeff]|\\(?:q?quad|[lc]?dots|square|Box)(?![A-Za-z])"
    r"|\\(?:boxed|fbox|text|textbf|mathrm|mathbf|underline|phantom)\s*\{\s*\})*+"
)
_BETWEEN = re.compile(r"(?:[^.!?\n]|\n(?!\n)|\.(?=[0-9]))*")
_LINKED = re.compile(r",|;|\band\b|\bor\b", re.IGNORECASE)
_CORRECTS = re.compile(
    r"\b(?:but|so|not|no|hence|thus|therefore|then|wait|actually|rather|instead|since|because|which|finally|get|gives?|"
    r"answer|result|sum|total|product|difference)\b",
    re.IGNORECASE,
)
"""Words between two boxes after which the later one is not a further element of a list."""
_MARKS = re.compile(r"\\[()\[\]]|\$|\\q?quad\b|\\[,;:! ]|\s")
MAX_BETWEEN = 40
"""With more characters than this between them, two boxes are not a list."""
MAX_RUN = 64
"""More boxes in a run come from a model that loops, not from a list."""
REACH = 500
"""The longest box, in characters, of a list, or that `accepts` is called with."""


@dataclass(frozen=True, slots=True)
class Box:
    """The content of a box and its place in the text; `left` and `right` are those of the whole box."""

    content: str
    start: int
    end: int
    left: int
    right: int


def last_box(text: str, accepts: Callable[[str], bool] | None = None) -> Box | None:
    """The box that starts last among those that close and are not empty; None if there is none.

    Args:
        accepts: whether a content counts; boxes of more than `REACH` characters do not.
    """
    if "box" not in text:
        return None
    simple = _simple_last(text) if accepts is None else None
    return simple if simple is not None else _scan(text, accepts)


def opens_box(text: str) -> bool:
    r"""Whether a box is opened anywhere, even if empty or unclosed; a bare `\boxed` in a sentence does not count."""
    return "box" in text and BOX_OPENS.search(text) is not None


def run_of_boxes(text: str, last: Box) -> Box | None:
    r"""The run of boxes that ends with `last`, as one list; None if it is alone or all are the same.

    `\boxed{1}, \boxed{2} and \boxed{3}` is `1, 2, 3`. A sentence's end, an empty line, a word such as `but` or many
    characters between two boxes end the run: a later box then corrects an earlier one.
    """
    if text.find("box", max(0, last.left - REACH), last.left) < 0:
        return None
    contents, left, right = [last.content], last.left, last.right
    while len(contents) <= MAX_RUN:
        head = text[max(0, left - REACH) : left]
        before = _scan(head, None)
        if before is None:
            break
        gap = head[before.right :]
        bare = _MARKS.sub("", gap)
        if len(gap) > MAX_BETWEEN or not _BETWEEN.fullmatch(gap) or (bare and not _LINKED.search(gap)):
            break
        if _CORRECTS.search(gap):
            break
        contents.insert(0, before.content)
        left -= len(head) - before.left
    if len(set(contents)) < 2 or len(contents) > MAX_RUN:
        return None
    return Box(", ".join(contents), left, right, left, right)


def _is_blank(content: str) -> bool:
    return _BLANK.fullmatch(content) is not None


def _simple_last(text: str) -> Box | None:
    """The last box if it contains no braces or commands, the usual case, without reading the rest of the text."""
    at = text.rfind("box")
    match = BOX_OPENS.match(text, text.rfind("\\", 0, at)) if at > 0 else None
    if match is None or match.end() <= at:
        return None
    end = text.find("}", match.end())
    content = text[match.end() : end] if end >= 0 else ""
    if "{" in content or "\\" in content or _is_blank(content):
        return None
    left = match.start() - 1 if match.start() and text[match.start() - 1] == "\\" else match.start()
    return Box(content.strip(), match.end(), end, left, end + 1)


def _scan(text: str, accepts: Callable[[str], bool] | None) -> Box | None:
    """One pass with a stack: of the boxes that close, the one that starts last."""
    stack: list[tuple[int, int]] = []  # where an open box and its content start; -1 for any other brace
    best: Box | None = None
    for match in _BRACE.finditer(text):
        token = match.group()
        if token == "{":
            stack.append((-1, -1))
        elif token == "}":
            left, start = stack.pop() if stack else (-1, -1)
            if start >= 0 and (best is None or start > best.start):
                best = _filled(text, left, start, match.start(), match.end(), accepts) or best
        elif match.group("bare") is not None:
            best = _filled(text, match.start(), match.start("bare"), match.end(), match.end(), accepts) or best
        elif len(token) > 2:
            stack.append((match.start(), match.end()))
    return best


def _filled(
    text: str, left: int, start: int, end: int, right: int, accepts: Callable[[str], bool] | None
) -> Box | None:
    if accepts is not None and end - start > REACH:
        return None
    content = text[start:end].strip()
    if _is_blank(content) or (accepts is not None and not accepts(content)):
        return None
    return Box(content, start, end, left, right)
