"""Look at every byte of a store and name what is damaged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from its.store.bodies import checksum, decode
from its.store.connection import explained, is_damage, writing
from its.store.database import SessionInfo, Store
from its.store.keys import join_key, prompt_sha256, session_sha256
from its.store.salvage import explained_rows, last_id

MAX_PAGE_FAULTS = 100
_LAST_SECOND = 2**36  # of the year 4147; no checksum covers when a response was made
_COLUMNS = "key, session, prompt, details, created, checksum, body"
_SAVE = "unless `--repair` mends it: export what can be read, move the store away, import"


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong.

    Args:
        what: in words.
        key: of the response, None where it is not known or the fault is not a response's.
        session: label of its session.
        repaired: whether it was put right: a row deleted so that it is asked again, an index built anew.
    """

    what: str
    key: str | None = None
    session: str | None = None
    repaired: bool = False


def verify_store(
    store: Store, repair: bool = False, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Damage]:
    """Yield all damage: of the file's pages, of sessions and prompts, of responses.

    A response is sound if its body has its checksum, unpacks and parses, and its key is that of its session, its prompt
    and its details. Other processes may go on using the store.

    Args:
        repair: delete damaged rows, in transactions of their own. Damaged pages cannot be repaired in place.
        progress: is told (responses done, at most so many) now and then.
    """
    yield from _page_faults(store, repair)
    sessions: dict[int, tuple[str, str]] = {}
    yield from _session_faults(store, sessions)
    bad_prompts: dict[int, bytes] = {}
    yield from _prompt_faults(store, bad_prompts, repair)
    yield from _response_faults(store, sessions, bad_prompts, repair, progress)


def _page_faults(store: Store, repair: bool) -> Iterator[Damage]:
    faults = left = _integrity(store)
    if faults and repair:
        with explained(store.path):
            try:
                store.db.execute("REINDEX")
            except sqlite3.DatabaseError as error:
                if not is_damage(error) and not isinstance(error, sqlite3.IntegrityError):
                    raise
        left = _integrity(store)
    for fault in faults:
        if fault not in left:
            yield Damage(f"the file: {fault}", repaired=True)
    for fault in left:
        yield Damage(f"the file: {fault}; {_SAVE}")


def _integrity(store: Store) -> list[str]:
    with explained(store.path):
        try:
            rows = store.db.execute(f"PRAGMA integrity_check({MAX_PAGE_FAULTS})").fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return [str(error)]
    # One row may hold several lines, the first of which names the database.
    lines = [line for (text,) in rows for line in text.splitlines() if not line.startswith("*** in database")]
    return [] if lines == ["ok"] else lines


def _session_faults(store: Store, sessions: dict[int, tuple[str, str]]) -> Iterator[Damage]:
    """Fill `sessions` with (hash, label) by id."""
    lost: list[int] = []
    for row_id, sha256, identity, about in explained_rows(
        store.db, store.path, "sessions", "sha256, identity, about", lost.append
    ):
        label = sha256[:12]
        try:
            session = SessionInfo(sha256, json.loads(identity), json.loads(about), 0)
            label = session.label
            if session_sha256(session.identity) != sha256:
                raise ValueError("another hash")
        except (ValueError, AttributeError):
            what = f"the session `{sha256}`: its identity or labels are damaged; the next run with it writes them anew"
            yield Damage(what, session=label)
        sessions[row_id] = sha256, label
    yield from _unread(lost, "sessions")


def _prompt_faults(store: Store, bad: dict[int, bytes], repair: bool) -> Iterator[Damage]:
    """Fill `bad` with the bodies of damaged prompts by id."""
    lost: list[int] = []
    for row_id, sha256, body in explained_rows(store.db, store.path, "prompts", "sha256, body", lost.append):
        try:
            text = store.packer.unpack(body).decode("utf-8", "surrogatepass")
            if prompt_sha256(text) == sha256.hex():
                continue
        except ValueError:
            pass
        bad[row_id] = body
        yield Damage(f"the prompt `{sha256.hex()}`: its content does not fit its hash", repaired=repair)
    yield from _unread(lost, "prompts")


def _response_faults(
    store: Store,
    sessions: dict[int, tuple[str, str]],
    bad_prompts: dict[int, bytes],
    repair: bool,
    progress: Callable[[int, int], None],
) -> Iterator[Damage]:
    lost: list[int] = []
    with explained(store.path):
        total = last_id(store.db, "responses")
    done = 0
    for row_id, *row in explained_rows(store.db, store.path, "responses", _COLUMNS, lost.append):
        done += 1
        if done % 1000 == 0:
            progress(done, total)
        key, session, prompt = row[:3]
        what = "its prompt is damaged" if prompt in bad_prompts else None
        with explained(store.path):
            what = what or _fault(store, row)
            if what is None:
                continue
            repaired = repair and (prompt in bad_prompts or _delete(store, row_id))
        yield Damage(what, key.hex(), sessions.get(session, (None, None))[1], repaired)
    if repair and bad_prompts:
        # At once: a damaged prompt must not be found by its hash and get another response in between.
        with explained(store.path), writing(store.db):
            numbers = ",".join(map(str, bad_prompts))
            store.db.execute(f"DELETE FROM responses WHERE prompt IN ({numbers})")
            store.db.executemany("DELETE FROM prompts WHERE id = ? AND body = ?", bad_prompts.items())
    yield from _unread(lost, "responses")


def _delete(store: Store, row_id: int) -> bool:
    """Delete a row that is still damaged: other processes may have put things right meanwhile."""
    try:
        with writing(store.db):
            row = store.db.execute(f"SELECT {_COLUMNS} FROM responses WHERE id = ?", (row_id,)).fetchone()
            if row is not None and _fault(store, row):
                store.db.execute("DELETE FROM responses WHERE id = ?", (row_id,))
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False
    return True


def _fault(store: Store, row: Sequence[Any]) -> str | None:
    key, session, prompt, details, created, told, body = row
    if checksum(key, body) != told:
        return "its body does not have its checksum"
    try:
        decode(store.packer.unpack(body))
    except ValueError as error:
        return f"its body cannot be read: {error}"
    if not isinstance(created, int) or not 0 <= created < _LAST_SECOND:
        return "its date is damaged"
    hashes = []
    for table, row_id in (("session", session), ("prompt", prompt)):
        try:
            found = store.db.execute(f"SELECT sha256 FROM {table}s WHERE id = ?", (row_id,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return f"its {table} is on a damaged page"
        if found is None:
            return f"its {table} is missing"
        hashes.append(found[0])
    if join_key(hashes[0], hashes[1].hex(), details) != key.hex():
        return "its key is not that of its session, prompt and details"
    return None


def _unread(lost: list[int], kind: str) -> Iterator[Damage]:
    if lost:
        yield Damage(f"up to {len(lost)} {kind} on damaged pages cannot be read; {_SAVE}")
