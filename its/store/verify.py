"""Check every byte of a store, report what is damaged, and repair it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from its.shown import quoted
from its.store.connection import explained, file_bytes, is_busy, is_damage, limited, writing
from its.store.database import SessionInfo, Store
from its.store.recovery import recovered_rows
from its.store.validation import (
    MAX_SEARCHES,
    RESPONSE_COLUMNS,
    SESSION_COLUMNS,
    Session,
    check_key,
    parse_prompt,
    parse_response,
    parse_session,
    storable,
)

MAX_PAGE_FAULTS = 100
_SAVE = "if `--repair` does not fix it: export what can be read, move the store away, import"


@dataclass(frozen=True)
class Damage:
    """One fault of a store.

    Args:
        what: description.
        key: of the response; None if it is unknown or the fault is not in a response.
        session: label of its session.
        repaired: whether it was fixed: a row restored or deleted (to be generated again), an index rebuilt.
    """

    what: str
    key: str | None = None
    session: str | None = None
    repaired: bool = False


def verify_store(
    store: Store, repair: bool = False, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Damage]:
    """Yield all damage: to the file's pages, to sessions and prompts, to responses.

    A response is intact if its body matches its checksum, unpacks and parses, and its key is that of its session, its
    prompt and its details. Other processes may keep using the store.

    Args:
        repair: restore what the rest of a row determines, delete other damaged rows and rebuild indexes, each in its
            own transaction. Unreadable pages cannot be repaired in place. A session whose identity is lost is kept if
            it has responses: the next run with it restores it.
        progress: receives (responses done, an upper limit of their number) now and then.
    """
    with _tolerant(store, repair):
        faults = _integrity(store)
        if repair and faults:
            _reindex(store)
        elif not repair:
            yield from (Damage(f"the file: {fault}; {_SAVE}") for fault in faults)
        unreadable = {}
        labels, lost_sessions, unreadable["sessions"] = yield from _verify_sessions(store, repair)
        bad_prompts, unreadable["prompts"] = yield from _verify_prompts(store, repair)
        unreadable["responses"] = yield from _verify_responses(store, labels, bad_prompts, repair, progress)
        for row_id, damage in lost_sessions.items():
            yield replace(damage, repaired=repair and _forget(store, row_id))
        if repair and faults:
            yield from _page_repairs(store, faults, vacuum=not any(unreadable.values()))
        for kind, count in unreadable.items():
            if count:
                yield Damage(f"up to {count} {kind} on damaged pages cannot be read; {_SAVE}")


@contextmanager
def _tolerant(store: Store, repair: bool) -> Iterator[None]:
    """Let rows be deleted that a damaged index does not list; SQLite reports that as damage if the schema is closed."""
    if not repair:
        yield
        return
    with explained(store.path):
        store.db.execute("PRAGMA writable_schema = ON")
    try:
        yield
    finally:
        with suppress(sqlite3.ProgrammingError):  # the store was closed before the iteration ended
            store.db.execute("PRAGMA writable_schema = OFF")


def _page_repairs(store: Store, faults: list[str], vacuum: bool) -> Iterator[Damage]:
    """Repair the indexes after the rows and, where `vacuum` allows it since all rows could be read, the file itself."""
    _reindex(store)
    left = _integrity(store)
    if left and vacuum and shutil.disk_usage(store.path.absolute().parent).free > 2 * file_bytes(store.path):
        _try(store, "VACUUM", or_busy=True)  # pages that belong to nothing
        left = _integrity(store)
    for fault in faults:
        if fault not in left:
            yield Damage(f"the file: {fault}", repaired=True)
    for fault in left:
        yield Damage(f"the file: {fault}; {_SAVE}")


def _reindex(store: Store) -> None:
    if isinstance(_try(store, "REINDEX"), sqlite3.IntegrityError):
        # Two rows share a key, which only a damaged or forged index permits. The first stays.
        for table, column in (("responses", "key"), ("prompts", "sha256"), ("sessions", "sha256")):
            first = f"SELECT min(id) FROM {table} NOT INDEXED GROUP BY {column}"
            _try(store, f"DELETE FROM {table} WHERE id NOT IN ({first})")
        _try(store, "REINDEX")


def _try(store: Store, statement: str, or_busy: bool = False) -> sqlite3.Error | None:
    """Run a statement; return the error if damage stopped it, or (with `or_busy`) another process."""
    with explained(store.path):
        try:
            with limited(store.db, store.path):
                store.db.execute(statement)
        except sqlite3.DatabaseError as error:
            if not (is_damage(error) or (or_busy and is_busy(error))):
                raise
            return error
    return None


def _integrity(store: Store) -> list[str]:
    with explained(store.path):
        try:
            rows = store.db.execute(f"PRAGMA integrity_check({MAX_PAGE_FAULTS})").fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return [str(error)]
    # One row may hold several lines, the first of which names the database.
    lines = [line for (text,) in rows for line in _lines(text) if not line.startswith("*** in database")]
    return [] if lines == ["ok"] else lines


def _lines(text: object) -> list[str]:
    return [quoted(line, 200) for line in (text if isinstance(text, str) else quoted(text, 200)).splitlines()]


def _verify_sessions(
    store: Store, repair: bool
) -> Generator[Damage, None, tuple[dict[object, str], dict[int, Damage], int]]:
    """Yield damaged sessions; return (label by id, the damage of those that are lost, how many are unreadable)."""
    labels: dict[object, str] = {}
    lost: dict[int, Damage] = {}
    unreadable = searches = 0
    for row_id, row in recovered_rows(store.db, store.path, "sessions", SESSION_COLUMNS):
        if row is None:
            unreadable += 1
            continue
        name = f"the session `{quoted(row[0], 64)}`"
        try:
            session = parse_session(row, search=repair and searches < MAX_SEARCHES)
        except ValueError:
            searches += 1
            labels[row_id] = quoted(row[0], 12)
            what = f"{name}: its identity or labels are damaged; the next run with it restores them"
            lost[row_id] = Damage(what, session=labels[row_id])
            continue
        labels[row_id] = SessionInfo(session.sha256, session.identity, session.about, 0).label
        if session.fault is not None:
            searches += 1
            repaired = repair and _restore(store, row_id, session)
            yield Damage(f"{name}: {session.fault}", session=labels[row_id], repaired=repaired)
    return labels, lost, unreadable


def _forget(store: Store, row_id: int) -> bool:
    """Delete a lost session unless it has responses, which a later run with the same identity finds again."""

    def change(db: sqlite3.Connection) -> bool:
        for column, nothing in (("identity", ""), ("about", "{}")):  # SQLite takes `IS NULL` to be false here
            query = f"UPDATE sessions SET {column} = ? WHERE id = ? AND typeof({column}) = 'null'"
            db.execute(query, (nothing, row_id))
        query = "DELETE FROM sessions WHERE id = ? AND NOT EXISTS (SELECT 1 FROM responses WHERE session = sessions.id)"
        return db.execute(query, (row_id,)).rowcount == 1

    return _changed(store, change)


def _restore(store: Store, row_id: int, session: Session) -> bool:
    """Restore the columns of a session; if a run has stored it again since, that row takes its responses."""

    def change(db: sqlite3.Connection) -> bool:
        row = db.execute(f"SELECT {SESSION_COLUMNS} FROM sessions WHERE id = ?", (row_id,)).fetchone()
        twin = db.execute("SELECT id FROM sessions WHERE sha256 = ? AND id <> ?", (session.sha256, row_id)).fetchone()
        if twin is not None:
            db.execute("UPDATE responses SET session = ? WHERE session = ?", (twin[0], row_id))
            db.execute("DELETE FROM sessions WHERE id = ?", (row_id,))
        elif row is not None:
            columns = (session.sha256, session.text, storable(session.about), row_id)
            db.execute("UPDATE sessions SET sha256 = ?, identity = ?, about = ? WHERE id = ?", columns)
        return True

    return _changed(store, change)


def _verify_prompts(store: Store, repair: bool) -> Generator[Damage, None, tuple[set[int], int]]:
    """Yield damaged prompts; return (the ids of those that are lost, how many are unreadable)."""
    lost: set[int] = set()
    unreadable = 0
    for row_id, row in recovered_rows(store.db, store.path, "prompts", "sha256, body"):
        if row is None:
            unreadable += 1
            continue
        sha256, body = row
        name = f"the prompt `{sha256.hex() if isinstance(sha256, bytes) else quoted(sha256)}`"
        try:
            digest, _ = parse_prompt(store.packer, sha256, body)
        except ValueError:
            lost.add(row_id)
            yield Damage(f"{name}: its content does not match its hash", repaired=repair)
            continue
        if not isinstance(sha256, bytes) or sha256.hex() != digest:
            yield Damage(f"{name}: its hash is damaged", repaired=repair and _restore_prompt(store, row_id, digest))
    return lost, unreadable


def _restore_prompt(store: Store, row_id: int, digest: str) -> bool:
    def change(db: sqlite3.Connection) -> bool:
        sha256 = bytes.fromhex(digest)
        twin = db.execute("SELECT id FROM prompts WHERE sha256 = ? AND id <> ?", (sha256, row_id)).fetchone()
        if twin is not None:
            db.execute("UPDATE responses SET prompt = ? WHERE prompt = ?", (twin[0], row_id))
            db.execute("DELETE FROM prompts WHERE id = ?", (row_id,))
        else:
            db.execute("UPDATE prompts SET sha256 = ? WHERE id = ?", (sha256, row_id))
        return True

    return _changed(store, change)


def _verify_responses(
    store: Store,
    labels: dict[object, str],
    bad_prompts: set[int],
    repair: bool,
    progress: Callable[[int, int], None],
) -> Generator[Damage, None, int]:
    """Yield damaged responses; return how many are unreadable."""
    unreadable = done = 0
    total = _last_response_id(store)
    for row_id, row in recovered_rows(store.db, store.path, "responses", RESPONSE_COLUMNS):
        if row is None:
            unreadable += 1
            continue
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
        yield Damage(what, key.hex() if isinstance(key, bytes) else None, labels.get(session), repaired)
    if repair and bad_prompts:
        _delete_prompts(store, bad_prompts)
    return unreadable


def _last_response_id(store: Store) -> int:
    """The largest id, for the progress; 0 where there is none or it cannot be read."""
    with explained(store.path):
        try:
            return store.db.execute("SELECT max(id) FROM responses").fetchone()[0] or 0
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return 0


def _delete_prompts(store: Store, bad: set[int]) -> None:
    """Delete lost prompts with their responses in one transaction, so that no new response refers to one of them."""

    def change(db: sqlite3.Connection) -> bool:
        for row_id in bad:
            row = db.execute("SELECT sha256, body FROM prompts WHERE id = ?", (row_id,)).fetchone()
            if row is None:
                continue
            try:
                parse_prompt(store.packer, *row)
            except ValueError:
                db.execute("DELETE FROM prompts WHERE id = ?", (row_id,))
        db.execute("DELETE FROM responses WHERE prompt NOT IN (SELECT id FROM prompts)")
        return True

    _changed(store, change)


def _delete(store: Store, row_id: int) -> bool:
    """Delete a row if it is still damaged: another process may have repaired it since."""

    def change(db: sqlite3.Connection) -> bool:
        row = db.execute(f"SELECT {RESPONSE_COLUMNS} FROM responses WHERE id = ?", (row_id,)).fetchone()
        if row is not None and _fault(store, row):
            db.execute("DELETE FROM responses WHERE id = ?", (row_id,))
        return True

    return _changed(store, change)


def _changed(store: Store, change: Callable[[sqlite3.Connection], bool]) -> bool:
    """Run a change as one transaction; False if a damaged page prevents it."""
    with explained(store.path):
        try:
            with limited(store.db, store.path), writing(store.db):
                return change(store.db)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return False


def _fault(store: Store, row: Sequence[Any]) -> str | None:
    try:
        parse_response(store.packer, row)
        key, session, prompt, details = row[:4]
        hashes = []
        for table, row_id in (("session", session), ("prompt", prompt)):
            found = store.db.execute(f"SELECT sha256 FROM {table}s WHERE id = ?", (row_id,)).fetchone()
            if found is None:
                return f"its {table} is missing"
            hashes.append(found[0].hex() if isinstance(found[0], bytes) else str(found[0]))
        check_key(key, hashes[0], hashes[1], details)
    except ValueError as error:
        return str(error)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return "its session or its prompt is on a damaged page"
    return None
