"""One door to all sources: a declared problem set -> its problems, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from its.errors import DataError
from its.recipe.presets import PRESETS
from its.recipe.schema import Benchmark, Dataset, Fields, FilesSource, ProceduralSource
from its.seeds import derive_seed
from its.sources.files import read_file
from its.sources.hub import read_hub, resolve_revision
from its.sources.problems import map_problems
from its.sources.procedural import arithmetic_problems
from its.sources.records import Rejected
from its.types import Problem


def load_problems(
    name: str,
    declared: Dataset | Benchmark,
    *,
    seed: int,
    project: Path,
    required: tuple[str, ...],
    origin: dict[str, Any],
    rejected: list[Rejected],
) -> Iterator[Problem]:
    """Yield the problems of a declared set in order of its source; memory does not grow with their number.

    Args:
        name: of the set; the seed of a procedural source is derived from it.
        declared: the recipe's entry.
        seed: of the study.
        project: what local paths are relative to; places name paths as the recipe does.
        required: fields beside `problem` that every row needs (`reference` for a benchmark, `solution` for a dataset).
        origin: gets what the source really is: `sha256` of a file, over the very bytes that the rows came from, once
            the last of them was read; `revision` of a hub dataset.
        rejected: gets the faulty rows, at most `declared.tolerate.rows`; whole once the last problem was yielded.

    Raises:
        FaultsError: at the start, if `fields` is faulty; after the last problem, if more rows are faulty than
            tolerated (every fault of each, the first 20, and how many more) or no row has a mapped field.
        DataError: if the source is damaged as a whole, holds no row, or is not the file that `sha256` pins.
        MissingError: if a file or the hub cannot be had.
    """
    source = declared.source
    if isinstance(source, ProceduralSource):
        yield from arithmetic_problems(
            size=source.size,
            seed=derive_seed(seed, "problems", name),
            split=source.split,
            steps=(source.steps[0], source.steps[1]),
            templates=source.templates,
        )
        return
    if isinstance(source, FilesSource):
        label = source.path
        table = read_file(project / label, label, partial(_pinned, source, origin))
    else:
        label = f"hub:{source.id}"
        origin["revision"] = resolve_revision(source.id, source.revision)
        table = read_hub(source.id, source.subset, source.split, origin["revision"])
    yield from map_problems(
        table,
        declared_fields(declared),
        label,
        required,
        tolerated=declared.tolerate.rows if declared.tolerate else 0,
        rejected=rejected,
    )


def _pinned(source: FilesSource, origin: dict[str, Any], digest: str) -> None:
    """Note the digest of a file whose rows are read.

    Raises:
        DataError: if the recipe pins another.
    """
    if source.sha256 not in (None, digest):
        raise DataError(
            f"{source.path}: its sha256 is `{digest}`, the recipe pins `{source.sha256}`",
            "the file has changed: get the pinned one, or pin this one",
        )
    origin["sha256"] = digest


def declared_fields(declared: Dataset | Benchmark) -> Fields:
    """Where the rows of a set keep what: its `fields`, or those of its preset.

    Raises:
        DataError: if it names both, neither, or a preset that does not exist.
    """
    known = f"presets: {', '.join(PRESETS)}"
    if declared.preset is None and declared.fields is None:
        raise DataError("the set has no `fields` and no `preset`", known)
    if declared.preset is None:
        assert declared.fields is not None
        return declared.fields
    if declared.fields is not None:
        raise DataError("the set has a `preset` and `fields`", "keep one of them")
    if declared.preset not in PRESETS:
        raise DataError(f"no preset `{declared.preset}`", known)
    return PRESETS[declared.preset].fields
