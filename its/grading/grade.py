"""Response -> verdict. A change here, in `extract` or in `equal` that can move a verdict bumps `GRADER_VERSION`."""

from __future__ import annotations

from its.grading.equal import GraderError, equivalent, normalise_answer
from its.grading.extract import AnswerKind, extract_answer
from its.types import Verdict, VerdictName

GRADER_VERSION = "1"


def grade_response(
    *,
    query_id: str,
    sample_index: int,
    text: str,
    reference: str,
    kind: AnswerKind,
    timeout_seconds: float = 5.0,
) -> Verdict:
    """The verdict on one response; its `answer` is normalised, as votes need it.

    No answer in the text is `no_answer`; a grader that could not decide is `grader_error`, which is not `incorrect`.
    Call it in the main thread, one process per worker: see `equivalent`.
    """
    extracted = extract_answer(text, kind)
    answer = (normalise_answer(extracted.answer, kind) or None) if extracted else None
    verdict: VerdictName
    if extracted is None or answer is None:
        verdict = "no_answer"
    else:
        try:
            verdict = "correct" if equivalent(extracted.answer, reference, kind, timeout_seconds) else "incorrect"
        except GraderError:
            verdict = "grader_error"
    return Verdict(
        query_id=query_id, sample_index=sample_index, answer=answer, verdict=verdict, grader_version=GRADER_VERSION
    )
