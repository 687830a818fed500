"""Rows of problems, personas and new solutions that were added, removed or changed between two states of a study."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from its.errors import DataError, Fault
from its.revisions import Files, Folder, open_files
from its.rows import MAX_DOCUMENT_VALUES, MAX_FAULTS, json_lines, raise_faults
from its.study.study import find_project
from its.values import exceeds

MAX_BYTES = 2**30
"""Of a file, which is read into memory: 50,000 problems with reasoning traces as their solutions."""
FOLDERS = ("data/problems", "data/personas", "data/solutions")
Rows = dict[str, dict[str, Any]]


def compare(old: str, new: str, set_name: str | None, strategy: str | None) -> list[dict[str, Any]]:
    """Every file of problems, personas or new solutions in either state, with the rows that differ.

    Rows are matched by problem_id, several of one problem by their order. All rows of a file that only one state has
    differ.

    Args:
        old, new: `workspace`, a folder or a revision as `open_files` takes it, or two files of rows.
        set_name: only rows of this set.
        strategy: only personas and new solutions under this strategy.

    Returns:
        For each file {path, before, after, added, removed, changed}: `before` and `after` count rows (None: no such
        file), `added` and `removed` are {id, row}, `changed` is {id, fields: {name: [old, new]}}.

    Raises:
        DataError: if there is no such revision, only one of the two is a file, or nothing matches.
        FaultsError: with every line that is not a row, or the first faults of a file of another kind.
        MissingError: outside a project, or if a file is neither in DVC's cache nor in its remote.
    """
    if os.path.isfile(old) or os.path.isfile(new):  # Path.is_file raises for a name that no file can have
        return [_compare_files(Path(old), Path(new))]
    project = find_project()
    left, right = open_files(project, old), open_files(project, new)
    paths = sorted({*_paths(left, set_name, strategy), *_paths(right, set_name, strategy)})
    if not paths:
        wanted = " ".join(part for part in (set_name, strategy) if part) or "problems or personas"
        hint = (
            "`its data show` lists the sets"
            if set_name or strategy
            else "`dvc repro` writes them; a revision has those of the run whose dvc.lock is committed there"
        )
        raise DataError(f"neither `{old}` nor `{new}` has rows of {wanted}", hint)
    there = [{path for path in _paths(side, set_name, strategy)} for side in (left, right)]
    return [
        _difference(
            path,
            _rows(left, path) if path in there[0] else None,
            _rows(right, path) if path in there[1] else None,
        )
        for path in paths
    ]


def _compare_files(old: Path, new: Path) -> dict[str, Any]:
    for path, other in ((old, new), (new, old)):
        if not os.path.isfile(path):
            raise DataError(f"`{path}` is not a file, `{other}` is one", "compare two files, or two states of a study")
    left, right = (Folder(str(path), path.parent) for path in (old, new))
    return _difference(str(new), _rows(left, old.name), _rows(right, new.name))


def _paths(files: Files, set_name: str | None, strategy: str | None) -> Iterator[str]:
    for folder in FOLDERS:
        for path in files.find(folder, ".jsonl"):
            parts = Path(path).with_suffix("").parts
            own_set, own_strategy = (parts[2], parts[-1]) if folder != "data/problems" else (parts[-1], None)
            if set_name not in (None, own_set) or (strategy is not None and own_strategy != strategy):
                continue
            yield path


def _rows(files: Files, path: str) -> Rows:
    """The rows by problem_id; a second one of a problem is `ID (2)`.

    They are read as plain values: an old revision's rows may have fields that this version of ITS does not know.
    """
    faults: list[Fault] = []
    out: Rows = {}
    seen: Counter[str] = Counter()
    content = files.read(path, MAX_BYTES)
    place = f"{files.path / path}" if isinstance(files, Folder) else f"{files.name}:{path}"
    if exceeds(content, MAX_DOCUMENT_VALUES, every=True):
        raise DataError(f"{place}: has more than {MAX_DOCUMENT_VALUES} values", "is it a file of rows?")
    for line in json_lines(io.BytesIO(content), place):
        if isinstance(line, Fault):
            faults.append(line)
            continue
        row = line.value
        if not isinstance(row, dict) or not isinstance(row.get("problem_id"), str):
            faults.append(Fault(f"{place}:{line.number}", "not a row of problems or personas: it has no `problem_id`"))
            if len(faults) > MAX_FAULTS:
                break  # it is another kind of file, and the rest would repeat this
            continue
        name = row["problem_id"]
        while name in out:
            seen[row["problem_id"]] += 1
            name = f"{row['problem_id']} ({seen[row['problem_id']] + 1})"
        out[name] = row
    raise_faults(faults)
    return out


def _difference(path: str, old: Rows | None, new: Rows | None) -> dict[str, Any]:
    left, right = old or {}, new or {}
    return {
        "path": path,
        "before": None if old is None else len(old),
        "after": None if new is None else len(new),
        "added": [{"id": name, "row": row} for name, row in right.items() if name not in left],
        "removed": [{"id": name, "row": row} for name, row in left.items() if name not in right],
        "changed": [
            {"id": name, "fields": _fields(left[name], row)}
            for name, row in right.items()
            if name in left and left[name] != row
        ],
    }


def _fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    names = [*old, *(name for name in new if name not in old)]
    return {name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)}
