"""The rows of a writing transaction: sessions, prompts and responses, each stored once."""

from __future__ import annotations

import sqlite3

from its.store.bodies import Packer, checksum

_RESPONSE = (
    "INSERT INTO responses (key, session, prompt, details, created, checksum, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_FIRST_STAYS = f"{_RESPONSE} ON CONFLICT (key) DO NOTHING"
_OLDER_STAYS = (
    f"{_RESPONSE} ON CONFLICT (key) DO UPDATE SET created = excluded.created, checksum = excluded.checksum, "
    "body = excluded.body WHERE excluded.created < created"
)


def insert_session(db: sqlite3.Connection, sha256: str, identity: str, about: str) -> int:
    """The id of a session; its identity and labels are written where it is new."""
    db.execute(
        "INSERT INTO sessions (sha256, identity, about) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (sha256, identity, about),
    )
    found = session_id(db, sha256)
    assert found is not None
    return found


def session_id(db: sqlite3.Connection, sha256: str) -> int | None:
    """The id of a stored session."""
    row = db.execute("SELECT id FROM sessions WHERE sha256 = ?", (sha256,)).fetchone()
    return None if row is None else int(row[0])


def insert_prompt(db: sqlite3.Connection, packer: Packer, sha256: bytes, prompt: str) -> int:
    """The id of a prompt in canonical JSON, written where it is new."""
    found = _prompt_id(db, sha256)
    return _new_prompt(db, sha256, packer.pack(prompt.encode("utf-8", "surrogatepass"))) if found is None else found


def insert_packed_prompt(db: sqlite3.Connection, sha256: bytes, body: bytes) -> int:
    """The id of a prompt, written where it is new."""
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
    db: sqlite3.Connection,
    key: bytes,
    session: int,
    prompt: int,
    details: str,
    created: int,
    body: bytes,
    older_stays: bool = False,
) -> bool:
    """Insert a packed response; whether its key was new. The one that is there stays.

    Args:
        older_stays: the one that was made first stays, whichever came first.
    """
    row = (key, session, prompt, details, created, checksum(key, body), body)
    return db.execute(_OLDER_STAYS if older_stays else _FIRST_STAYS, row).rowcount == 1
