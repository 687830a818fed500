"""The entry point to all sources: a declared problem set -> its problems, streamed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from its.data_files import DataFiles, named_files
from its.errors import DataError
from its.recipe.presets import PRESETS
from its.recipe.schema import Benchmark, Dataset, Fields, ProceduralSource
from its.recipe.source_parts import Part, parts_of
from its.seeds import derive_seed
from its.sources.files import read_file
from its.sources.hub import read_hub, resolve_revision
from its.sources.problems import map_series
from its.sources.procedural import arithmetic_problems
from its.sources.records import Series, Table
from its.streams import Stream, streamed
from its.types import Problem, Rejected

TRIMMED = "solutions_trimmed"
"""Key of the result for how many solutions, or thoughts beside them, had outer white space; absent if none had."""


@streamed
def load_problems(
    name: str, declared: Dataset | Benchmark, *, seed: int, project: Path, required: tuple[str, ...]
) -> Generator[Problem | Rejected, None, dict[str, Any]]:
    """Stream a declared set in order of its source; memory does not grow with the number of its rows.

    Args:
        name: of the set; the seed of a procedural source is derived from it.
        declared: the recipe's entry.
        seed: of the study.
        project: what local paths are relative to; places name paths as the recipe does.
        required: fields beside `problem` that every row needs (`reference` for a benchmark, `solution` for a dataset).

    Returns:
        The problems, and in their places the faulty rows, at most `declared.tolerate.rows`. The result is what the
        source really is: its entry, with the `sha256` of a file, over the very bytes that the rows came from;
        `revision` of a hub dataset; `files` and `ignored` of a folder or a pattern; `parts` of several; and the number
        under `TRIMMED`.

    Raises:
        FaultsError: at the start, if `fields` is faulty; after the last problem, if more rows are faulty than
            tolerated (every fault of each, the first 20, and how many more) or no row has a mapped field.
        DataError: if the source is damaged as a whole, holds no row, or is not the file that `sha256` pins.
        MissingError: if a file or the hub is not available.
    """
    if isinstance(declared.source, ProceduralSource):
        source = declared.source
        yield from arithmetic_problems(
            size=source.size,
            seed=derive_seed(seed, "problems", name),
            split=source.split,
            steps=(source.steps[0], source.steps[1]),
            templates=source.templates,
        )
        return source.model_dump()
    parts = parts_of(
        [part.model_dump() for part in declared.source]
        if isinstance(declared.source, list)
        else declared.source.model_dump()
    )
    first = parts[0]
    tables = [
        Stream(_hub_table(part) if part.entry["kind"] == "hub" else _file_tables(part, project)) for part in parts
    ]
    trimmed = yield from map_series(
        [
            Series(part.name or _label(part), stream, f"{part.name}/" if part.name else "")
            for part, stream in zip(parts, tables, strict=True)
        ],
        declared_fields(declared),
        f"`{name}`" if first.name else _label(first),
        required,
        preset=declared.preset,
        tolerated=declared.tolerate.rows if declared.tolerate else 0,
    )
    white_space = {TRIMMED: trimmed} if trimmed else {}
    if not first.name:
        return {**first.entry, **tables[0].result, **white_space}
    known = [{key: value for key, value in part.entry.items() if value is not None} for part in parts]
    return {
        "kind": "parts",
        "parts": [
            {"name": part.name, **entry, **stream.result}
            for part, entry, stream in zip(parts, known, tables, strict=True)
        ],
        **white_space,
    }


def _label(part: Part) -> str:
    """How errors and problems call the one part of a source."""
    return str(part.entry["path"]) if part.entry["kind"] == "files" else f"hub:{part.entry['id']}"


def _hub_table(part: Part) -> Generator[Table, None, dict[str, Any]]:
    """The one table of a hub dataset; the result is what it really is."""
    entry = part.entry
    revision = resolve_revision(entry["id"], entry["revision"])
    inside = [entry["id"], entry["subset"], entry["split"]] if part.name else [entry["id"]]
    table = read_hub(entry["id"], entry["subset"], entry["split"], revision, "/".join(word for word in inside if word))
    yield table
    return {"revision": revision, **({"rows": table.records.taken} if part.name else {})}


def _file_tables(part: Part, project: Path) -> Generator[Table, None, dict[str, Any]]:
    """The table of each file of a path; the result is what the path really is."""
    files = named_files(project, part.entry["path"])
    read: list[dict[str, Any]] = []
    for name in files.names:
        verify = partial(_require_pinned, files, part.entry["sha256"], [file["sha256"] for file in read])
        table = read_file(project / name, name, verify, empty=files.base is not None)
        yield table
        read.append({"path": name, "sha256": table.records.result, "rows": table.records.taken})
    pin = files.pin([file["sha256"] for file in read])
    rows = {"rows": sum(file["rows"] for file in read)} if part.name else {}
    if files.base is None:
        return {"sha256": pin, **rows}
    return {"files": read, **({"ignored": files.ignored} if files.ignored else {}), **rows, "sha256": pin}


def _require_pinned(files: DataFiles, pinned: str | None, earlier: Sequence[str], digest: str) -> None:
    """Raise once all files were read, if the recipe pins others.

    Args:
        earlier: the digests of the files before the one that has `digest`.
    """
    digests = [*earlier, digest]
    if pinned is None or len(digests) < len(files.names):
        return
    if (found := files.pin(digests)) != pinned:
        raise DataError(
            f"{files.path}: its sha256 is `{found}`, the recipe pins `{pinned}`",
            "the file has changed: get the pinned one, or pin this one",
        )


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
