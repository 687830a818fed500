"""What the filters of a dataset leave of its first rows, where these are local: before anything is prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from its.curation.curate import curate
from its.curation.thin import thin_steps
from its.errors import DataError, ItsError, SettingFault
from its.grading.grade import Grader
from its.recipe.schema import Dataset, FilesSource, Recipe, TokensFilter
from its.study.problem_sets import grading_tools, read_set

MOST = 1000
"""Rows that are read: with the slowest filter, that by language, about a second."""


@dataclass(frozen=True)
class Filtered:
    """What the filters of a dataset were found to leave."""

    faults: Sequence[SettingFault] = ()
    notes: Sequence[str] = ()


def filtered(recipe: Recipe, name: str, declared: Dataset, project: Path) -> Filtered:
    """Apply the filters of a dataset in local files to its first rows.

    Split, duplicates, decontamination and sample are left out: they take rows out too. So are filters by tokens, which
    need a tokenizer. Of a set with more rows than are read only notes are made: the others may pass.
    """
    filters = [step for step in declared.filters if not isinstance(step, TokensFilter)]
    if not filters or not all(isinstance(part, FilesSource) for part in declared.sources):
        return Filtered()
    here = ("datasets", name)
    alone = {"filters": filters, "split": None, "duplicates": None, "decontamination": None, "sample": None}
    plain = declared.model_copy(update=alone)
    source = read_set(name, declared, recipe.seed, project)
    try:
        rows = list(islice(source, MOST))
        whole = len(rows) < MOST
    except ItsError:  # rows that cannot be read: `prepare` names each
        return Filtered()
    with Grader(recipe.grading.timeout_seconds, recipe.grading.workers) as grader:
        curating = curate(rows, plain, {}, grading_tools(grader, _untold), name)
        try:
            list(curating)
        except DataError as error:
            if whole:
                return Filtered([SettingFault((*here, "filters"), error.message, error.hint)])
            return Filtered(notes=[f"datasets.{name}, its first {MOST} rows alone: {error.message}; {error.hint}"])
    return Filtered(notes=[f"datasets.{name}: {told}" for told in thin_steps(curating.result.steps, not whole)])


def _untold(model: str, text: str) -> int:
    raise AssertionError("a filter by tokens is not tried here")
