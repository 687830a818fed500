"""The parts of a source: one, or several that are read one after the other, each with a name for its problems.

A source that is a list, or that names several subsets of a hub dataset, has parts. The problem_id of each problem is
then `PART/ID`. The name of a part depends on its own entry alone, so other parts and rows rename no problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from its.recipe.schema import MAX_NAME

_WILD = re.compile(r"[*?]|\[[^\]]+\]")
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9_.-]+")
_ENDINGS = re.compile(r"(?i)(\.(jsonl|ndjson|json|csv|tsv|parquet))(\.(gz|zst))?$")


class Part(NamedTuple):
    """A part as plain values: its place below `source`, its entry with at most one subset, its name.

    The name is empty if the source has no parts.
    """

    at: tuple[str | int, ...]
    entry: dict[str, Any]
    name: str = ""


def parts_of(source: Any) -> list[Part]:
    """The parts of a source in their order; of values that the schema may have refused, those that are readable."""
    if isinstance(source, list):
        entries = ((index, entry) for index, entry in enumerate(source) if isinstance(entry, Mapping))
        return [part for index, entry in entries for part in _subsets(entry, (index,), True)]
    return list(_subsets(source, (), False)) if isinstance(source, Mapping) else []


def _subsets(entry: Mapping[str, Any], at: tuple[str | int, ...], named: bool) -> Iterator[Part]:
    plain = {key: value for key, value in entry.items() if key != "name"}
    given, subsets = entry.get("name"), entry.get("subset")
    base = given if isinstance(given, str) and given else _base(plain)
    if not isinstance(subsets, list):
        own = base if given or not isinstance(subsets, str) else f"{base}_{subsets}"
        yield Part(at, plain, _plain(own) if named else "")
        return
    for index, subset in enumerate(subsets):
        yield Part((*at, "subset", index), {**plain, "subset": subset}, _plain(f"{base}_{subset}"))


def _base(entry: Mapping[str, Any]) -> str:
    """The last word of the id, of the file without its ending, or of the folder."""
    if isinstance(entry.get("id"), str):
        return str(entry["id"]).rpartition("/")[2]
    path = entry.get("path")
    parts = [part for part in path.split("/") if part] if isinstance(path, str) else []
    plain = [part for part in parts if not _WILD.search(part)]
    if parts and parts[-1] in plain:
        return _ENDINGS.sub("", parts[-1])
    return PurePosixPath(plain[-1]).name if plain else "part"


def _plain(name: str) -> str:
    return _UNNAMEABLE.sub("_", name)[:MAX_NAME].lstrip(".-") or "part"
