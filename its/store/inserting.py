"""Insert sessions, prompts and responses, each once, within a write transaction of the caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from its.store.encoding import Packer, checksum


def insert_session(db: sqlite3.Connection, sha256: str, identity: str, about: str) -> int:
    """Insert a session with its identity and labels if it is new, and return its id."""
    db.execute(
        "INSERT INTO sessions (sha256, identity, about) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (sha256, identity, about),
    )
    found = session_id(db, sha256)
    assert found is not None
    return found


def session_id(db: sqlite3.Connection, sha256: str) -> int | None:
    """The id of a stored session; None if it is not stored."""
    row = db.execute("SELECT id FROM sessions WHERE sha256 = ?", (sha256,)).fetchone()
    return None if row is None else int(row[0])


def insert_prompt(db: sqlite3.Connection, packer: Packer, sha256: bytes, prompt: str) -> int:
    """Insert a prompt in canonical JSON if it is new, and return its id."""
    found = _prompt_id(db, sha256)
    return _new_prompt(db, sha256, packer.pack(prompt.encode("utf-8", "surrogatepass"))) if found is None else found


def insert_packed_prompt(db: sqlite3.Connection, sha256: bytes, body: bytes) -> int:
    """Insert a packed prompt if it is new, and return its id."""
    found = _prompt_id(db, sha256)
    return _new_prompt(db, sha256, body) if found is None else found


def _prompt_id(db: sqlite3.Connection, sha256: bytes) -> int | None:
    row = db.execute("SELECT id FROM prompts WHERE sha256 = ?", (sha256,)).fetchone()
    return None if row is None else int(row[0])


def _new_prompt(db: sqlite3.Connection, sha256: bytes, body: bytes) -> int:
    row_id = db.execute("INSERT INTO prompts (sha256, body) VALUES (?, ?)", (sha256, body)).lastrowid
    assert row_id is not None
    return row_id


def insert_response(
    db: sqlite3.Connection, key: bytes, session: int, prompt: int, details: str, created: int, body: bytes
) -> bool:
    """Insert a packed response and return whether its key was new; a stored one is left as it is."""
    row = (key, session, prompt, details, created, checksum(key, body), body)
    return (
        db.execute(
            "INSERT INTO responses (key, session, prompt, details, created, checksum, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            row,
        ).rowcount
        == 1
    )


def insert_keys(db: sqlite3.Connection, table: str, keys: Iterable[str]) -> int:
    """Put keys into a new temporary table, which may outgrow memory, and return how many different ones there are."""
    db.execute(f"DROP TABLE IF EXISTS temp.{table}")
    db.execute(f"CREATE TEMP TABLE {table} (key BLOB PRIMARY KEY) WITHOUT ROWID")
    db.executemany(f"INSERT OR IGNORE INTO temp.{table} VALUES (?)", ((bytes.fromhex(key),) for key in keys))
    return int(db.execute(f"SELECT count(*) FROM temp.{table}").fetchone()[0])
