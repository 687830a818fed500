"""Remove from a store what nothing needs any more, and compact its file."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

from its.errors import MissingError, RunError
from its.store.claims import NO_OWNER, is_alive, owners
from its.store.connection import explained, file_bytes, is_busy, writing
from its.store.database import Store, has_checksum
from its.store.encoding import decode
from its.store.inserting import insert_keys
from its.store.recovery import is_whole

REFUSED_BYTES = 1000  # a body without text and thinking has 200
STEP = 10_000  # rows per transaction, so that other processes do not wait long to write
_GIB = 2**30


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be in a dry run; `not_compacted` is the reason if the file kept its size."""

    claims: int
    responses: int
    prompts: int
    sessions: int
    bytes_before: int
    bytes_after: int
    not_compacted: str | None


def collect_garbage(store: Store, used: Iterable[str] | None = None, dry_run: bool = False) -> Collected:
    """Remove claims of dead owners, prompts and sessions without responses; then compact the file.

    Args:
        used: keys of the responses to keep; all others are removed too. None keeps every response.
        dry_run: count, remove nothing.

    Raises:
        MissingError: if `used` is empty or names responses that are not stored, so it belongs to another store.
        RunError: with `used`, while another process is generating responses, which no row cites yet; if pages are
            damaged, since an unreadable row may need what seems unused.
    """
    before = file_bytes(store.path)
    keep = "1"
    with explained(store.path):
        if not is_whole(store.db):
            raise RunError(
                f"{store.path}: the store is damaged; nothing is removed before it is repaired",
                "`its store verify --repair`",
            )
        if used is not None:
            keep = "key IN (SELECT key FROM temp.used)"
            _check_used(store, insert_keys(store.db, "used", used))
        try:
            counts = _count(store, keep) if dry_run else _remove(store, keep)
        finally:
            store.db.execute("DROP TABLE IF EXISTS temp.used")
    why = "nothing was removed" if dry_run else _compact(store)
    return Collected(**counts, bytes_before=before, bytes_after=file_bytes(store.path), not_compacted=why)


def remove_refused(store: Store, dry_run: bool = False) -> int:
    """Delete responses without text, whose prompt a server refused, so that the next run requests them again.

    A server that takes longer prompts, or has another filter, may respond where another one refused; the key does not
    cover that.

    Returns:
        How many there were; in a dry run, how many there are.
    """
    refused: list[tuple[int]] = []
    with explained(store.path):
        last = 0
        while rows := store.db.execute(
            f"SELECT id, key, body, checksum FROM responses WHERE id > ? AND length(body) < {REFUSED_BYTES} "
            f"ORDER BY id LIMIT {STEP}",
            (last,),
        ).fetchall():
            last = rows[-1][0]
            refused += [(row[0],) for row in rows if _is_refused(store, *row[1:])]
        if not dry_run:
            with writing(store.db):
                store.db.executemany("DELETE FROM responses WHERE id = ?", refused)
    return len(refused)


def _is_refused(store: Store, key: object, body: object, stored_checksum: object) -> bool:
    if not has_checksum(key, body, stored_checksum):
        return False  # for `its store verify`
    assert isinstance(body, bytes)
    try:
        found = decode(store.packer.unpack(body))
    except ValueError:
        return False
    has_text = found.get("text") or found.get("thinking")
    return not has_text and found.get("finish_reason") not in (None, "stop", "length")


def living_owners(store: Store) -> list[str]:
    """The owners of claims other than this store that are alive, in this process or another."""
    with explained(store.path), writing(store.db):
        return [name for name in owners(store.locks) if name != store.owner and is_alive(store.locks, name)]


def _check_used(store: Store, count: int) -> None:
    if count == 0:
        raise MissingError("the study cites no responses; all would be removed", "`dvc repro` creates its rows")
    absent = store.db.execute("SELECT count(*) FROM temp.used WHERE key NOT IN (SELECT key FROM responses)").fetchone()[
        0
    ]
    if absent:
        raise MissingError(
            f"{store.path}: {absent} of {count} responses that the study cites are not in this store",
            "is this the study's home? if it is, `dvc repro -f persona generate` writes rows that cite what is stored",
        )
    if living := living_owners(store):
        raise RunError(
            f"{store.path}: {len(living)} runs are generating responses, which no row cites yet",
            "wait until they are done",
        )


def _count(store: Store, keep: str) -> dict[str, int]:
    def count(query: str) -> int:
        return int(store.db.execute(query).fetchone()[0])

    with writing(store.db):
        claims = count(f"SELECT count(*) FROM claims WHERE {NO_OWNER}")
        claimants = store.db.execute(
            f"SELECT owner, count(*) FROM claims WHERE NOT {NO_OWNER} GROUP BY owner"
        ).fetchall()
        claims += sum(number for name, number in claimants if not _lives(store, name))
    return {
        "claims": claims,
        "responses": count(f"SELECT count(*) FROM responses WHERE NOT {keep}"),
        "prompts": count(f"SELECT count(*) FROM prompts WHERE id NOT IN (SELECT prompt FROM responses WHERE {keep})"),
        "sessions": count(
            f"SELECT count(*) FROM sessions WHERE id NOT IN (SELECT session FROM responses WHERE {keep})"
        ),
    }


def _remove(store: Store, keep: str) -> dict[str, int]:
    db = store.db
    counts = {"claims": 0, "responses": 0, "prompts": 0, "sessions": 0}
    with writing(db):
        counts["claims"] += db.execute(f"DELETE FROM claims WHERE {NO_OWNER}").rowcount
        names = {row[0] for row in db.execute("SELECT DISTINCT owner FROM claims")} | set(owners(store.locks))
        for name in names:
            if not _lives(store, name):
                counts["claims"] += db.execute("DELETE FROM claims WHERE owner = ?", (name,)).rowcount
    if keep != "1":
        # Newer responses are not cited by any row yet, so they stay. Ids may be far apart, so none are enumerated.
        last = db.execute("SELECT max(id) FROM responses").fetchone()[0] or 0
        removed = STEP
        while removed == STEP:
            with writing(db):
                query = f"SELECT id FROM responses WHERE id <= ? AND NOT {keep} LIMIT {STEP}"
                removed = db.execute(f"DELETE FROM responses WHERE id IN ({query})", (last,)).rowcount
                counts["responses"] += removed
    with writing(db):
        # A response and its prompt are stored in one transaction, and `put_many` inserts a missing session again.
        query = "DELETE FROM prompts WHERE id NOT IN (SELECT prompt FROM responses)"
        counts["prompts"] = db.execute(query).rowcount
        query = "DELETE FROM sessions WHERE id NOT IN (SELECT session FROM responses)"
        counts["sessions"] = db.execute(query).rowcount
    return counts


def _lives(store: Store, name: str) -> bool:
    return name == store.owner or is_alive(store.locks, name)


def _compact(store: Store) -> str | None:
    """Rewrite the file without free pages; return the reason if that is not possible now."""
    with explained(store.path):
        db = store.db
        if db.execute("PRAGMA freelist_count").fetchone()[0] == 0:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return "it had no free pages"
        # SQLite writes the new file into its temporary folder first, and from there into the log beside the store.
        for folder in (store.path.absolute().parent, tempfile.gettempdir()):
            free = shutil.disk_usage(folder).free
            if free < 2 * file_bytes(store.path):
                wanted = 2 * file_bytes(store.path) / _GIB
                return f"{free / _GIB:.1f} GiB are free at {folder}, {wanted:.1f} GiB are needed"
        try:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            return "another process is writing to the store"
    return None
