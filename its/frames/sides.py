"""Logs of others as data frames, and two sides compared as `its results compare` does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from its.commands.compare import compare_sides
from its.commands.foreign_scores import file_scores
from its.commands.scores import Scores
from its.commands.sides import Side, open_side
from its.frames.columns import frame, warn
from its.frames.frame_scores import frame_scores
from its.frames.row_columns import COMPARED, LOG

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        table: a row for each cell that is compared, A - B.
        only_a, only_b: cells that one of two states of a study has alone.
        differs: setting -> [in A, in B], of two studies or two logs of a kind.
        notes: what to know before the numbers are read; each is given as a StudyWarning, too.
    """

    table: DataFrame
    only_a: list[str]
    only_b: list[str]
    differs: dict[str, list[str]]
    notes: list[str]


def read_log(path: str | os.PathLike[str], filter_name: str | None = None, metric: str | None = None) -> DataFrame:
    """The scores in a log of another program: a row for each scored response.

    Samples of `lm-eval --log_samples`, a log of Inspect (.json, .eval) and a file that `its grade` wrote are told by
    their content; also packed as .gz or .zst. Responses without a score are left out, with a StudyWarning.

    Args:
        filter_name: a filter of lm-eval, where the file has several.
        metric: a metric of lm-eval or a scorer of Inspect, where the file has several.

    Raises:
        MissingError: if there is no such file.
        DataError: if it is none of these, has no score, or has several and none was named.
        FaultsError: with every row that cannot be read.
    """
    scores = file_scores(Path(path), filter_name, metric)
    warn(scores.notes, depth=2)
    return frame(LOG, _log_rows(scores), str(path))


def _log_rows(scores: Scores) -> Iterator[dict[str, Any]]:
    fixed = {"name": scores.name, "kind": scores.kind, "grader": ", ".join(scores.graders) or None}
    for problem, several in scores.scores.items():
        own = {"problem_id": problem, "problem": scores.texts.get(problem), "reference": scores.references.get(problem)}
        for index, (score, rule) in enumerate(zip(several, scores.rules[problem], strict=True)):
            yield {**fixed, **own, "sample_index": index, "score": score, "rule": rule}


def compare(
    a: str | os.PathLike[str] | DataFrame,
    b: str | os.PathLike[str] | DataFrame,
    filter_name: str | None = None,
    metric: str | None = None,
) -> Comparison:
    """Compare A with B, paired by problem: the numbers of `its results compare`.

    Args:
        a, b: as the command takes them, in the current folder: a cell (CHECKPOINT/BENCHMARK/STRATEGY), `workspace`, a
            revision, an experiment, a folder with a study, one cell of these (HEAD~1:CELL), or the path of a log; or a
            frame with `problem_id` and `score` (from 0 to 1) and, if it has them, the columns of `read_log`.
        filter_name, metric: as `read_log` takes them.

    Raises:
        DataError: if the sides have no cell or no problem in common, or a name is none of these.
        FaultsError: with every row of a frame or log that has no score.
        MissingError: outside a study, for all but logs and frames.
    """
    sides = [_side(each, letter, filter_name, metric) for each, letter in ((a, "a"), (b, "b"))]
    found = compare_sides(*sides)
    warn(found.notes, depth=2)
    document = found.as_json()
    table = frame(COMPARED, map(_flat, document["comparisons"]), "the comparison")
    return Comparison(table, found.only_a, found.only_b, found.differs, found.notes)


def _side(value: Any, letter: str, filter_name: str | None, metric: str | None) -> Side:
    if isinstance(value, str | os.PathLike):
        return open_side(os.fspath(value), filter_name, metric)
    scores = frame_scores(value, letter)
    return Side(scores.name, None, [], False, [], scores)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The values of a comparison by the names of COMPARED."""
    out = {name: value for name, value in row.items() if name not in ("a", "b", "right")}
    for outer in ("a", "b", "right"):
        out |= {f"{outer}_{name}": value for name, value in row[outer].items()}
    return out
