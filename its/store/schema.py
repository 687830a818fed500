"""Schema 2 of the store, made in a new file or out of an older one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from its.errors import RunError
from its.store.connection import DamagedError, is_busy, writing
from its.store.migrate import migrate
from its.store.sound import quoted

SCHEMA_VERSION = 2

# A prompt is asked of many checkpoints and many times, so it is stored once. `details` is canonical JSON of the
# request's other determinants, `created` is in seconds since 1970. Rows lie in the order in which they came; those that
# are read together were mostly written together.
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


_TABLES_1 = (
    "CREATE TABLE responses "
    "(key TEXT PRIMARY KEY, request TEXT NOT NULL, response TEXT NOT NULL, created TEXT NOT NULL) WITHOUT ROWID"
)
_PLAUSIBLE = 100  # another number of a schema is damage; a store is known by its tables

_Schema = frozenset[tuple[object, ...]]
"""(type, name, table, statement) of all that a database holds."""


def make_tables(db: sqlite3.Connection, tables: str = TABLES) -> None:
    """The tables of a store in an empty database."""
    for statement in tables.strip().split(";"):
        db.execute(statement)


def prepare(db: sqlite3.Connection, path: Path, say: Callable[[str], None]) -> None:
    """Make the tables if there are none, carry over those of schema 1; several processes may do it at once.

    Raises:
        RunError: if the file is of a later schema, or holds anything that no store of ITS does.
    """
    told = False
    while _version(db) != SCHEMA_VERSION:
        try:
            with writing(db):
                _upgrade(db, path, say)
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            if not told:  # a large store takes longer than a lock is waited for
                say(f"{path}: waiting for another process that brings the store to schema {SCHEMA_VERSION}")
                told = True


def check_schema(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that holds more than a store, or other tables: a stranger's trigger or view must not be met later.

    Raises:
        RunError: if the file is of a later schema, or holds anything that no store of ITS does.
    """
    version = _version(db)
    if SCHEMA_VERSION < version < _PLAUSIBLE:
        raise RunError(
            f"{path}: the store has schema {version}, this version of ITS reads {SCHEMA_VERSION}", "update ITS"
        )
    found = _held(db)
    if found and found not in (_made(TABLES), _made(_TABLES_1)):
        # Of what is not as it should be, the first.
        kind, name, *_ = min(found - _made(TABLES) or _made(TABLES) - found, key=str)
        raise DamagedError(
            f"{path}: is no store of ITS, or damaged: its {quoted(kind)} `{quoted(name)}` is not as ITS makes it",
            "`its store export saved.zst` saves what can be read; then move it away and `its store import saved.zst`",
        )


def _upgrade(db: sqlite3.Connection, path: Path, say: Callable[[str], None]) -> None:
    check_schema(db, path)
    found = _held(db)
    if found == _made(TABLES):  # another process was first, or the number is damaged
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return
    if found:
        # Schema 1 wrote its version after its table; a process killed between the two left version 0.
        db.execute("ALTER TABLE responses RENAME TO responses_1")
    make_tables(db, TABLES)
    if found:
        migrate(db, path, say)
        db.execute("DROP TABLE responses_1")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _held(db: sqlite3.Connection) -> _Schema:
    rows = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return frozenset((*row[:3], " ".join(row[3].split()) if isinstance(row[3], str) else row[3]) for row in rows)


@lru_cache
def _made(tables: str) -> _Schema:
    """What SQLite itself makes of our statements."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        make_tables(db, tables)
        return _held(db)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
