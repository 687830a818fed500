"""References that cannot be graded against, found before any response is generated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from its.errors import Fault
from its.grading.equal import GraderError, reference_fault, shortened
from its.grading.formula.evaluate import has_finite_value
from its.grading.formula.nodes import is_constant
from its.grading.formula.reading import MAX_CHARACTERS
from its.grading.grade import Grader
from its.grading.normalise import AnswerKind, read_answer

MAX_WORDS = 40
"""A reference of more words is a proof or a solution, and could only be compared as text."""
HINTS: dict[str, str] = {
    "integer": "correct it, or declare `answer: number` or `answer: math`",
    "number": "correct it, or declare `answer: math`",
    "math": "correct its LaTeX: a reference is one answer, without the solution around it",
    "choice": "a reference is one letter A-J",
}

# What spreadsheets, pandas and JSON write for a missing value; the algebra would accept it as a product of letters.
_MISSING = re.compile(r"[-+]?(?:nan|none|null|n/a|<na>|inf(?:inity)?)", re.IGNORECASE)
# `proof` and `notfound` are NuminaMath's references of problems without an answer. `no solution` is an answer.
_NO_ANSWER = re.compile(r"\W*(?:see|refer to)\s+\w.*|.*\banswers?\b.*|\W*(?:proof|not ?found)\W*", re.I | re.DOTALL)
_FIGURE = re.compile(r"\[asy\]|\\includegraphics|\\begin\s*\{(?:tikzpicture|asy|figure)\}|!\[[^\]]*\]\(", re.IGNORECASE)
_GROUP = re.compile(r"\\(?:begin|end)\s*\{([^{}]*)\}|\\[\\{}]|[{}]")


def ungradable_references(
    rows: Iterable[tuple[str, str | None, AnswerKind]], hints: Mapping[str, str] = HINTS
) -> list[Fault]:
    """A fault for each reference that no answer could be graded against, in order; streams the rows.

    Args:
        rows: (place, reference, kind), with the place as errors name it, `path:line`.
        hints: by kind, for a reference that is not of its kind.
    """
    return [Fault(place, *fault) for place, text, kind in rows if (fault := _fault(text, kind, hints)) is not None]


def _fault(reference: str | None, kind: AnswerKind, hints: Mapping[str, str]) -> tuple[str, str] | None:
    if reference is None:
        return "no reference", "every row of a benchmark needs one"
    if kind != "choice" and reference.isdecimal() and reference.isascii() and len(reference) < 100:
        return None  # most references; valid for all kinds
    if (message := reference_fault(reference, kind)) is not None:
        return message, hints[kind]
    return _text_fault(reference) if kind == "math" else None


def compared_as_text(reference: str, kind: AnswerKind) -> str | None:
    """Why a reference of kind `math` is compared as text; None if it can be parsed to its end.

    Against such a reference the same text is correct, and any other a `grader_error`.
    """
    answer = read_answer(reference, kind)
    if kind != "math" or answer.is_digits or answer.number is not None or answer.reading is None:
        return None
    return answer.fault or (answer.reading.fault if answer.reading.node is None else None)


def references_agree(one: str, other: str, kind: AnswerKind, grader: Grader) -> bool:
    """Whether two references are the same answer: `one`, as an answer, is correct against `other`.

    False if the grader cannot decide.
    """
    try:
        return grader.equivalent(one, other, kind)
    except GraderError:
        return False


def _text_fault(reference: str) -> tuple[str, str] | None:
    """What is wrong with the text of a reference of kind `math` that the algebra might accept, and a hint."""
    text = reference.strip().strip("$").strip()
    if _MISSING.fullmatch(text):
        if "inf" in text.lower():
            return f"the reference `{text}` is not a value", "infinity is `\\infty` in LaTeX; else leave the row out"
        return f"the reference `{text}` stands for a missing value", "give the answer, or leave the row out"
    if _NO_ANSWER.fullmatch(text):
        return (
            f"the reference `{shortened(text)}` is a statement about an answer",
            "give the answer alone, or leave the row out",
        )
    if len(text) > MAX_CHARACTERS:
        return f"a reference of {len(text)} characters is too long", HINTS["math"]
    if (group := _open_group(text)) is not None:
        return f"the reference `{shortened(text)}` cannot be parsed: {group}", HINTS["math"]
    if _FIGURE.search(text):
        return f"the reference `{shortened(text)}` contains a figure", "give the answer alone, or leave the row out"
    if len(words := re.findall(r"[^\W\d_]{2,}", text)) > MAX_WORDS:
        return f"the reference `{shortened(text)}` has {len(words)} words, which no answer will repeat", HINTS["math"]
    if not re.search(r"[^\W_]|\\[A-Za-z\\{]", text):
        return f"the reference `{shortened(text)}` has no letter and no digit", HINTS["math"]
    node = reading.node if (reading := read_answer(reference, "math").reading) is not None else None
    if node is not None and is_constant(node) and not has_finite_value(node):
        return f"the reference `{shortened(text)}` divides by zero or has no value", HINTS["math"]
    return None


def _open_group(text: str) -> str | None:
    """The first LaTeX group that is not closed or not opened; None if all are."""
    opened: list[str] = []
    for match in _GROUP.finditer(text):
        token = match.group()
        if token == "{" or token.startswith("\\begin"):
            opened.append(token)
        elif token == "}" or token.startswith("\\end"):
            wanted = "{" if token == "}" else "\\begin"
            if not opened or not opened.pop().startswith(wanted):
                return f"unmatched `{token}`"
    return f"a `{opened[-1]}` is not closed" if opened else None
