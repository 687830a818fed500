"""What the ITS home stores, with its size and what removes it: `its home`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from its.checks.machine import environment_states, locks_project
from its.errors import ItsError
from its.files import HOME_FOLDERS, free_bytes
from its.home import STORE_FILE

_STORE = ("", "-wal", "-shm", "-journal")
_AGAIN = {
    "envs": "an engine environment; `its env sync` installs it again",
    "models": "a converted model; its next use converts it again",
    "training": "trained models; a removed one is trained again",
    "wheels": "fetched files of models; a missing one is fetched again",
    "logs": "logs of engines, environments and conversions",
    "fingerprints": "hashes of large files; a missing one is computed again",
    "locks": "locks of running commands",
}
_EACH = ("envs", "models")
"""Folders whose entries are listed one by one."""


@dataclass(frozen=True)
class HomeEntry:
    """One line of `its home`.

    Args:
        name: its path from the home.
        bytes: what it occupies on the disk; blocks shared between files count for each of them. Nothing behind a
            symbolic link counts, except that the folder of this name may itself be a link.
        remove: what to type to remove it, or why nothing removes it.
    """

    name: str
    what: str
    bytes: int
    remove: str


@dataclass(frozen=True)
class HomeContent:
    """The ITS home: free bytes on its disk, and all that is in it."""

    home: Path
    free: int
    entries: list[HomeEntry]


def home_content(home: Path) -> HomeContent:
    """List a home; one that does not exist has no entries."""
    free = free_bytes(home)
    return HomeContent(home, free, list(_entries(home)) if home.is_dir() else [])


def used_bytes(path: Path) -> int:
    """The bytes that a file, or a folder with its content, occupies; a file with several names in it counts once."""
    seen: set[tuple[int, int]] = set()
    total, waiting = 0, [path]
    while waiting:
        place = waiting.pop()
        try:
            facts = os.lstat(place) if place != path else os.stat(place)
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            total += facts.st_blocks * 512
            if place.is_dir() and (place == path or not place.is_symlink()):
                waiting += place.iterdir()
        except OSError:  # removed meanwhile, or not ours to read
            continue
    return total


def _entries(home: Path) -> Iterator[HomeEntry]:
    used = _used_environments(home)
    for path in sorted(home.iterdir()):
        name = path.name
        if name in _EACH and path.is_dir():
            for each in sorted(path.iterdir()):
                what, remove = _AGAIN[name], _removal(home, each)
                if name == "envs" and used is not None:
                    what = "an engine environment of this study" if str(each) in used else "of another lock or Python"
                yield HomeEntry(f"{name}/{each.name}", what, used_bytes(each), remove)
        elif name in HOME_FOLDERS and path.is_dir():
            own = {"training": "`its training rm KEY`", "locks": "nothing: they are empty"}
            yield HomeEntry(name, _AGAIN[name], used_bytes(path), own.get(name) or _removal(home, path))
        elif name == STORE_FILE:
            size = sum(used_bytes(path.with_name(f"{name}{end}")) for end in _STORE)
            yield HomeEntry(name, "every response; a removed one is generated again", size, "`its store gc`")
        elif name not in {f"{STORE_FILE}{end}" for end in _STORE}:
            yield HomeEntry(name, "not known to ITS", used_bytes(path), "nothing: check it yourself")


def _removal(home: Path, path: Path) -> str:
    """What to type; nothing where the entry, or the folder that lists it, is a link: others may share its target."""
    for link in (home / path.relative_to(home).parts[0], path):
        if link.is_symlink():
            target = os.path.realpath(link)
            return f"nothing here: `{link.relative_to(home)}` is a link to `{target}`, which others may use"
    return f"`rm -r {shlex.quote(str(path))}`"


def _used_environments(home: Path) -> set[str] | None:
    """The folders of the environments that the locks here require; None if that cannot be determined."""
    try:
        return {str(state["path"]) for state in environment_states(locks_project(), home) if "path" in state}
    except ItsError:
        return None
