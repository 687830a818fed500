"""Read what can be read of a damaged store: rows around damaged pages, and a store that SQLite refuses to open.

SQLite reads nothing of a file whose header or schema is damaged, or whose end is missing. A store's header and schema
are known, so a copy of the file gets a new first page; then each row is judged by its content.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from its.store.connection import PAGE_BYTES, SUFFIXES, DamagedError, explained, is_damage
from its.store.database import SessionInfo, Store
from its.store.schema import SCHEMA_VERSION, make_tables

WINDOW = 256
GAPS = 100_000
"""Ids without a row that are tried beyond those which an index or a page lists; a damaged id may be 2^62."""
_FIRST_ID, _LAST_ID = -(2**63), 2**63 - 1
_HEADER = 100  # bytes of a database's header, the beginning of its first page
_PAGE_COUNT = slice(28, 32)
_CHANGE_COUNTER = slice(24, 28)  # SQLite believes the page count where this equals the number at 92


def recovered_rows(
    db: sqlite3.Connection, path: Path, table: str, columns: str, where: str = "1"
) -> Iterator[tuple[int, tuple[Any, ...] | None]]:
    """Yield (id, columns) of a table in the order of its ids, each id once; the columns are None on a damaged page.

    Where a page is damaged SQLite gives up on the whole statement, or returns the rows of another page. So the rows of
    a damaged table are read one by one. No statement stays open between two rows: the caller may write.

    Args:
        path: of the store, for errors.
        table: with a column `id` that numbers it. Some ids on a damaged page may never have belonged to a row.
        where: which rows are expected.

    Raises:
        RunError: for what is not damage, such as a full disk.
    """
    rows = _rows(db, table, columns, where)
    while True:
        with explained(path):  # not around the `yield`: what the caller does between two rows is not explained by it
            row = next(rows, None)
        if row is None:
            return
        yield row


def is_whole(db: sqlite3.Connection, check: str = "integrity_check(1)") -> bool:
    """Whether no page of a database is damaged and its indexes list its rows; or the result of another SQLite check."""
    try:
        return [row[0] for row in db.execute(f"PRAGMA {check}")] == ["ok"]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False


def _rows(db: sqlite3.Connection, table: str, columns: str, where: str) -> Iterator[tuple[int, tuple[Any, ...] | None]]:
    start = _FIRST_ID
    if is_whole(db, f"quick_check('{table}')"):
        while True:
            try:
                rows = db.execute(
                    f"SELECT id, {columns} FROM {table} WHERE id >= ? AND {where} ORDER BY id LIMIT {WINDOW}", (start,)
                ).fetchall()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                break  # damaged since it was checked
            yield from ((row_id, tuple(row)) for row_id, *row in rows)
            if len(rows) < WINDOW or rows[-1][0] == _LAST_ID:
                return
            start = rows[-1][0] + 1
    query = f"SELECT {columns} FROM {table} WHERE id = ? AND {where}"
    for row_id in sorted(_ids(db, table)):
        if row_id < start:
            continue
        try:
            row = db.execute(query, (row_id,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            yield row_id, None
            continue
        if row is not None:
            yield row_id, row


def _ids(db: sqlite3.Connection, table: str) -> set[int]:
    """Every id that the table or one of its indexes lists, read from both ends, and those between."""
    found: set[int] = set()
    ways = {f"{table} NOT INDEXED": "id"}
    for index in [row[1] for row in db.execute(f"PRAGMA index_list({table})")]:
        ways[f"{table} INDEXED BY {index}"] = db.execute(f"PRAGMA index_info({index})").fetchone()[2]
    for way, column in ways.items():
        for order in ("ASC", "DESC"):
            found |= _listed_ids(db, f"SELECT id FROM {way} ORDER BY {column} {order}")
    dense = [row_id for row_id in found if 0 < row_id <= 2 * len(found) + GAPS]
    return found | set(range(1, max(dense, default=0) + 1))


def _listed_ids(db: sqlite3.Connection, query: str) -> set[int]:
    """The ids of a query, up to where a page is damaged or leads back to an earlier one."""
    found: set[int] = set()
    count = 0
    try:
        rows = db.execute(query)
        while chunk := rows.fetchmany(WINDOW):
            count += len(chunk)
            found.update(row[0] for row in chunk)
            if count > 2 * len(found) + GAPS:
                break
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    return found


@contextlib.contextmanager
def readable_store(path: Path) -> Iterator[Store]:
    """Open the store or, if it is damaged, a temporary copy of what can be read, beside it and of the same size.

    Raises:
        RunError: if nothing of it can be read, it has another schema, or the disk is full.
    """
    try:
        store = Store(path)
    except DamagedError as error:
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=".rescue-", suffix=".tmp", ignore_cleanup_errors=True
        ) as folder:
            copy = _readable_copy(path, Path(folder))
            if copy is None:
                raise error
            with copy:
                yield copy
    else:
        with store:
            yield store


def _readable_copy(path: Path, folder: Path) -> Store | None:
    """A copy of the file with the first of `_first_pages` with which a session can be read; None if there is none."""
    copy = folder / path.name
    with open(path, "rb") as file:
        first = file.read(2**16)
    for page in _first_pages(first, os.path.getsize(path), folder):
        with explained(path):
            for suffix in SUFFIXES[:2]:
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(f"{os.path.realpath(path)}{suffix}", f"{copy}{suffix}")
            with open(copy, "r+b") as file:
                file.write(page)
        with contextlib.suppress(DamagedError), contextlib.ExitStack() as opened:
            store = opened.enter_context(Store(copy))
            if any(isinstance(session, SessionInfo) for session in store.all_sessions()):
                opened.pop_all()
                with contextlib.suppress(sqlite3.Error):  # then the copy keeps its name until the end
                    store.db.execute("PRAGMA locking_mode = EXCLUSIVE")
                    store.db.execute("PRAGMA journal_mode = DELETE")  # what was in the log is in the file
                    shutil.rmtree(folder)  # the open file lives on until its process ends
                store.path = path  # named in messages, and not to be replaced by an export
                return store
    return None


def _first_pages(first: bytes, size: int, folder: Path) -> Iterator[bytes]:
    """First pages to try: the file's own under a new header, then those of empty stores."""
    stated = int.from_bytes(first[16:18], "big")
    for page_bytes in dict.fromkeys((stated, PAGE_BYTES)):
        if page_bytes not in (512, 1024, 2048, 4096, 8192, 16384, 32768) or size < 2 * page_bytes:
            continue
        for compacted in (False, True):
            page = _empty_store(page_bytes, compacted, folder)
            header = bytearray(page[:_HEADER])
            header[_PAGE_COUNT] = (size // page_bytes).to_bytes(4, "big")
            header[92:96] = header[_CHANGE_COUNTER]
            if not compacted:
                yield bytes(header) + first[_HEADER:page_bytes]
            yield bytes(header) + page[_HEADER:]


def _empty_store(page_bytes: int, compacted: bool, folder: Path) -> bytes:
    """The first page of an empty store; compacting it puts the tables on other pages."""
    path = folder / "empty.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {page_bytes}")
        make_tables(db)
        if compacted:
            db.execute("VACUUM")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("PRAGMA journal_mode = WAL")
    page = bytearray(path.read_bytes()[:page_bytes])
    page[32:40] = bytes(8)  # no free pages: those of the empty store are not those of the file
    path.unlink()
    return bytes(page)
