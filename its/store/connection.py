"""The store's file: how it is opened, how it is written, and what its failures mean to a user."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from its.errors import RunError

BUSY_SECONDS = 60.0
LEAST_SECONDS = 5.0
MAX_ROW_BYTES = 2**27
"""Twice the longest body; SQLite's own limit is 1 GB, for which a damaged length is enough."""
SLOWEST_BYTES_PER_SECOND = 5 * 10**6


class DamagedError(RunError):
    """The store's file is damaged or was created by another program, and cannot be used as it is."""


# Pages of 16 kB store responses of 8 kB (3 packed) in a fifth less space, but an insert, which writes a page of every
# index, takes a tenth longer; pages of 4 kB gain nothing.
PAGE_BYTES = 8192
CHECKPOINT_PAGES = 4000  # 32 MB of log: a quarter more single inserts a second than with SQLite's 1000 pages
WAL_BYTES = 64 * 2**20  # a log that grew longer under a long reader is cut to this

SUFFIXES = ("", "-wal", "-shm", "-journal")
"""File names of a store: the database, and the files that SQLite keeps beside it."""

_LEAST_BYTES = 512  # the size of the smallest database, one page of the smallest size
_NO_ROOM_BYTES = 2**20
# The end of a rollback journal that names a super-journal, which SQLite 3 deletes after a rollback.
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
_DAMAGE = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_INTERRUPT,  # by `limited`
    }
)


def connect(path: Path) -> sqlite3.Connection:
    """Connect to a file that may be untrusted: nothing in its schema is run, and nothing is written yet.

    Text that is not UTF-8 is returned as bytes, so that a damaged row can be reported and skipped.

    Raises:
        RunError: if the folder is not writable, the file is not a database, or a file beside it is not one of SQLite's.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_files(path)
        db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
        db.text_factory = _text
        try:
            db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # for a new file; an existing one keeps its own
        except BaseException:
            db.close()  # the caller never gets it
            raise
    return db


def share(db: sqlite3.Connection, path: Path) -> None:
    """Turn on write-ahead logging, with which any number of readers and one writer at a time share the file."""
    _use_write_ahead_log(db, path)
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _check_files(path: Path) -> None:
    """Refuse what would lead SQLite out of the folder: a link, or a journal that names a file to delete."""
    if os.path.exists(path) and not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise RunError(f"{path}: is {what}; the store needs this name", "set `ITS_HOME` to another folder")
    if os.path.exists(path) and 0 < path.stat().st_size < _LEAST_BYTES:  # SQLite would take it for a new one
        raise damaged(path, "file is not a database")
    real = os.path.realpath(path)  # SQLite keeps its logs there
    for suffix in SUFFIXES[1:]:
        beside = Path(real + suffix)
        if os.path.lexists(beside) and (beside.is_symlink() or not beside.is_file()):
            raise RunError(f"{beside}: is not a regular file; the store's log needs this name", "inspect and remove it")
    with contextlib.suppress(FileNotFoundError), open(f"{real}-journal", "rb") as journal:
        journal.seek(max(0, os.fstat(journal.fileno()).st_size - len(_SUPER_JOURNAL)))
        if journal.read() == _SUPER_JOURNAL:
            raise RunError(
                f"{real}-journal: names another file, which SQLite would delete; a store's own journal never does",
                "another program wrote to the store: remove the journal if you trust the rest",
            )


def _use_write_ahead_log(db: sqlite3.Connection, path: Path) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            # Unlike other statements this one does not wait for a lock; two processes may create the store at once.
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    if mode != "wal":
        raise RunError(f"{path}: no write-ahead log on this disk", "set `ITS_HOME` to a folder on a local disk")


@contextmanager
def limited(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Interrupt statements that read a whole table after the time that a slow disk would need.

    The pages of a forged file may refer to each other in circles, so that a table of three pages has 10^50 rows.
    """
    timer = threading.Timer(LEAST_SECONDS + file_bytes(path) / SLOWEST_BYTES_PER_SECOND, db.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # the connection may be closed next


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """Run a block as one write transaction: all of it is committed, or nothing if anything in it fails."""
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
    """Whether the file's own structure is broken.

    That is also where a row breaks a rule of its table, which only a damaged index lets happen, or has a length that no
    row can have, and where a statement does not come to an end.
    """
    return _code(error) in _DAMAGE


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
    except UnicodeDecodeError as error:  # SQLite's message quotes the damaged schema
        raise damaged(path, "its schema is not UTF-8") from error
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
    # If SQLite cannot grow one of the files beside the store, it reports no more than `disk I/O error`.
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _free_bytes(path) < _NO_ROOM_BYTES:
        return _full(path)
    if code == sqlite3.SQLITE_INTERRUPT:
        return RunError(
            f"{path}: reading it takes too long for a store of its size: its pages are damaged, or the disk is busy",
            "`its store verify` finds out which",
        )
    if code in _DAMAGE:
        return damaged(path, str(error))
    if is_busy(error):
        return RunError(
            f"{path}: another process has kept the store locked for more than {BUSY_SECONDS:.0f} s",
            "end a process that is stopped or copies the file, or wait; then run again",
        )
    if isinstance(error, sqlite3.OperationalError) and code is not None:
        return RunError(f"{path}: {error}", "is the folder writable, and on a local disk?")
    return None


def damaged(path: Path, what: str) -> DamagedError:
    """The error for a store's file that cannot be used as it is."""
    return DamagedError(
        f"{path}: the store is damaged: {what}",
        "`its store export saved.zst` saves what can be read; then move it away and "
        "`its store import saved.zst`; what is lost is generated again",
    )


def _full(path: Path) -> RunError:
    return RunError(f"{path}: no space left on the disk", "free some space and run again; stored responses are kept")


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code; None for errors of the Python module itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _free_bytes(path: Path) -> int:
    try:
        usage = shutil.disk_usage(path.parent)
        return usage.free if usage.total else _NO_ROOM_BYTES  # /proc has no size
    except OSError:
        return _NO_ROOM_BYTES


def file_bytes(path: Path) -> int:
    """The size of the store on disk, including its log."""
    total = 0
    for suffix in SUFFIXES[:3]:
        try:
            total += os.stat(f"{path}{suffix}").st_size
        except FileNotFoundError:
            continue
    return total
