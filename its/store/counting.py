"""What the store holds, in numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from its.store.connection import explained, file_bytes
from its.store.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from its.store.database import Store

SAMPLE = 1000  # bodies looked at for their size: all of a million would be gigabytes


def stats(store: Store) -> dict[str, Any]:
    """Counts, bytes on the disk with the log, the first and the last day, and what each session has.

    `compression` is how many times longer the bodies are than what is stored of them, by a sample of a thousand.
    """
    with explained(store.path):
        responses, first, last = store.db.execute(
            "SELECT count(*), min(created), max(created) FROM responses"
        ).fetchone()
        prompts = store.db.execute("SELECT count(*) FROM prompts").fetchone()[0]
        claims = store.db.execute("SELECT count(*) FROM claims").fetchone()[0]
        compression = _compression(store)
    sessions = store.sessions()
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
        "by_session": [
            {
                "session": session.sha256,
                "model": session.label,
                "engine": session.identity.get("engine"),
                "responses": session.responses,
            }
            for session in sessions
        ],
    }


def _compression(store: Store) -> float | None:
    last = store.db.execute("SELECT max(id) FROM responses").fetchone()[0] or 0
    step = max(1, last // SAMPLE)
    stored = raw = 0
    for row_id in range(1, last + 1, step):
        row = store.db.execute("SELECT body FROM responses WHERE id = ?", (row_id,)).fetchone()
        if row is not None:
            stored += len(row[0])
            raw += store.packer.unpacked_bytes(row[0])
    return round(raw / stored, 2) if stored else None


def _day(seconds: int | None) -> str | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return None  # a damaged date; `its store verify` names its row
