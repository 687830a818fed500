"""Rows of a database that may be damaged in its pages: what can be read is read, what cannot is counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from its.store.connection import explained, is_damage

WINDOW = 256
GAPS = 100_000
"""Ids without a row that are tried beyond those which some index or page lists; a damaged id may be 2^62."""


def explained_rows(
    db: sqlite3.Connection, path: Path, table: str, columns: str, lost: Callable[[int], None], where: str = "1"
) -> Iterator[tuple[Any, ...]]:
    """`readable_rows` whose errors are the store's; what the caller does between two rows is not explained by it."""
    rows = readable_rows(db, table, columns, lost, where)
    while True:
        with explained(path):
            row = next(rows, None)
        if row is None:
            return
        yield row


def readable_rows(
    db: sqlite3.Connection, table: str, columns: str, lost: Callable[[int], None], where: str = "1"
) -> Iterator[tuple[Any, ...]]:
    """Yield (id, columns...) of a table in the order of its ids, each id once.

    Where a page is damaged SQLite gives up on the whole statement, or gives the rows of another page. So the rows of a
    damaged table are read one by one. No statement stays open between two rows: the caller may write.

    Args:
        table: with a column `id` that numbers it.
        lost: receives each id that lies on a damaged page; some may never have been given to a row.
        where: which rows are wanted.
    """
    start: int | None = None
    while start is not None or is_whole(db, f"quick_check('{table}')"):
        try:
            rows = db.execute(
                f"SELECT id, {columns} FROM {table} WHERE id >= ? AND {where} ORDER BY id LIMIT {WINDOW}",
                (_FIRST if start is None else start,),
            ).fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            break  # damaged since it was looked at
        yield from rows
        if len(rows) < WINDOW or rows[-1][0] == _LAST:
            return
        start = rows[-1][0] + 1
    yield from _one_by_one(db, table, f"SELECT id, {columns} FROM {table} WHERE id = ? AND {where}", start, lost)


_FIRST, _LAST = -(2**63), 2**63 - 1


def is_whole(db: sqlite3.Connection, check: str = "integrity_check(1)") -> bool:
    """Whether no page of a database is damaged and its indexes list its rows; or what another check of SQLite says."""
    try:
        return [row[0] for row in db.execute(f"PRAGMA {check}")] == ["ok"]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False


def _one_by_one(
    db: sqlite3.Connection, table: str, query: str, start: int | None, lost: Callable[[int], None]
) -> Iterator[tuple[Any, ...]]:
    for row_id in sorted(_ids(db, table)):
        if start is not None and row_id < start:
            continue
        try:
            row = db.execute(query, (row_id,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            lost(row_id)
            continue
        if row is not None:
            yield row


def _ids(db: sqlite3.Connection, table: str) -> set[int]:
    """Every id that the table or one of its indexes lists, read from both ends, and those between."""
    found: set[int] = set()
    ways = {f"{table} NOT INDEXED": "id"}
    for index in [row[1] for row in db.execute(f"PRAGMA index_list({table})")]:
        ways[f"{table} INDEXED BY {index}"] = db.execute(f"PRAGMA index_info({index})").fetchone()[2]
    for way, column in ways.items():
        for order in ("ASC", "DESC"):
            _collect(found, db, f"SELECT id FROM {way} ORDER BY {column} {order}")
    dense = [row_id for row_id in found if 0 < row_id <= 2 * len(found) + GAPS]
    return found | set(range(1, max(dense, default=0) + 1))


def _collect(found: set[int], db: sqlite3.Connection, query: str) -> None:
    told = 0
    try:
        rows = db.execute(query)
        while chunk := rows.fetchmany(WINDOW):
            told += len(chunk)
            found.update(row[0] for row in chunk)
            if told > 2 * len(found) + GAPS:
                return  # damaged pages lead back to themselves
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise


def last_id(db: sqlite3.Connection, table: str) -> int:
    """The largest id of a table, 0 where it is empty or cannot be read."""
    try:
        return db.execute(f"SELECT max(id) FROM {table}").fetchone()[0] or 0
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return 0
