"""How the verdicts of one state of a study were made: its parameters, its engines, and whether they are outdated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from its.commands.foreign_rows import json_of
from its.commands.scores import flat
from its.errors import ItsError
from its.recipe.document import parse_document
from its.revisions import Files

MAX_BYTES = 2**26
"""Of dvc.lock and of sessions.json: some KiB a training."""
STAGES = ("prepare", "prepare_benchmark", "persona", "solution", "query", "train", "generate", "grade")
"""The stages of dvc.yaml on which a verdict depends."""
SESSIONS = "data/responses/sessions.json"
_CODE = re.compile(r"^    - path: its/.*\n(?:      .*\n)*", re.MULTILINE)
UNCOMPARED = ("session", "served", "prompt_ids")
"""Keys of a session that say what was checked, or repeat the others as a hash."""
WEIGHTS = "sessions.model"
"""The fingerprint of the weights, which differs between two checkpoints in any case."""


def settings_of(files: Files, checkpoint: str) -> dict[str, str]:
    """The parameters of a state, and under `sessions` the engine's settings behind the responses of a checkpoint.

    What cannot be read is left out: no number depends on it.
    """
    try:
        session = json_of(files.read(SESSIONS, MAX_BYTES), SESSIONS)[checkpoint]
        kept = {key: value for key, value in session.items() if key not in UNCOMPARED}
    except (ItsError, LookupError, TypeError, AttributeError):
        kept = {}
    return dict(flat({**_parameters(files), "sessions": kept}))


def changed_since(files: Files, stages: tuple[str, ...] = STAGES) -> list[str]:
    """What changed at this state after its verdicts were written, by dvc.lock: fields of the recipe, and folders.

    [] without a dvc.lock, which `dvc repro` always writes.

    Args:
        stages: on which what is read depends.
    """
    try:
        text = files.read("dvc.lock", MAX_BYTES).decode("utf-8")
        locked = locked_stages(text, stages)
    except (ItsError, UnicodeDecodeError):
        return []
    now = _parameters(files)
    used = _used(locked, now)
    return list(dict.fromkeys([*_changed_fields(used, now), *_changed_folders(used)])) if now else []


def used_stages(files: Files, lock: str, stages: tuple[str, ...]) -> set[str]:
    """The names of the entries of a dvc.lock that belong to some stages and to the design as it is now.

    Raises:
        FaultsError: if the dvc.lock is not plain YAML.
    """
    return {*_used(locked_stages(lock, stages), _parameters(files))}


def _used(locked: Mapping[str, Mapping[str, Any]], now: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: entry for name, entry in locked.items() if _is_used(name, now.get("design"))}


def _is_used(name: str, design: Any) -> bool:
    """Whether a stage belongs to the design; DVC keeps the entries of matrix cells that a study no longer has."""
    stage, _, item = name.partition("@")
    if not item or not isinstance(design, dict):
        return True
    known = {"prepare": ("datasets",), "prepare_benchmark": ("benchmarks",)}
    rests = {f"{item}-"}  # a name may contain `-`
    for axis in known.get(stage, ("models", "datasets", "train", "seeds")):
        names = design.get(axis)
        starts = [f"{name}-" for name in names] if isinstance(names, list) else []
        rests = {rest.removeprefix(start) for rest in rests for start in starts if rest.startswith(start)}
    return "" in rests


def _parameters(files: Files) -> Mapping[str, Any]:
    try:
        text = files.read("params.yaml", 2**20).decode("utf-8")
        return parse_document(Path("params.yaml"), text).values
    except (ItsError, UnicodeDecodeError):
        return {}


@lru_cache(maxsize=2)
def locked_stages(text: str, wanted: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    """The entries of some stages in a dvc.lock; a matrix stage has one for each of its cells.

    Without the files of ITS's code among their `deps`, most of a lock, of which no stage is the writer.

    Raises:
        FaultsError: if it is not plain YAML.
    """
    stages = parse_document(Path("dvc.lock"), _CODE.sub("", text), MAX_BYTES).values.get("stages")
    known = stages.items() if isinstance(stages, dict) else ()
    return {name: entry for name, entry in known if name.partition("@")[0] in wanted and isinstance(entry, dict)}


def _changed_fields(stages: Mapping[str, Mapping[str, Any]], now: Mapping[str, Any]) -> Iterator[str]:
    for entry in stages.values():
        params = entry.get("params")
        locked = params.get("params.yaml") if isinstance(params, dict) else None
        for name, value in locked.items() if isinstance(locked, dict) else ():
            current: Any = now
            for part in name.split("."):
                current = current.get(part) if isinstance(current, dict) else None
            before, after = dict(flat(value, name)), dict(flat(current, name))
            yield from (key for key in {**before, **after} if before.get(key) != after.get(key))


def _changed_folders(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Outputs of a stage of which a later stage read another version: the later one has not run since."""
    written = {path: digest for entry in stages.values() for path, digest in _digests(entry, "outs")}
    for entry in stages.values():
        yield from (path for path, digest in _digests(entry, "deps") if written.get(path, digest) != digest)


def _digests(entry: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    items = entry.get(kind)
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(item.get("path"), str) and isinstance(item.get("md5"), str):
            yield item["path"], item["md5"]
