"""Grade any JSON lines with `reference` and `response`, outside a study."""

from __future__ import annotations

import math
import os
import re
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import tee
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from its.errors import DataError, Fault, FaultsError, MissingError
from its.files import open_regular
from its.grading.grade import GRADER_VERSION, Grader, Item
from its.grading.normalise import AnswerKind
from its.grading.references import HINTS, ungradable_references
from its.progress import Progress
from its.rows import MAX_FAULTS, Line, json_lines, raise_faults, write_json_lines
from its.shown import counted
from its.streams import streamed
from its.thinking import Marks, OpenedBy, PlainMarks
from its.types import Verdict, is_cut

KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
ADDED = ("answer", "verdict", "rule", "span", "reason", "grader_version")
"""The fields at the end of a graded row; `reason` only if the verdict is `grader_error`."""
APART = ("thinking", "reasoning_content")
"""Fields with thinking that is separate from the text: in a row of `data/responses`, in a message of a server."""

_ADDED = frozenset(ADDED)
_HINTS = HINTS | {
    "integer": "fix it, or use `--kind number` or `--kind math`",
    "number": "fix it, or use `--kind math`",
}
_HALF = re.compile("[\ud800-\udfff]")

STANDARD_INPUT = Path("-")


class _Source(NamedTuple):
    """A file to grade, and what errors call it."""

    path: Path
    name: str

    def __str__(self) -> str:
        return self.name

    def lines(self) -> Iterator[Line | Fault]:
        """As `its.rows.read_json_lines`."""
        with open_regular(self.path) as file:
            yield from json_lines(file, self.name)


def grade_file(
    source: Path,
    output: Path,
    kind: AnswerKind | None,
    thinking: tuple[str, str] | None = None,
    timeout_seconds: float = 5.0,
    workers: int | None = None,
    list_all: bool = False,
    opened_by: OpenedBy | None = None,
    fallback: bool = True,
) -> dict[str, int]:
    """Write every row of a file with its answer, verdict and rule; return the count of each verdict.

    Two passes, both streamed: the first finds every fault, so that none appears after an hour of grading. An `output`
    that cannot be written fails before it.

    Args:
        source: JSON lines; `reference` is text or a number, `response` text, `kind` may say the row's answer kind. A
            regular file, since it is read more than once; `-` is the standard input, which is copied to one first.
        output: written atomically; the rows' other fields stay as they are.
        kind: of rows that do not say theirs.
        thinking: marks around reasoning, which is cut off by `its.thinking`, as the stages do. A row's `finish_reason`
            is looked at, in any service's word for it, and a text under one of `APART` says that it was cut off before,
            so that nothing is open at the beginning of `response`.
        list_all: name every fault, not the first 20 and how many more.
        opened_by: who writes the first of those marks, as `models.NAME.thinking.opened_by` of a recipe.
        fallback: whether a response that says no answer outright is read for its last number or formula, as
            `grading.fallback` of a recipe.

    Raises:
        MissingError: no such file.
        FaultsError: every bad row as `path:line`; also a row whose field would be overwritten, and a reference that no
            answer could be graded against.
        DataError: the file has no row, is no regular file, changed meanwhile, or is the output; the output is a folder;
            a mark of `thinking` is blank.
        RunError: the output cannot be written.
    """
    with _named(source) as named:
        return _graded(named, output, kind, thinking, timeout_seconds, workers, list_all, opened_by, fallback)


@contextmanager
def _named(source: Path) -> Iterator[_Source]:
    """The file; in place of the standard input a copy of it, which is removed afterwards.

    Raises:
        DataError: if the standard input is a terminal, which would wait for somebody to type rows.
    """
    if source != STANDARD_INPUT:
        yield _Source(source, str(source))
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError(
            "standard input: is a terminal, expected JSON lines", "`cat answers.jsonl | its grade - --output OUT`"
        )
    with tempfile.NamedTemporaryFile(prefix="its-grade-", suffix=".jsonl") as copy:  # for its owner alone
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield _Source(Path(copy.name), "standard input")


def _graded(
    source: _Source,
    output: Path,
    kind: AnswerKind | None,
    thinking: tuple[str, str] | None,
    timeout_seconds: float,
    workers: int | None,
    list_all: bool,
    opened_by: OpenedBy | None,
    fallback: bool,
) -> dict[str, int]:
    before = _state(source)
    if os.path.exists(output) and output.samefile(source.path):
        raise DataError(f"{output}: is the file to grade", "choose another name for `--output`")
    if thinking is not None and not all(mark.strip() for mark in thinking):
        raise DataError("a mark of `--thinking` is blank", "give the marks before and after the reasoning")
    marks = None if thinking is None else PlainMarks(*thinking, opened_by)

    @streamed
    def graded(grader: Grader) -> Generator[dict[str, Any], None, Counter[str]]:
        counts: Counter[str] = Counter()
        count = _checked(source, kind, list_all)
        with Progress("grade", count, "responses") as progress:
            to_grade, rows = tee(_good_rows(source, kind))  # between them no more rows than the grader holds back
            verdicts = grader.grade(_item(number, row, kind, marks) for number, row in to_grade)
            for verdict, (_, row) in zip(verdicts, rows, strict=True):
                yield _with_verdict(row, verdict)
                counts[verdict.verdict] += 1
                progress.add()
        if counts.total() != count or _state(source) != before:
            raise _changed(source)
        return counts

    with Grader(timeout_seconds, workers, fallback) as grader:
        rows = graded(grader)
        write_json_lines(output, rows, typed=True)  # which opens the output first
    return dict(rows.result.most_common())


def _state(source: _Source) -> tuple[int, ...]:
    """The identity of a file, which differs once it was replaced or written to.

    Raises:
        MissingError: no such file.
        DataError: it is no regular file, or cannot be read.
    """
    try:
        found = source.path.stat()
    except FileNotFoundError as error:
        raise MissingError(f"{source}: no such file", "give the path of a file of JSON lines") from error
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {str(error.strerror).lower()}", "fix the path") from error
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{source}: is a folder, expected a file of JSON lines", "give a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(
            f"{source}: is not a regular file, and grading reads it more than once",
            "pipe it in, `its grade - --output OUT`, or write it to a file first",
        )
    if not os.access(source.path, os.R_OK):
        raise DataError(f"{source}: cannot be read: permission denied", f"`chmod u+r {source}`")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _changed(source: _Source) -> DataError:
    return DataError(f"{source}: changed while it was graded", "wait until it is complete, then grade it again")


def _checked(source: _Source, kind: AnswerKind | None, list_all: bool) -> int:
    """Check every row and return their number."""
    references = _references(source, kind)
    ungradable = ungradable_references(references, _HINTS)
    count, faults = references.result
    faults += ungradable
    faults.sort(key=lambda fault: int(fault.where.removeprefix(f"{source}:").split(":")[0]))
    if list_all and faults:
        raise FaultsError(faults)
    if len(faults) > MAX_FAULTS:
        more = Fault(str(source), counted(len(faults) - MAX_FAULTS, "more fault"), "`--json` lists them all")
        raise FaultsError([*faults[:MAX_FAULTS], more])
    raise_faults(faults)
    if not count:
        raise DataError(f"{source}: no rows", "expected JSON lines with `reference` and `response`")
    return count


@streamed
def _references(
    source: _Source, kind: AnswerKind | None
) -> Generator[tuple[str, str, AnswerKind], None, tuple[int, list[Fault]]]:
    """Yield (place, reference, kind) of the rows that have them; return the number of rows, and all other faults."""
    count, faults = 0, []
    for line in source.lines():
        if isinstance(line, Fault):
            faults.append(line)
            continue
        row = line.value
        count += 1
        place = f"{source}:{line.number}"
        found = dict(_row_faults(row, kind))
        faults += [Fault(place, *fault) for fault in found.values()]
        if not found.keys() & {"row", "reference", "kind"}:
            yield place, _text(row["reference"]), _kind(row, kind)
    return count, faults


def _good_rows(source: _Source, kind: AnswerKind | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file that was checked.

    Raises:
        DataError: if it changed since.
    """
    try:
        for line in source.lines():
            if isinstance(line, Fault) or any(_row_faults(line.value, kind)):
                break
            yield line.number, line.value
        else:
            return
    except MissingError:
        pass
    raise _changed(source)


def _item(number: int, row: dict[str, Any], kind: AnswerKind | None, marks: Marks | None) -> Item:
    # A lone surrogate has no UTF-8 form. It is replaced by one character, so that `span` fits the response.
    text = row["response"] if row["response"].isascii() else _HALF.sub("\ufffd", row["response"])
    cut_short, apart = is_cut(row.get("finish_reason")), any(isinstance(row.get(name), str) for name in APART)
    return Item(str(number), 0, text, _text(row["reference"]), _kind(row, kind), marks, cut_short, apart)


def _with_verdict(row: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    graded = {name: value for name, value in row.items() if name not in _ADDED}  # removes a former `reason` too
    graded |= {"answer": verdict.answer, "verdict": verdict.verdict, "rule": verdict.rule, "span": verdict.span}
    graded |= {"reason": verdict.reason} if verdict.reason else {}
    return graded | {"grader_version": GRADER_VERSION}


def _text(reference: Any) -> str:
    return str(int(reference)) if isinstance(reference, float) and reference.is_integer() else str(reference)


def _kind(row: dict[str, Any], kind: AnswerKind | None) -> AnswerKind:
    said: AnswerKind | None = row.get("kind")
    said = kind if said is None else said
    assert said is not None, "rows without a kind are faults"
    return said


def _row_faults(row: Any, kind: AnswerKind | None) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """(part of the row, (message, hint)) of each fault."""
    if not isinstance(row, dict):
        wanted = "expected an object with `reference` and `response`"
        yield "row", (f"a {type(row).__name__}, {wanted}", None)
        return
    if "response" not in row:
        yield "response", (f"no `response`; {_has(row)}", "rename the field with the model's text")
    elif not isinstance(row["response"], str):
        yield "response", (f"`response` is a {type(row['response']).__name__}, expected text", None)
    if "reference" not in row:
        yield "reference", (f"no `reference`; {_has(row)}", "rename the field with the known answer")
    elif (fault := _reference_fault(row["reference"])) is not None:
        yield "reference", (fault, None)
    said = row.get("kind")
    said = kind if said is None else said
    if said is None:
        yield "kind", ("no `kind`", f"give `--kind`, one of {', '.join(KINDS)}")
    elif said not in KINDS:
        yield "kind", (f"`kind` is `{said}`", f"known: {', '.join(KINDS)}")
    if not _ADDED.isdisjoint(row) and not _is_graded(row):  # rows that were graded here can be graded again
        named = " and ".join(f"`{name}`" for name in ADDED if name in row)
        yield "added", (f"already has {named}, which would be overwritten", "rename it")


def _has(row: dict[str, Any]) -> str:
    return f"the row has: {', '.join(f'`{name}`' for name in row) or 'nothing'}"


def _reference_fault(reference: Any) -> str | None:
    if isinstance(reference, bool) or not isinstance(reference, str | int | float):
        return f"`reference` is a {type(reference).__name__}, expected text or a number"
    if isinstance(reference, float) and not math.isfinite(reference):
        return f"`reference` is {reference}, expected text or a finite number"
    if isinstance(reference, str) and not reference.isascii() and _HALF.search(reference):
        return "`reference` contains half a character (a lone surrogate)"
    return None


def _is_graded(row: dict[str, Any]) -> bool:
    """Whether a row's verdict was written by any version of ITS; otherwise the fields are someone else's."""
    if not all(name in row for name in ADDED if name != "reason"):
        return False
    try:
        known = Verdict(query_id="", sample_index=0, **{name: row[name] for name in ADDED if name in row})
    except ValidationError:
        return False
    found = known.answer is not None
    return (
        (known.rule is not None) == (known.span is not None) == found
        and (known.reason is not None) == (known.verdict == "grader_error")
        and known.grader_version.isdecimal()
    )
