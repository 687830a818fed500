"""The scores in an evaluation log of another program: samples of lm-eval, logs of Inspect, files of `its grade`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from its.commands.foreign_rows import foreign_document, foreign_rows, opening, plain_ending
from its.commands.inspect_log import inspect_scores, zipped_document
from its.commands.lm_eval_samples import lm_eval_scores
from its.commands.scores import PLAIN, Scores, verdict_scores
from its.errors import DataError, Fault
from its.files import open_regular
from its.foreign_files import START_BYTES
from its.rows import Line
from its.shown import quoted


def file_scores(path: Path, filter_name: str | None = None, metric: str | None = None) -> Scores:
    """Read a file of others, told by its content; packed by gzip or zstd if its name ends in `.gz` or `.zst`.

    Args:
        filter_name: a filter of lm-eval, where the file has several.
        metric: a metric of lm-eval or a scorer of Inspect, where the file has several.

    Raises:
        DataError: if it is none of the kinds that are read, has no score, or has several and none was named.
        FaultsError: with every row that cannot be read.
    """
    name = str(path)
    with open_regular(path) as source:
        start = source.read(START_BYTES)
    if start.startswith(b"PK") and path.suffix.lower() == ".eval":
        return inspect_scores(zipped_document(path), name, metric)
    array = opening(path) == b"["
    place: Callable[[int], str] = (lambda number: f"{name}[{number}]") if array else (lambda number: f"{name}:{number}")
    if array or plain_ending(path) != ".json":
        return _row_scores(foreign_rows(path), name, place, filter_name, metric)
    document = foreign_document(path)
    samples = document.get("samples") if isinstance(document, dict) else None
    if isinstance(samples, list):
        return inspect_scores(document, name, metric)
    if isinstance(samples, dict):  # what lm-eval's `simple_evaluate` returns
        if len(samples) != 1 or not isinstance(rows := next(iter(samples.values())), list):
            raise DataError(f"{name}: has the samples of {len(samples)} tasks", "name a file with those of one task")
        numbered = (Line(number, row) for number, row in enumerate(rows))
        return _row_scores(numbered, name, lambda number: f"{name}: sample {number}", filter_name, metric)
    if isinstance(document, dict) and isinstance(document.get("results"), dict) and "configs" in document:
        hint = "name `samples_TASK_DATE.jsonl`, which `--log_samples` writes beside it"
        raise DataError(f"{name}: a summary of lm-eval, without the score of each problem", hint)
    if isinstance(document, dict) and "version" in document and "status" in document:
        raise DataError(f"{name}: has no `samples`: only its header was written", "name the whole log")
    raise DataError(f"{name}: is not an Inspect log", PLAIN)


def _row_scores(
    lines: Iterator[Line | Fault],
    name: str,
    place: Callable[[int], str],
    filter_name: str | None,
    metric: str | None,
) -> Scores:
    """The scores of rows: samples of lm-eval, or verdicts."""
    first = next(lines, None)
    if first is None:
        raise DataError(f"{name}: has no rows", PLAIN)
    lines = chain([first], lines)
    row: dict[Any, Any] = first.value if isinstance(first, Line) and isinstance(first.value, dict) else {}
    if "doc" in row and "doc_id" in row:
        return lm_eval_scores(lines, name, place, filter_name, metric)
    if isinstance(first, Fault) or "verdict" in row:
        if filter_name or metric:
            raise DataError(f"{name}: has verdicts of ITS, no filters and metrics", "leave out the option")
        return verdict_scores(lines, name, "its", place)
    has = ", ".join(f"`{quoted(key)}`" for key in list(row)[:6]) or "no fields"
    raise DataError(f"{place(first.number)}: a row with {has} has no score", PLAIN)
