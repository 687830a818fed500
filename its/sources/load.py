"""One door to all sources: a declared problem set -> its problems, streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from its.data_files import named_files
from its.errors import DataError
from its.recipe.presets import PRESETS
from its.recipe.schema import Benchmark, Dataset, Fields, ProceduralSource
from its.recipe.source_parts import Part, parts_of
from its.seeds import derive_seed
from its.sources.files import read_file
from its.sources.hub import read_hub, resolve_revision
from its.sources.problems import map_series
from its.sources.procedural import arithmetic_problems
from its.sources.records import Rejected, Series, Table
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
        origin: gets what the source really is: its entry, with the `sha256` of a file, over the very bytes that the
            rows came from, once the last of them was read; `revision` of a hub dataset; `files` and `ignored` of a
            folder or a pattern; `parts` of several.
        rejected: gets the faulty rows, at most `declared.tolerate.rows`; whole once the last problem was yielded.

    Raises:
        FaultsError: at the start, if `fields` is faulty; after the last problem, if more rows are faulty than
            tolerated (every fault of each, the first 20, and how many more) or no row has a mapped field.
        DataError: if the source is damaged as a whole, holds no row, or is not the file that `sha256` pins.
        MissingError: if a file or the hub cannot be had.
    """
    if isinstance(declared.source, ProceduralSource):
        source = declared.source
        origin.update(source.model_dump())
        yield from arithmetic_problems(
            size=source.size,
            seed=derive_seed(seed, "problems", name),
            split=source.split,
            steps=(source.steps[0], source.steps[1]),
            templates=source.templates,
        )
        return
    parts = parts_of(
        [part.model_dump() for part in declared.source]
        if isinstance(declared.source, list)
        else declared.source.model_dump()
    )
    if parts[0].name:
        origin.update(kind="parts", parts=[{"name": part.name, **_given(part.entry)} for part in parts])
        facts = origin["parts"]
        label = f"`{name}`"
    else:
        origin.update(parts[0].entry)
        facts = [origin]
        label = parts[0].entry["path"] if parts[0].entry["kind"] == "files" else f"hub:{parts[0].entry['id']}"
    yield from map_series(
        (_series(part, found, project) for part, found in zip(parts, facts, strict=True)),
        declared_fields(declared),
        label,
        required,
        preset=declared.preset,
        tolerated=declared.tolerate.rows if declared.tolerate else 0,
        rejected=rejected,
    )


def _given(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value is not None}


def _series(part: Part, facts: dict[str, Any], project: Path) -> Series:
    """The tables of a part; `facts` gets what it really is while they are read."""
    prefix = f"{part.name}/" if part.name else ""
    if part.entry["kind"] == "hub":
        entry = part.entry
        facts["revision"] = resolve_revision(entry["id"], entry["revision"])
        inside = [entry["id"], entry["subset"], entry["split"]] if part.name else [entry["id"]]
        table = read_hub(
            entry["id"], entry["subset"], entry["split"], facts["revision"], "/".join(word for word in inside if word)
        )
        return Series(part.name or f"hub:{entry['id']}", iter([_counting(table, facts, bool(part.name))]), prefix)
    path = part.entry["path"]
    return Series(part.name or path, _tables(part.entry, facts, project, bool(part.name)), prefix)


def _tables(entry: Mapping[str, Any], facts: dict[str, Any], project: Path, named: bool) -> Iterator[Table]:
    """The table of each file of a path."""
    path, pinned = entry["path"], entry["sha256"]
    files = named_files(project, path)
    if files.base is None:

        def only(digest: str) -> None:
            facts["sha256"] = _pinned(path, pinned, digest)

        yield _counting(read_file(project / path, path, only), facts, named)
        return
    read: list[dict[str, Any]] = []
    facts |= {"files": read, **({"ignored": files.ignored} if files.ignored else {}), **({"rows": 0} if named else {})}

    def hashed(name: str, digest: str) -> None:
        read.append({"path": name, "sha256": digest, "rows": 0})
        if len(read) == len(files.names):
            facts["sha256"] = _pinned(path, pinned, files.pin([file["sha256"] for file in read]))

    def ended(rows: int) -> None:
        read[-1]["rows"] = rows
        if named:
            facts["rows"] += rows

    for name in files.names:
        yield replace(read_file(project / name, name, partial(hashed, name), empty=True), on_end=ended)


def _counting(table: Table, facts: dict[str, Any], counted: bool) -> Table:
    """The table, which notes how many rows it had."""
    return replace(table, on_end=partial(facts.__setitem__, "rows")) if counted else table


def _pinned(path: str, pinned: str | None, digest: str) -> str:
    """The digest of what was read.

    Raises:
        DataError: if the recipe pins another.
    """
    if pinned not in (None, digest):
        raise DataError(
            f"{path}: its sha256 is `{digest}`, the recipe pins `{pinned}`",
            "the file has changed: get the pinned one, or pin this one",
        )
    return digest


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
