"""Every response that any engine ever gave, by what determines it: one SQLite file, committed as responses arrive.

Schema 1: `responses(key, request, response, created)`. WAL mode lets readers and one writer of several processes share
it. A killed process loses at most the responses that it had not been told of; nothing is written twice.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from its.errors import RunError

SCHEMA_VERSION = 1
_CHUNK = 500  # SQLite allows 999 variables a statement in old builds


def request_key(request: Mapping[str, Any]) -> str:
    """The SHA-256 of a request's canonical JSON; every input that determines the response must be in `request`."""
    text = json.dumps(request, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """An open store. Use as a context manager.

    Raises:
        RunError: if the file is damaged, of a later schema, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=60.0)
        try:
            self._prepare()
        except BaseException:
            self._db.close()  # nobody else can: there is no store yet
            raise

    def _prepare(self) -> None:
        with self._explained():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA_VERSION):
                raise RunError(
                    f"{self.path}: the store has schema {version}, this version of ITS reads {SCHEMA_VERSION}",
                    "update ITS",
                )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS responses "
                "(key TEXT PRIMARY KEY, request TEXT NOT NULL, response TEXT NOT NULL, created TEXT NOT NULL) "
                "WITHOUT ROWID"
            )
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def find(self, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (key, response) of the keys that are stored, in no order."""
        with self._explained():
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                query = f"SELECT key, response FROM responses WHERE key IN ({marks})"
                for key, response in self._db.execute(query, list(chunk)):
                    yield key, json.loads(response)

    def put(self, key: str, request: Mapping[str, Any], response: Mapping[str, Any]) -> None:
        """Commit one response; the first one of a key stays."""
        with self._explained():
            self._db.execute(
                "INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?)",
                (
                    key,
                    json.dumps(request, ensure_ascii=False),
                    json.dumps(response, ensure_ascii=False),
                    datetime.now(UTC).isoformat(timespec="seconds"),
                ),
            )

    def stats(self) -> dict[str, Any]:
        """How many responses, bytes on disk, the first and the last day."""
        with self._explained():
            count, first, last = self._db.execute(
                "SELECT count(*), min(created), max(created) FROM responses"
            ).fetchone()
        return {
            "path": str(self.path),
            "responses": count,
            "bytes": self.path.stat().st_size,
            "first": first,
            "last": last,
        }

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise RunError(f"{self.path}: no space left on the disk", "free some space and run again") from error
            raise RunError(f"{self.path}: {error}", "is the folder writable, and on a local disk?") from error
        except sqlite3.DatabaseError as error:
            raise RunError(
                f"{self.path}: the store is damaged: {error}", "move it away; what is lost is asked again"
            ) from error
