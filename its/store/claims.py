"""Who asks which responses: owners that hold a lock of the operating system for as long as they live.

A claim names an owner and the owner's lock says whether it lives, so that a process that was killed leaves nothing that
must time out. An owner's lock file is made, and a dead one's removed, only within a writing transaction of the store:
nobody can see a file that is not locked yet and take it for a dead owner's.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

NO_OWNER = "(typeof(owner) <> 'text' OR length(owner) <> 32 OR owner GLOB '*[^0-9a-f]*')"
"""The condition on claims whose owner is no name that `Owner` gives: nobody holds those, and it names no file."""


class Owner:
    """One holder of claims, alive until `leave` or until its process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        folder.mkdir(parents=True, exist_ok=True)
        self._path = _lock_path(folder, self.name)
        self._lock = _lock(self._path)
        self._lock.acquire(timeout=0)

    def leave(self) -> None:
        """Give up every claim at once: whoever looks finds this owner dead."""
        self._path.unlink(missing_ok=True)
        self._lock.release()


def is_alive(folder: Path, name: str) -> bool:
    """Whether the owner still holds its lock; the file of a dead one is removed. Within a writing transaction only."""
    path = _lock_path(folder, name)
    if not path.is_file() or path.is_symlink():  # a link's file is somebody else's
        return False
    lock = _lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    path.unlink(missing_ok=True)
    lock.release()
    return False


def owners(folder: Path) -> Iterator[str]:
    """Names of all whose lock file is there, alive or dead."""
    for path in sorted(folder.glob("claim-*.lock")):
        yield path.stem.removeprefix("claim-")


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f"claim-{name}.lock"


def _lock(path: Path) -> FileLock:
    return FileLock(path, thread_local=False)  # whichever thread closes the store must be able to release it
