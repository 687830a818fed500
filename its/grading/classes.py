"""Answers to one problem without a reference -> classes of equal answers, by the grader's comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from its.grading.equal import reference_fault
from its.grading.extract import extract_answer
from its.grading.grade import Grader
from its.grading.normalise import AnswerKind, read_answer
from its.thinking import Marks, cut_thinking

MOST_COMPARED = 32
"""Different forms that are compared with each other, those with the most votes first; others are equal as text only."""
MOST_UNDECIDED = 8
"""Comparisons that may reach the grader's limits before the rest are compared as text."""


@dataclass(frozen=True)
class Answer:
    """The answer of a response: as written, and in the form that is compared."""

    text: str
    form: str


@dataclass(frozen=True)
class AnswerClass:
    """Equal answers: the most frequent text, the votes, the different forms in the order of their votes."""

    text: str
    votes: int
    forms: Sequence[str]


@dataclass(frozen=True)
class AnswerClasses:
    """Classes by votes, the one met first before others with as many.

    Args:
        blank: responses without an answer.
        undecided: comparisons that the grader could not decide; such forms are separate classes.
        uncompared: forms beyond those that are compared, which are equal as text only.
    """

    classes: Sequence[AnswerClass]
    blank: int
    undecided: int
    uncompared: int


def answer_of(
    text: str,
    kind: AnswerKind,
    *,
    thinking: Marks | None = None,
    cut_short: bool = False,
    fallback: bool = True,
    question: str = "",
) -> Answer | None:
    """The answer that a response gives, found and normalised as for a verdict; None if it gives none.

    Args:
        text, kind, thinking, cut_short, question: as in `its.grading.grade.Item`.
        fallback: as in `its.grading.grade.Grader`.
    """
    try:
        found = extract_answer(
            cut_thinking(text, thinking, cut_short).answer, kind, fallback=fallback, question=question
        )
        read = None if found is None else read_answer(found.answer, kind)
    except Exception:  # a bug of the grader costs one vote, as it costs one verdict
        return None
    return Answer(found.answer, read.form) if found is not None and read is not None and read.form else None


def answer_classes(answers_N: Sequence[Answer | None], kind: AnswerKind, grader: Grader) -> AnswerClasses:
    """Group the answers to one problem: equal forms are one class, and so are forms that the grader finds equivalent.

    A form joins the first class, by votes, whose most frequent answer it is equivalent to, in either order.

    Args:
        answers_N: of each response; None votes for nothing.
    """
    votes = Counter(answer.form for answer in answers_N if answer is not None)
    texts: dict[str, str] = {}
    for answer in answers_N:
        if answer is not None:
            texts.setdefault(answer.form, answer.text)
    ordered = [form for form, _ in votes.most_common()]  # stable: the form met first before others with as many
    groups: list[list[str]] = []
    undecided = 0
    for place, form in enumerate(ordered):
        joined = None
        if place < MOST_COMPARED and reference_fault(texts[form], kind) is None:
            for group in groups:
                if undecided >= MOST_UNDECIDED:
                    break
                same = _equivalent(texts[form], texts[group[0]], kind, grader)
                undecided += same is None
                if same:
                    joined = group
                    break
        if joined is None:
            groups.append([form])
        else:
            joined.append(form)
    classes = [AnswerClass(texts[group[0]], sum(votes[form] for form in group), group) for group in groups]
    met = {form: place for place, form in enumerate(votes)}
    classes.sort(key=lambda item: (-item.votes, min(met[form] for form in item.forms)))
    blank = sum(answer is None for answer in answers_N)
    return AnswerClasses(classes, blank, undecided, max(0, len(ordered) - MOST_COMPARED))


def _equivalent(one: str, other: str, kind: AnswerKind, grader: Grader) -> bool | None:
    """Whether two answers are the same in another form; None if the grader can decide in neither order."""
    outcomes: list[bool | None] = []
    for answer, reference in ((one, other), (other, one)):
        try:
            if grader.equivalent(answer, reference, kind):
                return True
            outcomes.append(False)
        except Exception:  # `GraderError`, or a bug of the grader
            outcomes.append(None)
    return False if False in outcomes else None
