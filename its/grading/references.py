"""What is wrong with references, told before any response is drawn."""

from __future__ import annotations

from collections.abc import Iterable

from its.errors import Fault
from its.grading.equal import reference_fault
from its.grading.grade import Grader
from its.grading.normalise import AnswerKind, normalise_answer, parse_number

HINTS: dict[str, str] = {
    "integer": "mend it, or declare `answer: number` or `answer: math`",
    "number": "mend it, or declare `answer: math`",
    "math": "mend its LaTeX: a reference is one answer, without the solution around it",
    "choice": "a reference is one letter A-J",
}


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
    faults: list[Fault] = []
    with Grader(timeout_seconds, workers) as grader:
        for place, reference in rows:
            if reference is None:
                faults.append(Fault(place, "no reference", "every row of a benchmark needs one"))
                continue
            fault = reference_fault(reference, kind)
            if fault is None and kind == "math" and parse_number(normalise_answer(reference, kind)) is None:
                fault = grader.parse_fault(reference)
            if fault is not None:
                faults.append(Fault(place, fault, HINTS[kind]))
    return faults
