"""Write the responses of a store to one file: JSON lines compressed by zstd, which `zstd -dc` reads.

The first line is a manifest: {"format", "version", "its", "created", "counts", "sessions"}. Then each prompt, {"kind":
"prompt", "sha256", "body"}, stands before the first response to it, {"kind": "response", "key", "session", "prompt",
"details", "created", "body"}. The last line is {"kind": "trailer", "prompts", "responses", "sha256"}; its hash is over
all bytes before it.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import zstandard

from its.errors import DataError, RunError
from its.store.bodies import LEVEL, checksum, decode, encode
from its.store.connection import explained, is_damage
from its.store.keys import join_key, prompt_sha256, session_sha256
from its.store.salvage import explained_rows, readable_rows

if TYPE_CHECKING:
    from its.store.database import Store

FORMAT = "its-store"
VERSION = 1
_COLUMNS = "key, session, prompt, details, created, checksum, body"


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and what it could not: damaged rows, and unreadable ones (at most so many)."""

    responses: int
    prompts: int
    sessions: int
    missing: int
    damaged: int
    unreadable: int
    bytes: int


def export_store(
    store: Store,
    path: Path,
    keys: Iterable[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write responses with their prompts and sessions, as they are at one moment; the file appears whole or not at all.

    What is damaged is left out and counted, so that this saves what can be read of a damaged store.

    Args:
        keys: only these; `missing` counts those of them that were not exported. None is all.
        progress: is told (rows done, rows in all) now and then.

    Raises:
        DataError: if `path` is the store's own file.
        RunError: if the disk is full or the store cannot be read at all; nothing is left behind.
    """
    if path.absolute() == store.path.absolute() or (path.exists() and path.samefile(store.path)):
        raise DataError(f"{path}: this is the store itself", "name another file")
    with _snapshot(store, keys) as (where, wanted), _whole_file(path) as sink:
        writer = _Writer(sink)
        found = _write(store, writer, where, progress)
        writer.trailer(found["prompts"], found["responses"])
    missing = 0 if wanted is None else wanted - found["responses"]
    return Exported(**found, missing=missing, bytes=path.stat().st_size)


def _write(store: Store, writer: _Writer, where: str, progress: Callable[[int, int], None]) -> dict[str, int]:
    sessions = _sessions(store, where)
    hashes = {row_id: session["sha256"] for row_id, session in sessions.items()}
    total = _count(store, where)
    writer.line(
        {
            "format": FORMAT,
            "version": VERSION,
            "its": _own_version(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "counts": {"responses": total, "sessions": len(sessions)},
            "sessions": list(sessions.values()),
        }
    )
    counts = {"responses": 0, "prompts": 0, "sessions": len(sessions), "damaged": 0, "unreadable": 0}
    prompts = _Prompts(store)

    def lost(row_id: int) -> None:
        counts["unreadable"] += 1

    for _, key, session, prompt_id, details, created, told, body in explained_rows(
        store.db, store.path, "responses", _COLUMNS, lost, where
    ):
        try:
            if checksum(key, body) != told:
                raise ValueError("another checksum")
            raw = store.packer.unpack(body)
            decode(raw)
            prompt, text = prompts.get(prompt_id)
            told_session = hashes[session]
            if join_key(told_session, prompt, details) != key.hex():
                raise ValueError("another key")  # the import would refuse the whole file for it
            when = datetime.fromtimestamp(created, UTC).isoformat()
        except (ValueError, KeyError, TypeError, OverflowError, OSError):
            counts["damaged"] += 1
            continue
        if text is not None:
            writer.raw(b'{"kind": "prompt", "sha256": "%b", "body": %b}\n' % (prompt.encode(), text))
            prompts.written(prompt_id)
            counts["prompts"] += 1
        head = {
            "kind": "response",
            "key": key.hex(),
            "session": told_session,
            "prompt": prompt,
            "details": json.loads(details),
            "created": when,
        }
        writer.raw(encode(head)[:-1] + b', "body": ' + raw + b"}\n")
        counts["responses"] += 1
        if counts["responses"] % 1000 == 0:
            progress(counts["responses"], total)
    return counts


class _Prompts:
    """Prompts by id: their hash, and their text until it is written. Memory stays flat however many there are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written = bytearray()  # by id
        self._recent: dict[int, str] = {}  # hashes of those that are written

    def get(self, row_id: int) -> tuple[str, bytes | None]:
        """(hash, JSON if it is still to be written); raises ValueError or KeyError where it is damaged or gone."""
        if row_id in self._recent:
            return self._recent[row_id], None
        try:
            row = self._store.db.execute("SELECT sha256, body FROM prompts WHERE id = ?", (row_id,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            raise KeyError(row_id) from error
        if row is None:
            raise KeyError(row_id)
        sha256, text = row[0].hex(), self._store.packer.unpack(row[1])
        if prompt_sha256(text.decode("utf-8", "surrogatepass")) != sha256:
            raise ValueError("another hash")
        if row_id >= len(self._written) or not self._written[row_id]:
            return sha256, encode(json.loads(text))
        if len(self._recent) >= 10_000:
            self._recent.clear()
        self._recent[row_id] = sha256
        return sha256, None

    def written(self, row_id: int) -> None:
        if row_id >= len(self._written):
            self._written.extend(bytes(row_id + 1 - len(self._written)))
        self._written[row_id] = 1


class _Writer:
    """Lines into a compressed stream, and the hash over them."""

    def __init__(self, sink: IO[bytes]) -> None:
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._out = compressor.stream_writer(sink, closefd=False)
        self._digest = hashlib.sha256()

    def line(self, value: Any) -> None:
        self.raw(encode(value) + b"\n")

    def raw(self, line: bytes) -> None:
        self._digest.update(line)
        self._out.write(line)

    def trailer(self, prompts: int, responses: int) -> None:
        """The last line; nothing can be written after it."""
        told = {"kind": "trailer", "prompts": prompts, "responses": responses, "sha256": self._digest.hexdigest()}
        self._out.write(encode(told) + b"\n")
        self._out.close()  # type: ignore[no-untyped-call]


@contextmanager
def _snapshot(store: Store, keys: Iterable[str] | None) -> Iterator[tuple[str, int | None]]:
    """One read transaction; (the condition on rows, how many keys are wanted)."""
    where, wanted = "1", None
    with explained(store.path):
        if keys is not None:
            where = "key IN (SELECT key FROM temp.wanted)"
            wanted = fill_temporary(store.db, "wanted", keys)
        store.db.execute("BEGIN")
    try:
        yield where, wanted
    finally:
        if store.db.in_transaction:
            store.db.execute("ROLLBACK")  # nothing was written
        store.db.execute("DROP TABLE IF EXISTS temp.wanted")


def fill_temporary(db: sqlite3.Connection, table: str, keys: Iterable[str]) -> int:
    """Put keys into a new temporary table, which may outgrow memory; how many different ones."""
    db.execute(f"DROP TABLE IF EXISTS temp.{table}")
    db.execute(f"CREATE TEMP TABLE {table} (key BLOB PRIMARY KEY) WITHOUT ROWID")
    db.executemany(f"INSERT OR IGNORE INTO temp.{table} VALUES (?)", ((bytes.fromhex(key),) for key in keys))
    return int(db.execute(f"SELECT count(*) FROM temp.{table}").fetchone()[0])


def _own_version() -> str:
    try:
        return importlib.metadata.version("its-studies")
    except importlib.metadata.PackageNotFoundError:  # run from a folder that was never installed
        return "unknown"


def _count(store: Store, where: str) -> int:
    try:
        return int(store.db.execute(f"SELECT count(*) FROM responses WHERE {where}").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return 0  # it only tells how far the export is


def _sessions(store: Store, where: str) -> dict[int, dict[str, Any]]:
    """The sessions of the rows by id; all that can be read, where the rows cannot say."""
    used: set[int] | None = None
    with explained(store.path):
        try:
            used = {row[0] for row in store.db.execute(f"SELECT DISTINCT session FROM responses WHERE {where}")}
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        found = {}
        for row_id, sha256, identity, about in readable_rows(
            store.db, "sessions", "sha256, identity, about", lambda row_id: None
        ):
            try:
                session = {"sha256": sha256, "identity": json.loads(identity), "about": json.loads(about)}
            except ValueError:
                continue  # its responses are damaged: nothing says any more what determined them
            if (used is None or row_id in used) and session_sha256(session["identity"]) == sha256:
                found[row_id] = session
    return found


@contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when all of it is on the disk, or not at all."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"{path}: no space left on the disk", "free some space and run again") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
