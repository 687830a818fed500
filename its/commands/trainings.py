"""List the trainings in the ITS home with what here uses them, and remove some: `its training`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from its.commands.home_entries import used_bytes
from its.errors import ItsError, MissingError, RunError
from its.home import key_lock, remove
from its.models import SOUND_FILE
from its.rows import read_json
from its.shown import counted, listed, quoted
from its.stages.train import training_keys
from its.study.study import Study, load_study
from its.training.run import finished_record

_KEY = re.compile(r"[0-9a-f]{16}")
_HALF = re.compile(rf"\.({_KEY.pattern})\.rm\.tmp")
"""A training while it is removed, which a killed `rm` leaves behind."""
_LAST_LINE_BYTES = 4096
_BASE = re.compile(rb"^base_model: (.+)$", re.MULTILINE)
_CONFIG_BYTES = 2**20


@dataclass(frozen=True)
class StoredTraining:
    """A training in the ITS home.

    Args:
        state: `finished`, `unfinished` or `running`; a training on another host that shares the folder but not the
            locks counts as unfinished.
        bytes: on the disk, and of these in saved states.
        changed: the last change of a file in its folder.
        base: the model that is trained: the name of its folder in the home, its path, or its id on the hub.
        steps, of: steps done, and of the whole training; None if it logged none.
        used_by: what in this study uses it: copies in `models/`, and combinations that params.yaml trains.
    """

    key: str
    state: str
    bytes: int
    saved_states: int
    changed: datetime
    base: str | None
    steps: int | None
    of: int | None
    used_by: list[str]


@dataclass(frozen=True)
class Uses:
    """What the study in the current folder uses, by key of a training and by hashes of weights.

    Args:
        undecided: what could not be determined, each with its reason.
    """

    by_key: dict[str, list[str]]
    copies: dict[frozenset[str], list[str]]
    undecided: list[str]


def stored_trainings(home: Path, uses: Uses) -> list[StoredTraining]:
    """Every training in the home, the one that changed first before the others."""
    return sorted((_stored(home, key, uses) for key in _keys(home)), key=lambda item: (item.changed, item.key))


def finished_keys(home: Path) -> list[str]:
    """The keys of the trainings in the home that are finished, whose record and weights' checks are valid."""
    return [key for key in _keys(home) if finished_record(home, key)]


def study_uses(project: Path | None = None) -> Uses:
    """What the study here uses of the home: no other commit, no other study, no other recipe than params.yaml.

    Keys are computed from the queries that `query` wrote last. Nothing is converted; tokenizer files of a hub model may
    be fetched.
    """
    try:
        study = load_study(project)
    except ItsError as error:
        return Uses({}, {}, [f"no study here to compare with: {error.message}"])
    by_key: dict[str, list[str]] = {}
    undecided = []
    combinations = {
        item.combination: (item.model, item.dataset, item.train, item.seed)
        for item in study.checkpoints()
        if item.dataset is not None and item.train is not None and item.seed is not None
    }
    for name, place in combinations.items():
        try:
            for key in training_keys(study, *place):
                by_key.setdefault(key, []).append(f"params.yaml ({name})")
        except ItsError as error:
            undecided.append(f"{name}: {error.message}")
    copies, unread = _copies(study)
    return Uses(by_key, copies, undecided + unread)


def remove_trainings(home: Path, keys: Sequence[str], dry_run: bool) -> Iterator[StoredTraining]:
    """Remove trainings from the home, whole or not at all; yields each when it is gone.

    Args:
        dry_run: only name them.

    Raises:
        MissingError: if a key names no training; then none is removed.
        RunError: if one of them is running, before or while others are removed, or cannot be removed.
    """
    known = set(_keys(home))
    if unknown := [key for key in dict.fromkeys(keys) if key not in known]:
        names = listed(f"`{quoted(key)}`" for key in unknown)
        raise MissingError(f"{home / 'training'}: no training {names}", "`its training list` lists the keys")
    found = [_stored(home, key, Uses({}, {}, [])) for key in dict.fromkeys(keys)]
    if busy := [item.key for item in found if item.state == "running"]:
        raise _running(busy)
    for item in found:
        if not dry_run:
            with key_lock(home, "train", item.key, partial(_refuse, item.key)):
                folder = home / "training" / item.key
                half = folder.with_name(f".{item.key}.rm.tmp")
                try:
                    remove(half)
                    os.rename(folder, half)
                    remove(half)
                except OSError as error:
                    raise RunError(f"{folder}: cannot be removed: {str(error.strerror).lower()}") from error
        yield item


def remove_halves(home: Path) -> list[str]:
    """Remove what a killed `rm` left of trainings; returns their keys."""
    out = []
    for path in sorted((home / "training").glob(".*.rm.tmp")):
        if match := _HALF.fullmatch(path.name):
            remove(path)
            out.append(match[1])
    return out


def unused_keys(home: Path, uses: Uses) -> list[str]:
    """The keys that nothing in this study uses, except running ones; of the study's own home alone.

    Raises:
        RunError: if that cannot be determined, or studies elsewhere may use this home.
    """
    if uses.undecided:
        more = f" ({counted(len(uses.undecided) - 1, 'other')} likewise)" if len(uses.undecided) > 1 else ""
        raise RunError(
            f"what this study uses cannot be determined: {uses.undecided[0]}{more}",
            "fix that (`dvc repro query` writes what `train` trains), or name the keys: `its training rm KEY`",
        )
    if home.resolve() != (load_study().project / ".its").resolve():
        raise RunError(
            f"{home}: not this study's own home, so others may use its trainings",
            "name the keys: `its training rm KEY`",
        )
    return [item.key for item in stored_trainings(home, uses) if not item.used_by and item.state != "running"]


def _refuse(key: str, _: str) -> None:
    """In place of waiting for the lock of a training."""
    raise _running([key])


def _running(keys: Sequence[str]) -> RunError:
    verb = "is" if len(keys) == 1 else "are"
    return RunError(f"{listed(f'`{key}`' for key in keys)} {verb} running", "stop that run, or wait for its end")


def _keys(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "training").glob("*") if _KEY.fullmatch(path.name) and path.is_dir())


def _stored(home: Path, key: str, uses: Uses) -> StoredTraining:
    folder, record = home / "training" / key, finished_record(home, key)
    steps, of = _progress(folder / "progress.jsonl")
    used_by = list(uses.by_key.get(key, ()))
    for hashes in _weights(record) if record else ():
        used_by += uses.copies.get(hashes, ())
    return StoredTraining(
        key=key,
        state="running" if _is_locked(home, key) else "finished" if record else "unfinished",
        bytes=used_bytes(folder),
        saved_states=sum(used_bytes(path) for path in folder.glob("model/checkpoint-*")),
        changed=datetime.fromtimestamp(_changed(folder), UTC),
        base=_base(folder / "axolotl.yaml", home),
        steps=steps,
        of=of,
        used_by=list(dict.fromkeys(used_by)),
    )


def _is_locked(home: Path, key: str) -> bool:
    """Whether a process holds the lock of a training, as `key_lock` does; nothing is written."""
    from filelock import FileLock, Timeout

    path = home / "locks" / f"train-{key}.lock"
    if not path.is_file():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _changed(folder: Path) -> float:
    """Seconds since 1970 of the last change of the folder or a file in it or in its model."""
    times = [folder.stat().st_mtime]
    for path in (*folder.glob("*"), *folder.glob("model/*")):
        with suppress(OSError):
            times.append(path.lstat().st_mtime)
    return max(times)


def _base(config: Path, home: Path) -> str | None:
    """`base_model` of the Axolotl config that ITS wrote."""
    try:
        with config.open("rb") as source:
            found = _BASE.search(source.read(_CONFIG_BYTES))
    except OSError:
        return None
    if found is None:
        return None
    name = found[1].decode("utf-8", "replace").strip().strip("'\"")
    return Path(name).name if Path(name).parent == home / "models" else name


def _progress(path: Path) -> tuple[int | None, int | None]:
    """(steps done, steps of the whole training) by the last whole line of the log."""
    try:
        with path.open("rb") as source:
            source.seek(max(0, os.fstat(source.fileno()).st_size - _LAST_LINE_BYTES))
            lines = source.read().splitlines()
    except OSError:
        return None, None
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            return int(row["step"]), int(row["steps"])
    return None, None


def _weights(record: dict[str, Any]) -> Iterator[frozenset[str]]:
    """The hashes of the weights of a finished training, at its end and at each earlier checkpoint."""
    for sound in (record["sound"], *record.get("earlier", {}).values()):
        yield frozenset(facts["sha256"] for facts in sound["files"].values())


def _copies(study: Study) -> tuple[dict[frozenset[str], list[str]], list[str]]:
    """The folders in `models/` by the hashes of their weights; and what of them cannot be read."""
    out: dict[frozenset[str], list[str]] = {}
    unread = []
    for path in sorted((study.project / "models").glob(f"**/{SOUND_FILE}")):
        name = path.parent.relative_to(study.project).as_posix()
        try:
            files = read_json(path)["files"]
            hashes = frozenset(str(facts["sha256"]) for facts in files.values())
        except (ItsError, KeyError, TypeError, AttributeError):
            unread.append(f"{name}: its `{SOUND_FILE}` cannot be read")
            continue
        out.setdefault(hashes, []).append(name)
    return out, unread
