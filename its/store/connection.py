"""The store's file: how it is opened, how it is written, and what its failures mean to a user."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from its.errors import RunError

BUSY_SECONDS = 60.0
# Pages of 16 kB hold responses of 8 kB (packed 3) in a fifth less room, but an insert, which writes a page of every
# index, takes a tenth longer; pages of 4 kB gain nothing.
PAGE_BYTES = 8192
CHECKPOINT_PAGES = 4000  # 32 MB of log: a quarter more single inserts a second than with SQLite's 1000 pages
WAL_BYTES = 64 * 2**20  # what is left of a log that a long reader made long

_NO_ROOM_BYTES = 2**20


def connect(path: Path) -> sqlite3.Connection:
    """A connection in write-ahead mode, which lets any number of readers and one writer at a time share the file.

    Raises:
        RunError: if the folder cannot be written, the file is no database, or the disk is full.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file; an old one keeps its own
            _use_write_ahead_log(db, path)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        except BaseException:
            db.close()  # nobody else can
            raise
    return db


def _use_write_ahead_log(db: sqlite3.Connection, path: Path) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            # The switch does not wait for a lock as other statements do; two processes may make the store at once.
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    if mode != "wal":
        raise RunError(f"{path}: this disk takes no write-ahead log", "set `ITS_HOME` to a folder on a local disk")


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """One transaction that may write from its start: all of it is kept, or none where anything fails in it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite itself rolls back when a disk is full
            db.execute("ROLLBACK")
        raise


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection held a lock too long."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file's own structure is broken."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn failures of the database, the disk and the folder into `RunError`; bugs keep their type."""
    try:
        yield
    except sqlite3.Error as error:
        failure = _explain(path, error)
        if failure is None:
            raise
        raise failure from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(path) from error
        where = error.filename or path
        raise RunError(
            f"{where}: {str(error.strerror).lower()}", "is the folder writable, and on a local disk?"
        ) from error


def _explain(path: Path, error: sqlite3.Error) -> RunError | None:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return _full(path)
    # Where SQLite cannot grow one of the files beside the store it says no more than `disk I/O error`.
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _free_bytes(path) < _NO_ROOM_BYTES:
        return _full(path)
    if code == sqlite3.SQLITE_NOTADB:
        return RunError(f"{path}: the store is damaged: {error}", "move it away; what is lost is asked again")
    if code == sqlite3.SQLITE_CORRUPT:
        return RunError(
            f"{path}: the store is damaged: {error}",
            "`its store export saved.zst` saves what can be read; then move the store away and "
            "`its store import saved.zst`; what is lost is asked again",
        )
    if is_busy(error):
        return RunError(
            f"{path}: another process has kept the store locked for more than {BUSY_SECONDS:.0f} s",
            "is one stopped, or copying the file? end it, or wait, and run again",
        )
    if isinstance(error, sqlite3.OperationalError) and code is not None:
        return RunError(f"{path}: {error}", "is the folder writable, and on a local disk?")
    return None


def _full(path: Path) -> RunError:
    return RunError(f"{path}: no space left on the disk", "free some space and run again; what was stored is kept")


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code; None for what the Python module raises by itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _free_bytes(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return _NO_ROOM_BYTES


def file_bytes(path: Path) -> int:
    """What the store takes on the disk, with its log."""
    total = 0
    for suffix in ("", "-wal", "-shm"):
        try:
            total += os.stat(f"{path}{suffix}").st_size
        except FileNotFoundError:
            continue
    return total
