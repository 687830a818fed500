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
    """The store's file is damaged, or was made by another program, so that it cannot be used as it is."""


# Pages of 16 kB hold responses of 8 kB (packed 3) in a fifth less room, but an insert, which writes a page of every
# index, takes a tenth longer; pages of 4 kB gain nothing.
PAGE_BYTES = 8192
CHECKPOINT_PAGES = 4000  # 32 MB of log: a quarter more single inserts a second than with SQLite's 1000 pages
WAL_BYTES = 64 * 2**20  # what is left of a log that a long reader made long

SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Of the files of a store: its own, and what SQLite keeps beside it."""

_LEAST_BYTES = 512  # of a database: a page of the smallest size
_NO_ROOM_BYTES = 2**20
# How a rollback journal ends that names a super-journal, which SQLite 3 deletes after a rollback.
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
    """A connection to a file that may be a stranger's: nothing in its schema is run, and nothing is written yet.

    A text that is not UTF-8 comes as bytes, so that a damaged row can be named and passed over.

    Raises:
        RunError: if the folder cannot be written, the file is no database, or something beside it is no file of SQLite.
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
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file; an old one keeps its own
        except BaseException:
            db.close()  # nobody else can
            raise
    return db


def share(db: sqlite3.Connection, path: Path) -> None:
    """Write-ahead mode, which lets any number of readers and one writer at a time share the file."""
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
    """Refuse what SQLite would follow out of the folder: a link, or a journal that names a file to be deleted."""
    if os.path.exists(path) and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise RunError(f"{path}: is {what}, and the store is to lie there", "set `ITS_HOME` to another folder")
    if os.path.exists(path) and 0 < path.stat().st_size < _LEAST_BYTES:  # SQLite would take it for a new one
        raise damaged(path, "file is not a database")
    real = os.path.realpath(path)  # SQLite keeps its logs there
    for suffix in SUFFIXES[1:]:
        beside = Path(real + suffix)
        if os.path.lexists(beside) and (beside.is_symlink() or not beside.is_file()):
            raise RunError(f"{beside}: is no regular file, as a log of the store is", "look at it, and remove it")
    with contextlib.suppress(FileNotFoundError), open(f"{real}-journal", "rb") as journal:
        journal.seek(max(0, os.fstat(journal.fileno()).st_size - len(_SUPER_JOURNAL)))
        if journal.read() == _SUPER_JOURNAL:
            raise RunError(
                f"{real}-journal: names another file, which SQLite would delete; no journal of a store does",
                "the store was not written by ITS alone: remove the journal if you trust the rest",
            )


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
def limited(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Let statements that walk a whole table take no longer than a slow disk would.

    The pages of a forged file may lead to each other again and again, so that a table of three pages has 10^50 rows.
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
    # Where SQLite cannot grow one of the files beside the store it says no more than `disk I/O error`.
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _free_bytes(path) < _NO_ROOM_BYTES:
        return _full(path)
    if code == sqlite3.SQLITE_INTERRUPT:
        return RunError(
            f"{path}: reading it takes longer than any store of its size: its pages are damaged, or the disk is busy",
            "`its store verify` tells which",
        )
    if code in _DAMAGE:
        return damaged(path, str(error))
    if is_busy(error):
        return RunError(
            f"{path}: another process has kept the store locked for more than {BUSY_SECONDS:.0f} s",
            "is one stopped, or copying the file? end it, or wait, and run again",
        )
    if isinstance(error, sqlite3.OperationalError) and code is not None:
        return RunError(f"{path}: {error}", "is the folder writable, and on a local disk?")
    return None


def damaged(path: Path, what: str) -> DamagedError:
    """The error of a file that cannot be used as it is."""
    return DamagedError(
        f"{path}: the store is damaged: {what}",
        "`its store export saved.zst` saves what can be read; then move it away and "
        "`its store import saved.zst`; what is lost is asked again",
    )


def _full(path: Path) -> RunError:
    return RunError(f"{path}: no space left on the disk", "free some space and run again; what was stored is kept")


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code; None for what the Python module raises by itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _free_bytes(path: Path) -> int:
    try:
        usage = shutil.disk_usage(path.parent)
        return usage.free if usage.total else _NO_ROOM_BYTES  # /proc has no size
    except OSError:
        return _NO_ROOM_BYTES


def file_bytes(path: Path) -> int:
    """What the store takes on the disk, with its log."""
    total = 0
    for suffix in SUFFIXES[:3]:
        try:
            total += os.stat(f"{path}{suffix}").st_size
        except FileNotFoundError:
            continue
    return total
