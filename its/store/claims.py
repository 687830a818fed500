"""Which process generates which response: owners of claims, each with an operating-system lock while it is alive.

A claim names its owner, and the owner's lock shows whether it is alive, so a killed process leaves nothing that has to
time out. Lock files are created and removed only within a write transaction of the store, so no process can mistake a
file that is not locked yet for the file of a dead owner.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

NO_OWNER = "(typeof(owner) <> 'text' OR length(owner) <> 32 OR owner GLOB '*[^0-9a-f]*')"
"""SQL condition: the claim's owner is not a name that `Owner` generates, so the claim is void and names no file."""


class Owner:
    """A holder of claims, alive until `leave` or the end of its process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        folder.mkdir(parents=True, exist_ok=True)
        self._path = _lock_path(folder, self.name)
        self._lock = _lock(self._path)
        self._lock.acquire(timeout=0)

    def leave(self) -> None:
        """Give up all claims at once: other processes now see this owner as dead."""
        self._path.unlink(missing_ok=True)
        self._lock.release()


def is_alive(folder: Path, name: str) -> bool:
    """Whether the owner still has its lock; removes the file of a dead one. Within a write transaction only."""
    path = _lock_path(folder, name)
    if not path.is_file() or path.is_symlink():  # the target of a link is not ours
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
    """The names of all owners with a lock file, alive or dead."""
    for path in sorted(folder.glob("claim-*.lock")):
        yield path.stem.removeprefix("claim-")


def _lock_path(folder: Path, name: str) -> Path:
    return folder / f"claim-{name}.lock"


def _lock(path: Path) -> FileLock:
    return FileLock(path, thread_local=False)  # whichever thread closes the store must be able to release it
