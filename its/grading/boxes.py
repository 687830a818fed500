r"""Where the boxes of a text are: `\boxed{...}` and `\fbox{...}`, balanced, in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass

from its.grading.normalise import is_choice

_BRACE = re.compile(r"\\{1,2}(?:boxed|fbox)\s*+\{|\\[\\{}]|[{}]")
_OPEN = re.compile(r"\\{1,2}(?:boxed|fbox)\s*+\{")
_BETWEEN = re.compile(r"(?:[^.!?\n]|\n(?!\n)|\.(?=[0-9]))*")
_LINKED = re.compile(r",|;|\band\b|\bor\b", re.IGNORECASE)
_CORRECTS = re.compile(
    r"\b(?:but|so|not|no|hence|thus|therefore|then|wait|actually|rather|instead|since|because|which|finally|get|gives?|"
    r"answer|result|sum|total|product|difference)\b",
    re.IGNORECASE,
)
"""Words between two boxes that make the later one no further element of a list."""
_MARKS = re.compile(r"\\[()\[\]]|\$|\\q?quad\b|\\[,;:! ]|\s")
MAX_BETWEEN = 40
"""More characters than this between two boxes, and they are not one list."""
MAX_RUN = 64
"""More boxes in a run are a model that loops, not a list."""
_REACH = 500  # characters; a box of a list is shorter


@dataclass(frozen=True, slots=True)
class Box:
    """What a box holds, and the place of the content in the text; `left` and `right` are those of the whole box."""

    content: str
    start: int
    end: int
    left: int
    right: int


def last_box(text: str, letters: bool = False) -> Box | None:
    """The box that starts last among those that close and are not empty; None if there is none.

    Args:
        letters: a box has to hold a letter A-J, others count as none.
    """
    if "box" not in text:
        return None
    simple = None if letters else _simple_last(text)
    return simple if simple is not None else _scan(text, letters)


def run_of_boxes(text: str, last: Box) -> Box | None:
    r"""The run of boxes that ends in `last`, as one list; None if it stands alone or all say the same.

    `\boxed{1}, \boxed{2} and \boxed{3}` is `1, 2, 3`. A sentence's end, an empty line, a word such as `but` or many
    characters between two boxes part them: a later box then corrects an earlier one.
    """
    contents, left, right = [last.content], last.left, last.right
    while len(contents) <= MAX_RUN:
        head = text[max(0, left - _REACH) : left]
        before = _scan(head, letters=False)
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


def _simple_last(text: str) -> Box | None:
    """The last box where it holds no braces or commands, the usual case, without a look at the rest of the text."""
    at = text.rfind("box")
    match = _OPEN.match(text, text.rfind("\\", 0, at)) if at > 0 else None
    if match is None or match.end() <= at:
        return None
    end = text.find("}", match.end())
    content = text[match.end() : end] if end >= 0 else ""
    if "{" in content or "\\" in content or not content.strip("$ \t\n"):
        return None
    left = match.start() - 1 if match.start() and text[match.start() - 1] == "\\" else match.start()
    return Box(content.strip(), match.end(), end, left, end + 1)


def _scan(text: str, letters: bool) -> Box | None:
    """One pass with a stack; of the boxes that close the one that starts last."""
    stack: list[tuple[int, int]] = []  # where an open box and its content start; -1 for any other brace
    best: Box | None = None
    for match in _BRACE.finditer(text):
        token = match.group()
        if token == "{":
            stack.append((-1, -1))
        elif token == "}":
            left, start = stack.pop() if stack else (-1, -1)
            if start < 0 or (best is not None and start < best.start):
                continue
            if letters and match.start() - start > _REACH:
                continue
            content = text[start : match.start()].strip()
            if content.strip("$ \t\n") and (not letters or is_choice(content)):
                best = Box(content, start, match.start(), left, match.end())
        elif token.endswith("{") and len(token) > 2:
            stack.append((match.start(), match.end()))
    return best
