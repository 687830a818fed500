"""Statistics of a store: counts, sizes and dates, in all and by session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from its.shown import quoted
from its.store.connection import explained, file_bytes, limited
from its.store.database import CHUNK, DamagedSession, SessionInfo, Store
from its.store.schema import SCHEMA_VERSION
from its.store.validation import LAST_SECOND

SAMPLE = 1000  # bodies read for their size: all of a million would be gigabytes


def store_stats(store: Store) -> dict[str, Any]:
    """Counts, bytes on disk including the log, the first and the last day, and the responses of each session.

    `compression` is unpacked / stored bytes of the responses, estimated from a sample of a thousand.
    """
    with explained(store.path), limited(store.db, store.path):
        responses, first, last = store.db.execute(
            "SELECT count(*), min(created), max(created) FROM responses"
        ).fetchone()
        prompts = store.db.execute("SELECT count(*) FROM prompts").fetchone()[0]
        claims = store.db.execute("SELECT count(*) FROM claims").fetchone()[0]
        compression = _compression(store)
    sessions = [_summary(session) for session in store.all_sessions()]  # one whole identity at a time
    return {
        "path": str(store.path),
        "schema": SCHEMA_VERSION,
        "responses": responses,
        "prompts": prompts,
        "sessions": len(sessions),
        "bytes": file_bytes(store.path),
        "compression": compression,
        "first": _day(first),
        "last": _day(last),
        "claims": claims,
        "by_session": sessions,
    }


def count_by_session(store: Store, keys: Iterable[str]) -> dict[str, int]:
    """How many of the keys are responses of each session, by its hash; keys that are not stored are not counted."""
    wanted = [bytes.fromhex(key) for key in dict.fromkeys(keys)]
    found: Counter[str] = Counter()
    with explained(store.path):
        for start in range(0, len(wanted), CHUNK):
            chunk = wanted[start : start + CHUNK]
            marks = ",".join("?" * len(chunk))
            counted = store.db.execute(
                "SELECT sha256, count(*) FROM responses JOIN sessions ON sessions.id = session "
                f"WHERE key IN ({marks}) GROUP BY sha256",
                chunk,
            ).fetchall()
            found.update({sha256: count for sha256, count in counted if isinstance(sha256, str)})
    return dict(found.most_common())


def _summary(session: SessionInfo | DamagedSession) -> dict[str, Any]:
    if isinstance(session, DamagedSession):
        return {"session": None, "model": "damaged", "engine": None, "responses": session.responses}
    engine = session.identity.get("engine")
    return {
        "session": session.sha256,
        "model": session.label,
        "engine": None if engine is None else quoted(engine),
        "responses": session.responses,
    }


def _compression(store: Store) -> float | None:
    last = store.db.execute("SELECT max(id) FROM responses").fetchone()[0] or 0
    step = max(1, last // SAMPLE)
    stored = raw = 0
    for row_id in range(1, last + 1, step):
        row = store.db.execute("SELECT body FROM responses WHERE id = ?", (row_id,)).fetchone()
        if row is not None and isinstance(row[0], bytes):
            stored += len(row[0])
            raw += store.packer.unpacked_bytes(row[0])
    return round(raw / stored, 2) if stored else None


def _day(seconds: object) -> str | None:
    if type(seconds) is not int or not 0 <= seconds < LAST_SECOND:
        return None  # the store is empty, or the date is damaged: `its store verify` names its row
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
