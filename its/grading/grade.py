"""Responses -> verdicts. A change in this room that can move a verdict bumps `GRADER_VERSION`."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType

from its.boxes import opens_box
from its.grading.equal import GraderError, compare_answer
from its.grading.extract import Extracted, extract_answer
from its.grading.formula.reading import MAX_CHARACTERS
from its.grading.normalise import AnswerKind, read_answer
from its.grading.pool import Outcome, Task, WorkerPool
from its.thinking import Marks, cut_thinking
from its.types import Verdict, VerdictName

GRADER_VERSION = "5"
WINDOW = 256
"""Verdicts kept back, in order, after one that waits for algebra."""
REMEMBERED = 10_000
"""Pairs of answer and reference whose comparison is kept: samples of one problem repeat their answers."""


@dataclass(frozen=True, slots=True)
class Item:
    """One response to grade.

    Args:
        thinking: the marks around reasoning that is still in `text`; see `its.thinking`.
        cut_short: whether the token limit ended the text.
        apart: whether thinking was separated from the text before, so that the text cannot begin within it.
        question: the problem's text, if known: a copy of it is not an answer to the fallback.
    """

    query_id: str
    sample_index: int
    text: str
    reference: str
    kind: AnswerKind
    thinking: Marks | None = None
    cut_short: bool = False
    apart: bool = False
    question: str = ""


class Grader:
    """Grades responses; a context manager. Its worker processes start with the first answer that needs algebra.

    Equal answers to equal references get equal verdicts, in the order of the items, whatever the number of workers.
    Thread-safe.

    Args:
        timeout_seconds: processor time of one comparison that needs algebra; one that takes more is a
            `grader_error`.
        workers: processes for such comparisons; None for one per core.
        fallback: whether a response that states no answer explicitly goes to the fallback (`its.grading.fallback`), or
            is `no_answer`.
    """

    def __init__(self, timeout_seconds: float = 5.0, workers: int | None = None, fallback: bool = True) -> None:
        self._timeout, self._workers, self._fallback = timeout_seconds, workers, fallback
        self._pool: WorkerPool | None = None
        self._comparisons: OrderedDict[Task, Future[Outcome]] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._comparisons.clear()
        if pool is not None:
            pool.close()

    def grade(self, items: Iterable[Item]) -> Iterator[Verdict]:
        """The verdict on each item, in order; streams, with at most `WINDOW` items in memory.

        No answer in the text is `no_answer`; a grader that could not decide is `grader_error` with its reason, which
        is not `incorrect`.
        """
        pending: deque[Verdict | _Waiting] = deque()
        for item in items:
            found = self._begin(item)
            if not pending and isinstance(found, Verdict):
                yield found
                continue
            pending.append(found)
            while pending and (len(pending) > WINDOW or _is_ready(pending[0])):
                yield _settled(pending.popleft())
        while pending:
            yield _settled(pending.popleft())

    def grade_one(self, item: Item) -> Verdict:
        """The verdict on one item."""
        return next(self.grade([item]))

    def equivalent(self, answer: str, reference: str, kind: AnswerKind) -> bool:
        """Whether an answer is the reference in another form.

        Raises:
            GraderError: the grader cannot decide, or the reference is not of its kind.
        """
        exact = compare_answer(read_answer(answer, kind), reference, kind)
        if exact is not None:
            return exact
        found, error = self._compare(answer, reference, kind).result()
        if error is not None:
            raise GraderError(error)
        return bool(found)

    def _begin(self, item: Item) -> Verdict | _Waiting:
        extracted, form = None, ""
        try:
            cut = cut_thinking(item.text, item.thinking, item.cut_short, "" if item.apart else None)
            copied = _copy_of_reference(cut.answer, item)
            extracted = copied or extract_answer(cut.answer, item.kind, fallback=self._fallback, question=item.question)
            if extracted is not None:
                start, end = cut.place(extracted.start, extracted.end)
                if (start, end) != (extracted.start, extracted.end):
                    extracted = replace(extracted, start=start, end=end)
            answer = read_answer(extracted.answer, item.kind) if extracted else None
            if extracted is None or answer is None or not answer.form:
                return _verdict(item, None, None, "no_answer")
            form = answer.form
            if copied is not None:
                return _verdict(item, extracted, form, "correct")
            exact = compare_answer(answer, item.reference, item.kind)
        except GraderError as error:
            return _verdict(item, extracted, form, "grader_error", str(error))
        except Exception as error:  # a bug of the grader costs one verdict, never the run
            reason = f"the grader failed: {type(error).__name__}: {error}"
            return _verdict(item, extracted, form, "grader_error", reason)
        if exact is None:
            return _Waiting(item, extracted, form, self._compare(extracted.answer, item.reference, item.kind))
        return _verdict(item, extracted, form, "correct" if exact else "incorrect")

    def _compare(self, answer: str, reference: str, kind: AnswerKind) -> Future[Outcome]:
        task = answer, reference, kind
        with self._lock:
            known = self._comparisons.get(task)
            if known is not None:
                self._comparisons.move_to_end(task)
                return known
            if self._pool is None:
                self._pool = WorkerPool(self._timeout, self._workers)
            found = self._comparisons[task] = self._pool.submit(task)
            if len(self._comparisons) > REMEMBERED:
                self._comparisons.popitem(last=False)
            return found


def _copy_of_reference(text: str, item: Item) -> Extracted | None:
    """The whole response, if it is its reference word for word; for kind `math`, where a reference may be words."""
    answer = text.strip() if item.kind == "math" and len(text) < 2 * MAX_CHARACTERS else ""
    if not answer or answer != item.reference.strip() or opens_box(answer):
        return None
    at = text.index(answer)
    return Extracted(answer, "whole", at, at + len(answer))


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An item whose comparison is in progress."""

    item: Item
    extracted: Extracted
    form: str
    outcome: Future[Outcome]


def _is_ready(pending: Verdict | _Waiting) -> bool:
    return isinstance(pending, Verdict) or pending.outcome.done()


def _settled(pending: Verdict | _Waiting) -> Verdict:
    if isinstance(pending, Verdict):
        return pending
    found, error = pending.outcome.result()
    if error is not None:
        return _verdict(pending.item, pending.extracted, pending.form, "grader_error", error)
    return _verdict(pending.item, pending.extracted, pending.form, "correct" if found else "incorrect")


def _verdict(
    item: Item, extracted: Extracted | None, form: str | None, verdict: VerdictName, reason: str | None = None
) -> Verdict:
    return Verdict(
        query_id=item.query_id,
        sample_index=item.sample_index,
        answer=form,
        verdict=verdict,
        rule=extracted.rule if form is not None and extracted else None,
        span=[extracted.start, extracted.end] if form is not None and extracted else None,
        reason=reason,
        grader_version=GRADER_VERSION,
    )
