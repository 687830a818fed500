"""What is wrong with references, told before any response is drawn."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from its.errors import Fault
from its.grading.equal import GraderError
from its.grading.grade import Grader, Item
from its.grading.normalise import AnswerKind

HINTS: dict[str, str] = {
    "integer": "mend it, or declare `answer: number` or `answer: math`",
    "number": "mend it, or declare `answer: math`",
    "math": "mend its LaTeX: a reference is one answer, without the solution around it",
    "choice": "a reference is one letter A-J",
}
PROBES: dict[str, str] = {"integer": "\\boxed{7}", "number": "\\boxed{7}", "math": "\\boxed{7}", "choice": "\\boxed{A}"}
"""A response whose answer is compared with each reference: what the grader cannot do then, it can do for no answer."""

# What spreadsheets, pandas and JSON write where nothing is. Letters are a product to the algebra, so it takes them all.
_MISSING = re.compile(r"[-+]?(?:nan|none|null|n/a|<na>|inf(?:inity)?)", re.IGNORECASE)
# `proof` and `notfound` are what NuminaMath has for problems without an answer. `no solution` is an answer.
_NO_ANSWER = re.compile(r"\W*(?:see|refer to)\s+\w.*|.*\banswers?\b.*|\W*(?:proof|not ?found)\W*", re.I | re.DOTALL)
_GROUP = re.compile(r"\\(?:begin|end)\s*\{([^{}]*)\}|\\[\\{}]|[{}]")
_SHOWN = 80


def reference_faults(
    rows: Iterable[tuple[str, str | None]], kind: AnswerKind, timeout_seconds: float = 5.0, workers: int | None = None
) -> list[Fault]:
    """Every reference that no answer could be graded against, in order.

    Args:
        rows: (place, reference) with place as errors name it, `path:line`.
        kind: of the benchmark's answers.
        timeout_seconds, workers: as `Grader` has them; processes are started for `math` alone, and only if a reference
            is more than a number.
    """
    with Grader(timeout_seconds, workers) as grader:
        return probe_references(((place, reference, kind) for place, reference in rows), grader)


def references_agree(one: str, other: str, kind: AnswerKind, grader: Grader) -> bool:
    """Whether two references are one answer: `one`, given as an answer, is graded correct against `other`.

    What the grader cannot decide does not agree.
    """
    try:
        return grader.equivalent(one, other, kind)
    except GraderError:
        return False


def probe_references(
    rows: Iterable[tuple[str, str | None, AnswerKind]], grader: Grader, hints: Mapping[str, str] = HINTS
) -> list[Fault]:
    """As `reference_faults`, where each row says its kind; the rows are streamed.

    Args:
        rows: (place, reference, kind).
        grader: compares each reference with an answer, as it would with a model's.
        hints: by kind, to a reference that is not of it.
    """
    faults: dict[int, Fault] = {}
    asked: deque[tuple[int, str, str, AnswerKind]] = deque()

    def items() -> Iterator[Item]:
        for index, (place, reference, kind) in enumerate(rows):
            if reference is None:
                faults[index] = Fault(place, "no reference", "every row of a benchmark needs one")
            elif kind != "choice" and reference.isdecimal() and reference.isascii() and len(reference) < 100:
                continue  # what most are, and good for all kinds
            elif kind == "math" and (fault := _text_fault(reference)) is not None:
                faults[index] = Fault(place, *fault)
            else:
                asked.append((index, place, reference, kind))
                yield Item(place, 0, PROBES[kind], reference, kind)

    for verdict in grader.grade(items()):
        index, place, reference, kind = asked.popleft()
        if verdict.verdict == "grader_error":
            reason = verdict.reason or "the grader cannot tell"
            if "reference" not in reason and "`" not in reason:  # it does not say yet what it is about
                reason = f"no answer can be compared with the reference `{_shown(reference)}`: {reason}"
            faults[index] = Fault(place, reason, hints[kind])
    return [faults[index] for index in sorted(faults)]


def _text_fault(reference: str) -> tuple[str, str] | None:
    """What shows in the text of a reference of kind `math`, though the algebra would read it; with a hint."""
    text = reference.strip().strip("$").strip()
    if _MISSING.fullmatch(text):
        if "inf" in text.lower():
            return f"the reference `{text}` is not a value", "infinity is `\\infty` in LaTeX; else leave the row out"
        return f"the reference `{text}` stands for a missing value", "give the answer, or leave the row out"
    if _NO_ANSWER.fullmatch(text):
        return f"the reference `{_shown(text)}` is words about an answer", "give the answer alone, or leave the row out"
    group = _open_group(text)
    return (f"the reference `{_shown(text)}` cannot be parsed: {group}", HINTS["math"]) if group else None


def _open_group(text: str) -> str | None:
    """The first group of LaTeX that is not closed or not opened; None if all are."""
    opened: list[str] = []
    for match in _GROUP.finditer(text):
        token = match.group()
        if token == "{" or token.startswith("\\begin"):
            opened.append(token)
        elif token == "}" or token.startswith("\\end"):
            wanted = "{" if token == "}" else "\\begin"
            if not opened or not opened.pop().startswith(wanted):
                return f"a `{token}` closes nothing"
    return f"a `{opened[-1]}` is not closed" if opened else None


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
