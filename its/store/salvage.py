"""Rows of a database that may be damaged in its pages: what can be read is read, what cannot is counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from its.store.connection import explained, is_damage

WINDOW = 256
FAR = 1000
"""Windows that are tried one after another where no row can be read. A damaged page that leads to others covers up to
some ten thousand rows; a damaged number of a row may lie 2^62 further, so from there the steps double."""


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
    """Yield (id, columns...) of a table in the order of its ids.

    Where a page is damaged SQLite gives up on the whole statement, so rows of such a window are read one by one. No
    statement stays open between two rows: the caller may write.

    Args:
        table: with a column `id` that numbers it.
        lost: receives each id that lies on a damaged page; some may never have been given to a row.
        where: which rows are wanted.

    Raises:
        sqlite3.DatabaseError: if not even the last id can be found.
    """
    start, last = first_id(db, table), last_id(db, table)
    barren = 0  # windows in a row without a row that can be read
    while start <= last:
        try:
            rows = db.execute(
                f"SELECT id, {columns} FROM {table} WHERE id >= ? AND id <= ? AND {where} ORDER BY id LIMIT {WINDOW}",
                (start, last),
            ).fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            end = min(start + WINDOW - 1, last)
            barren += 1
            query = f"SELECT id, {columns} FROM {table} WHERE id = ? AND {where}"
            for row in _one_by_one(db, query, start, end, lost):
                barren = 0
                yield row
            start = end + 1 + (WINDOW << (barren - FAR) if barren > FAR else 0)
            continue
        barren = 0
        yield from rows
        if len(rows) < WINDOW:
            return
        start = rows[-1][0] + 1


def _one_by_one(
    db: sqlite3.Connection, query: str, start: int, end: int, lost: Callable[[int], None]
) -> Iterator[tuple[Any, ...]]:
    for row_id in range(start, end + 1):
        try:
            row = db.execute(query, (row_id,)).fetchone()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            lost(row_id)
            continue
        if row is not None:
            yield row


def first_id(db: sqlite3.Connection, table: str) -> int:
    """The smallest id of a table: 1 where nothing is damaged, and where it cannot be read."""
    try:
        return min(1, db.execute(f"SELECT min(id) FROM {table}").fetchone()[0] or 1)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return 1


def last_id(db: sqlite3.Connection, table: str) -> int:
    """The largest id of a table, 0 where it is empty; where the table's end is damaged, out of one of its indexes."""
    try:
        return db.execute(f"SELECT max(id) FROM {table}").fetchone()[0] or 0
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        indexes = [row[1] for row in db.execute(f"PRAGMA index_list({table})")]
        for index in indexes:
            try:
                columns = [row[2] for row in db.execute(f"PRAGMA index_info({index})")]
                query = f"SELECT max(id) FROM {table} INDEXED BY {index} WHERE {columns[0]} IS NOT NULL"
                return db.execute(query).fetchone()[0] or 0
            except sqlite3.DatabaseError as again:
                if not is_damage(again):
                    raise
        raise
