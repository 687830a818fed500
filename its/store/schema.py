"""Schema 2 of the store, made in a new file or out of an older one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from its.errors import RunError
from its.store.connection import is_busy, writing
from its.store.migrate import migrate

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


def prepare(db: sqlite3.Connection, path: Path, say: Callable[[str], None]) -> None:
    """Make the tables if there are none, carry over those of schema 1; several processes may do it at once.

    Raises:
        RunError: if the file is of a later schema.
    """
    told = False
    while _version(db) != SCHEMA_VERSION:
        if _version(db) > SCHEMA_VERSION:
            raise RunError(
                f"{path}: the store has schema {_version(db)}, this version of ITS reads {SCHEMA_VERSION}",
                "update ITS",
            )
        try:
            with writing(db):
                _upgrade(db, path, say)
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            if not told:  # a large store takes longer than a lock is waited for
                say(f"{path}: waiting for another process that brings the store to schema {SCHEMA_VERSION}")
                told = True


def _upgrade(db: sqlite3.Connection, path: Path, say: Callable[[str], None]) -> None:
    if _version(db) >= SCHEMA_VERSION:
        return  # another process was first
    old = [row[1] for row in db.execute("PRAGMA table_info(responses)")]
    if old:
        # Schema 1 wrote its version after its table; a process killed between the two left version 0.
        db.execute("ALTER TABLE responses RENAME TO responses_1")
    for statement in TABLES.strip().split(";"):
        db.execute(statement)
    if old:
        migrate(db, path, say)
        db.execute("DROP TABLE responses_1")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
