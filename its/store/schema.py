"""Schema 2 of the store: created in a new file, checked in an existing one."""

from __future__ import annotations

import contextlib
import sqlite3
from functools import lru_cache
from pathlib import Path

from its.errors import RunError
from its.shown import quoted
from its.store.connection import DamagedError, writing

SCHEMA_VERSION = 2

# A prompt is sent to many checkpoints, and many times, so it is stored once. `details` is canonical JSON of the other
# determinants of the request, `created` is in seconds since 1970. Rows are in the order of insertion; those that are
# read together were mostly written together.
TABLES = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, identity TEXT NOT NULL, about TEXT NOT NULL
);
CREATE TABLE prompts (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE responses (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, session INTEGER NOT NULL, prompt INTEGER NOT NULL,
    details TEXT NOT NULL, created INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX responses_by_session ON responses (session, created);
CREATE TABLE claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
"""


_PLAUSIBLE = 100  # a schema number from here on, below 1, or beside our own tables is damage

_Schema = frozenset[tuple[object, ...]]
"""(type, name, table, statement) of every object in a database."""


def make_tables(db: sqlite3.Connection) -> None:
    """Create the tables of a store in an empty database."""
    for statement in TABLES.strip().split(";"):
        db.execute(statement)


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables in an empty file; several processes may do it at once.

    Raises:
        RunError: as of `check_schema`.
    """
    if _version(db) == SCHEMA_VERSION:
        return
    with writing(db):
        check_schema(db, path)
        if not _objects(db):
            make_tables(db)  # else another process was first, or the number is damaged
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def check_schema(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file with other tables or anything beside them: an untrusted trigger or view must not run later.

    Raises:
        RunError: if the file has another schema, or holds anything that a store does not.
    """
    version, found = _version(db), _objects(db)
    ours = _created_objects()
    if SCHEMA_VERSION < version < _PLAUSIBLE or (0 < version < SCHEMA_VERSION and found != ours):
        raise RunError(
            f"{path}: the store has schema {version}; this version of ITS reads schema {SCHEMA_VERSION}",
            "move it away, and the next run creates a new one; to keep its responses, run `its store export saved.zst` "
            "with the version of ITS that wrote it, then `its store import saved.zst` with this one",
        )
    if found and found != ours:
        kind, name, *_ = min(found - ours or ours - found, key=str)  # the first that is wrong
        raise DamagedError(
            f"{path}: not a store of ITS, or damaged: its {quoted(kind)} `{quoted(name)}` is not as ITS creates it",
            "`its store export saved.zst` saves what can be read; then move it away and `its store import saved.zst`",
        )


def _objects(db: sqlite3.Connection) -> _Schema:
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return frozenset((*row[:3], " ".join(row[3].split()) if isinstance(row[3], str) else row[3]) for row in rows)


@lru_cache
def _created_objects() -> _Schema:
    """The schema as SQLite itself records it for our statements."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        make_tables(db)
        return _objects(db)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
