"""Checks of the sources of a recipe: parts, local files and their hashes, hub ids, field mappings."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from its.data_files import PATH_HINT, ending_of, named_files
from its.errors import ItsError, did_you_mean, nearest
from its.files import file_sha256, open_regular
from its.foreign_files import START_BYTES, foreign_start
from its.recipe.presets import PRESETS
from its.recipe.scalars import quoted
from its.recipe.source_parts import parts_of
from its.recipe.values import Found, Location, list_at, table_at
from its.shown import counted

MAX_GENERATED = 200_000
"""Rows of all procedural sources; `its recipe check` generates those of benchmarks, 25,000 in a second."""
MAX_PARTS = 1_000
"""Parts of one source, each subset counted."""


def source_faults(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    """The faults of all sources of datasets, benchmarks and models."""
    generated = 0
    for section in ("datasets", "benchmarks"):
        for name, entry in table_at(values, section).items():
            source = entry.get("source") if isinstance(entry, Mapping) else None
            if not isinstance(source, Mapping | list):
                continue
            here = (section, name, "source")
            if isinstance(source, Mapping) and source.get("kind") == "procedural":
                yield from _procedural(source, here)
                size = source.get("size")
                generated += size if type(size) is int else 0
                wanted = table_at(entry, "sample").get("size")
                if type(size) is int and type(wanted) is int and wanted > size:
                    wrong = f"`{section}.{name}.sample.size` is {wanted}: its source has {counted(size, 'problem')}"
                    yield (section, name, "sample", "size"), wrong, f"at most {size}, or a larger `source.size`"
                if generated > MAX_GENERATED:
                    yield (
                        (*here, "size"),
                        f"the study has {generated} rows of procedural sources",
                        f"at most {MAX_GENERATED}",
                    )
                for key in ("preset", "fields"):
                    if entry.get(key) is not None:
                        wrong = f"`{section}.{name}` has a procedural source: no rows to map"
                        yield (section, name, key), wrong, f"remove `{key}`"
                continue
            if isinstance(source, list) or source.get("kind") in ("files", "hub"):
                yield from _mapping(entry, (section, name))
            yield from _parts(source, here, project)
    for name, model in table_at(values, "models").items():
        if isinstance(model, Mapping):
            yield from _hub(table_at(model, "source"), ("models", name, "source"), project)


def _parts(source: Any, here: Location, project: Path) -> Iterator[Found]:
    """Faults of each part of a source, of two with the same name, and of a file that several of them read."""
    named: dict[str, str] = {}
    read: dict[str, str] = {}
    several = parts_of(source)
    if len(several) > MAX_PARTS:
        yield here, f"`{'.'.join(map(str, here))}` has {len(several)} parts", f"at most {MAX_PARTS}"
        return
    for part in several:
        at = (*here, *part.at)
        place = ".".join(map(str, at))
        hub = [part.entry.get(key) for key in ("id", "subset", "split", "revision")]
        if part.entry.get("kind") == "hub" and (first := read.setdefault(repr(hub), place)) != place:
            yield at, f"`{place}` reads what `{first}` reads: its rows would appear twice", "keep one of them"
        elif part.name and _is_named(part.entry) and (first := named.setdefault(part.name, place)) != place:
            wrong = f"`{place}` has the name `{part.name}`, as `{first}` has: problem ids begin with it"
            yield at, wrong, f"give one of them another name: `name: {part.name[:50]}_2`"
        if "subset" not in part.at or part.at[-1] == 0:
            yield from _hub(part.entry, (*here, *part.at[:1]) if isinstance(source, list) else here, project)
        if part.entry.get("kind") == "files" and isinstance(part.entry.get("path"), str):
            files = yield from _files(part.entry, at, project, read)
            read |= dict.fromkeys(files, f"{place}.path")


def _is_named(entry: Mapping[str, Any]) -> bool:
    """Whether the schema accepted what names a part."""
    return isinstance(entry.get("path"), str) or isinstance(entry.get("id"), str)


def _hub(source: Mapping[str, Any], here: Location, project: Path) -> Iterator[Found]:
    """A fault if the libraries that load `id` would find a local folder of that name before the hub's."""
    name = source.get("id")
    if isinstance(name, str) and os.path.lexists(project / name):
        yield (*here, "id"), f"`{name}` is a path of this project, which would be loaded instead", "rename it"


def _mapping(entry: Mapping[str, Any], here: tuple[str, str]) -> Iterator[Found]:
    """Faults of `preset`, `fields` and what depends on them."""
    dotted, preset, fields = ".".join(here), entry.get("preset"), entry.get("fields")
    if preset is None and not fields:
        yield (
            here,
            f"`{dotted}` has no `fields` and no `preset`",
            f"say where rows keep the problem: `fields: {{problem: question}}`; presets: {', '.join(PRESETS)}",
        )
    elif preset is not None and fields:
        yield (
            here,
            f"`{dotted}` has a `preset` and `fields`",
            "keep one; docs/sources.md lists the presets",
        )
    elif isinstance(preset, str) and preset not in PRESETS:
        hint = did_you_mean(nearest(preset, PRESETS), f"known: {', '.join(PRESETS)}")
        yield (*here, "preset"), f"`{dotted}.preset`: `{preset}` is not a preset", hint
    stratum = table_at(entry, "sample").get("stratify_by")
    kept = set(table_at(fields, "meta"))
    if "overlaps" in kept:
        yield (*here, "fields", "meta", "overlaps"), "`overlaps` is written by decontamination", "choose another name"
    if isinstance(preset, str) and preset in PRESETS:
        kept |= set(PRESETS[preset].fields.meta)
    kept |= {str(step.get("of")) for step in list_at(entry, "filters") if isinstance(step, Mapping)}
    if isinstance(stratum, str) and stratum not in kept | {"source"}:
        yield (
            (*here, "sample", "stratify_by"),
            f"`{dotted}.sample.stratify_by` is `{stratum}`, which `fields.meta` does not keep",
            f"keep it: `meta: {{{stratum}: {stratum}}}`, or `source`",
        )


def _procedural(source: Mapping[str, Any], here: tuple[str | int, ...]) -> Iterator[Found]:
    steps = source.get("steps")
    whole = isinstance(steps, list) and len(steps) == 2 and all(type(step) is int for step in steps)
    if isinstance(steps, list) and whole and not 2 <= steps[0] <= steps[1] <= 4:
        wrong = f"`steps` is `{steps}`: expected the fewest and the most equations, within 2 to 4"
        yield (*here, "steps"), wrong, "for example `[2, 4]`"


def _files(
    source: Mapping[str, Any], here: Location, project: Path, read: Mapping[str, str]
) -> Generator[Found, None, list[str]]:
    """Yield faults of the files that a path names; return the real paths of those that no other part reads.

    Args:
        read: by real path, where the recipe names the files of the parts before this one.
    """
    location, path = (*here, "path"), source["path"]
    try:
        files = named_files(project, path, quoted)
        for name in files.names:
            label = quoted(name) if files.tells else f"a file of {quoted(path)}"
            with open_regular(project / name, label, PATH_HINT) as opened:
                start = opened.read(START_BYTES)
            ending_of(name if files.tells else f"{path}{PurePosixPath(name).suffix}", quoted)
            if found := foreign_start(start, name):
                yield location, f"{label}: {found[0]}", found[1] if files.tells else None
                return []
    except ItsError as error:
        yield location, error.message, error.hint
        return []
    real = {os.path.realpath(project / name): name for name in files.names}
    new = list(takewhile(lambda file: file not in read, real))
    if len(new) < len(real):
        file = list(real)[len(new)]
        wrong = f"{quoted(real[file])} is already read by `{read[file]}`: its rows would appear twice"
        yield location, wrong, "keep one"
        return new
    watched = os.path.realpath(project / "data" / "sources")
    outside = [name for file, name in real.items() if not Path(file).is_relative_to(watched)]
    pinned = source.get("sha256")
    if not outside and not pinned:
        return new
    digest = files.pin([file_sha256(project / name) for name in files.names])
    if not pinned:
        what = f"{quoted(outside[0])} of {quoted(path)}" if files.base is not None and files.tells else quoted(path)
        yield location, f"{what} is outside `data/sources/` and has no `sha256`", f"add `sha256: {digest}`"
    elif isinstance(pinned, str) and pinned != digest:
        wrong = f"{quoted(path)} has changed: its sha256 is `{digest}`"
        yield (*here, "sha256"), wrong, "pin the new one if the change is intended"
    return new
