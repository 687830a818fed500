"""Export the responses of a store to one file: JSON lines compressed with zstd, which `zstd -dc` reads.

The first line is a manifest: {"format", "version", "its", "created", "counts", "sessions"}. Then each prompt, {"kind":
"prompt", "sha256", "body"}, stands before the first response to it, {"kind": "response", "key", "session", "prompt",
"details", "created", "body"}. The last line is {"kind": "trailer", "prompts", "responses", "sha256"}; its hash is over
all bytes before it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import zstandard

from its.errors import DataError, MissingError
from its.files import HOME_FOLDERS, atomic_binary_file
from its.store.connection import SUFFIXES, explained, is_damage, limited
from its.store.database import Store
from its.store.encoding import LEVEL, decode, encode
from its.store.inserting import insert_keys
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
)

FORMAT = "its-store"
VERSION = 1
_NEAR = 2**26  # ids of prompts up to which a byte each is kept


@dataclass(frozen=True)
class Exported:
    """What an export wrote and what it could not: missing and damaged rows, and at most how many unreadable ones."""

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
    """Write a snapshot of responses with their prompts and sessions; the file appears whole or not at all.

    Damaged rows are left out and counted, so this saves what can be read of a damaged store.

    Args:
        keys: only these; `missing` counts those of them that were not exported. None exports all.
        progress: receives (rows done, rows in all) now and then.

    Raises:
        MissingError: if `keys` is empty.
        DataError: if `path` cannot be a file, or belongs to the store or its home.
        RunError: if the disk is full or the store cannot be read at all; nothing is left behind.
    """
    _refuse_own(store, path)
    with _snapshot(store, keys) as (where, wanted), atomic_binary_file(path, typed=True) as sink:
        writer = _Writer(sink)
        found = _write(store, writer, where, progress)
        writer.trailer(found["prompts"], found["responses"])
    missing = 0 if wanted is None else wanted - found["responses"]
    return Exported(**found, missing=missing, bytes=path.stat().st_size)


def _refuse_own(store: Store, path: Path) -> None:
    """Refuse the names of the store's own files, whether they exist or not, and the folders of ITS beside it."""
    own, target = Path(os.path.realpath(store.path)), Path(os.path.realpath(path))
    names = {f"{own.name}{suffix}".casefold() for suffix in SUFFIXES}
    try:
        beside = target.parent.samefile(own.parent)
        linked = target.exists() and any(
            target.samefile(file) for suffix in SUFFIXES if (file := Path(f"{own}{suffix}")).exists()
        )
        inside = next((folder for folder in target.parents if folder.parent.samefile(own.parent)), None)
    except OSError:
        return  # there is no such folder, so this is not one of our names
    if linked or (beside and target.name.casefold() in names):
        raise DataError(f"{path}: this is the store itself", "name another file")
    if inside is not None and inside.name.casefold() in HOME_FOLDERS:
        raise DataError(f"{path}: is in `{inside.name}`, a folder of the ITS home", "name another file")


def _write(store: Store, writer: _Writer, where: str, progress: Callable[[int, int], None]) -> dict[str, int]:
    sessions = _sessions(store, where)
    unique = {session.sha256: session for session in sessions.values()}
    total = _count(store, where)
    writer.line(
        {
            "format": FORMAT,
            "version": VERSION,
            "its": _own_version(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "counts": {"responses": total, "sessions": len(unique)},
            "sessions": [
                {"sha256": sha256, "identity": session.identity, "about": session.about}
                for sha256, session in unique.items()
            ],
        }
    )
    counts = {"responses": 0, "prompts": 0, "sessions": len(unique), "damaged": 0, "unreadable": 0}
    prompts = _Prompts(store)

    for _, row in recovered_rows(store.db, store.path, "responses", RESPONSE_COLUMNS, where):
        if row is None:
            counts["unreadable"] += 1
            continue
        key, session_id, prompt_id, details, created = row[:5]
        try:
            raw = parse_response(store.packer, row)
            prompt, text = prompts.get(prompt_id)
            session = sessions[session_id].sha256
            check_key(key, session, prompt, details)  # the import would refuse the whole file for it
            decoded_details = decode(details.encode())
        except (ValueError, KeyError):
            counts["damaged"] += 1
            continue
        if text is not None:
            writer.raw(b'{"kind": "prompt", "sha256": "%b", "body": %b}\n' % (prompt.encode(), text))
            prompts.written(prompt_id)
            counts["prompts"] += 1
        head = {
            "kind": "response",
            "key": key.hex(),
            "session": session,
            "prompt": prompt,
            "details": decoded_details,
            "created": datetime.fromtimestamp(created, UTC).isoformat(),
        }
        writer.raw(encode(head)[:-1] + b', "body": ' + (raw if b"\n" not in raw else encode(decode(raw))) + b"}\n")
        counts["responses"] += 1
        if counts["responses"] % 1000 == 0:
            progress(counts["responses"], total)
    return counts


class _Prompts:
    """Prompts by id: their hash, and their text until it is written. Memory does not grow with their number."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written = bytearray()  # by id
        self._written_far: set[int] = set()  # ids beyond those of a store that grew row by row
        self._recent: dict[int, str] = {}  # hashes of prompts that are written

    def get(self, row_id: int) -> tuple[str, bytes | None]:
        """(hash, JSON unless it is written already); raises ValueError or KeyError if it is damaged or gone."""
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
        sha256, text = parse_prompt(self._store.packer, *row)
        if not self._is_written(row_id):
            return sha256, encode(decode(text.encode("utf-8", "surrogatepass")))
        if len(self._recent) >= 10_000:
            self._recent.clear()
        self._recent[row_id] = sha256
        return sha256, None

    def written(self, row_id: int) -> None:
        if not 0 <= row_id < _NEAR:
            self._written_far.add(row_id)
            return
        if row_id >= len(self._written):
            self._written.extend(bytes(row_id + 1 - len(self._written)))
        self._written[row_id] = 1

    def _is_written(self, row_id: int) -> bool:
        if not 0 <= row_id < _NEAR:
            return row_id in self._written_far
        return row_id < len(self._written) and bool(self._written[row_id])


class _Writer:
    """Writes lines into a compressed stream and hashes them."""

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
        """Write the last line and close the stream."""
        line = {"kind": "trailer", "prompts": prompts, "responses": responses, "sha256": self._digest.hexdigest()}
        self._out.write(encode(line) + b"\n")
        self._out.close()  # type: ignore[no-untyped-call]


@contextmanager
def _snapshot(store: Store, keys: Iterable[str] | None) -> Iterator[tuple[str, int | None]]:
    """Hold one read transaction; gives (the SQL condition on rows, how many keys are expected)."""
    where, wanted = "1", None
    with explained(store.path):
        if keys is not None:
            where = "key IN (SELECT key FROM temp.wanted)"
            wanted = insert_keys(store.db, "wanted", keys)
            if not wanted:
                store.db.execute("DROP TABLE IF EXISTS temp.wanted")
                raise MissingError("the study cites no responses; there is nothing to export", "`dvc repro`")
        store.db.execute("BEGIN")
    try:
        yield where, wanted
    finally:
        if store.db.in_transaction:
            store.db.execute("ROLLBACK")  # nothing was written
        store.db.execute("DROP TABLE IF EXISTS temp.wanted")


def _own_version() -> str:
    try:
        return importlib.metadata.version("its-studies")
    except importlib.metadata.PackageNotFoundError:  # run from a folder that is not installed
        return "unknown"


def _count(store: Store, where: str) -> int:
    try:
        with limited(store.db, store.path):
            return int(store.db.execute(f"SELECT count(*) FROM responses WHERE {where}").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return 0  # the count is for the progress alone


def _sessions(store: Store, where: str) -> dict[object, Session]:
    """The sessions of the rows by id; if the rows cannot be read, all readable sessions."""
    used: set[object] | None = None
    with explained(store.path):
        try:
            with limited(store.db, store.path):
                used = {row[0] for row in store.db.execute(f"SELECT DISTINCT session FROM responses WHERE {where}")}
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
    found: dict[object, Session] = {}
    searches = 0
    for row_id, row in recovered_rows(store.db, store.path, "sessions", SESSION_COLUMNS):
        if row is None or (used is not None and row_id not in used):
            continue
        try:
            session = parse_session(row, search=searches < MAX_SEARCHES)
        except ValueError:
            searches += 1
            continue  # its responses count as damaged: what determined them is lost
        searches += session.fault is not None
        found[row_id] = session
    return found
