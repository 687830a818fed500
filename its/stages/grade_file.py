"""Grade any JSON lines with `reference` and `response`, outside a study."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from its.errors import DataError, Fault
from its.grading.grade import GRADER_VERSION, Grader, Item
from its.grading.normalise import AnswerKind
from its.progress import Progress
from its.rows import atomic_file, raise_faults, read_json_lines

KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
ADDED = ("answer", "verdict", "rule")


def grade_file(
    source: Path,
    output: Path,
    kind: AnswerKind | None,
    thinking: tuple[str, str] | None = None,
    timeout_seconds: float = 5.0,
    workers: int | None = None,
) -> dict[str, int]:
    """Write every row of a file with its answer, verdict and rule; return how many got which verdict.

    Two passes, both streamed: the first finds every fault, so that none shows after an hour of grading.

    Args:
        source: JSON lines; `reference` is text or a number, `response` text, `kind` may say the row's answer kind.
        output: written atomically; the rows' other fields stay as they are.
        kind: of rows that do not say theirs.
        thinking: marks around reasoning, which is cut off.

    Raises:
        MissingError: no such file.
        FaultsError: every bad row as `path:line`; also a row whose field would be overwritten.
        DataError: the file has no row, or output and source are one file.
    """
    if output.exists() and source.exists() and output.samefile(source):
        raise DataError(f"{output}: is the file to grade", "give `--output` another name")
    faults: list[Fault] = []
    count = 0
    for number, row in read_json_lines(source, faults):
        count += 1
        faults.extend(Fault(f"{source}:{number}", *fault) for fault in _row_faults(row, kind))
    raise_faults(sorted(faults, key=lambda fault: int(fault.where.removeprefix(f"{source}:").split(":")[0])))
    if not count:
        raise DataError(f"{source}: no rows", "wanted JSON lines with `reference` and `response`")
    counts: Counter[str] = Counter()
    with (
        Progress("grade", count, "responses") as progress,
        Grader(timeout_seconds, workers) as grader,
        atomic_file(output) as out,
    ):
        # Read twice in step: the grader holds some rows back, and their texts are not to be held here too.
        verdicts = grader.grade(_items(source, kind, thinking))
        for (_, row), verdict in zip(read_json_lines(source, []), verdicts, strict=True):
            row |= {"answer": verdict.answer, "verdict": verdict.verdict, "rule": verdict.rule, "span": verdict.span}
            row |= {"reason": verdict.reason} if verdict.reason else {}
            out.write(json.dumps(row | {"grader_version": GRADER_VERSION}, ensure_ascii=False) + "\n")
            counts[verdict.verdict] += 1
            progress.add()
    return dict(counts.most_common())


def _items(source: Path, kind: AnswerKind | None, thinking: tuple[str, str] | None) -> Iterator[Item]:
    for number, row in read_json_lines(source, []):
        yield Item(str(number), 0, row["response"], _text(row["reference"]), row.get("kind", kind), thinking)


def _text(reference: Any) -> str:
    return str(int(reference)) if isinstance(reference, float) and reference.is_integer() else str(reference)


def _row_faults(row: Any, kind: AnswerKind | None) -> Iterator[tuple[str, str | None]]:
    if not isinstance(row, dict):
        yield f"a {type(row).__name__}, wanted an object with `reference` and `response`", None
        return
    has = ", ".join(f"`{name}`" for name in row) or "nothing"
    if "response" not in row:
        yield f"no `response`; the row has: {has}", "rename the field that holds the model's text"
    elif not isinstance(row["response"], str):
        yield f"`response` is a {type(row['response']).__name__}, wanted text", None
    if "reference" not in row:
        yield f"no `reference`; the row has: {has}", "rename the field that holds the known answer"
    elif isinstance(row["reference"], bool) or not isinstance(row["reference"], str | int | float):
        yield f"`reference` is a {type(row['reference']).__name__}, wanted text or a number", None
    said = row.get("kind", kind)
    if said is None:
        yield "no `kind`", f"give `--kind`, one of {', '.join(KINDS)}"
    elif said not in KINDS:
        yield f"`kind` is `{said}`", f"known: {', '.join(KINDS)}"
    taken = [name for name in ADDED if name in row]
    if taken and "grader_version" not in row:  # rows that were graded before are ours to grade again
        yield f"has {' and '.join(f'`{name}`' for name in taken)} already, which would be overwritten", "rename it"
