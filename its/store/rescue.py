"""A store that damage keeps from being opened: its rows out of a copy, whose first page is made anew.

SQLite reads nothing of a file whose header or schema is damaged, or whose end is missing. Of a store both are known:
its tables stand in one of three places, and each row is judged by what it holds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from its.store.connection import PAGE_BYTES, SUFFIXES, DamagedError, explained
from its.store.database import SessionInfo, Store
from its.store.schema import SCHEMA_VERSION, make_tables

_HEADER = 100  # bytes of a database's header, which is a part of its first page
_OLD_PAGE_BYTES = 4096  # of a store that began with schema 1
_PAGES_AT = slice(28, 32)
_SALTED_AT = slice(24, 28)  # the change counter; the page count above is believed where the other one at 92 equals it


@contextlib.contextmanager
def readable_store(path: Path) -> Iterator[Store]:
    """A store to read from: itself, or a copy of what can be read of it, which lies beside it and takes as much room.

    Raises:
        RunError: if nothing of it can be read, or the disk is full.
    """
    try:
        store = Store(path)
    except DamagedError as error:
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=".rescue-", suffix=".tmp", ignore_cleanup_errors=True
        ) as folder:
            rescued = _rescued(path, Path(folder))
            if rescued is None:
                raise error
            with rescued:
                yield rescued
    else:
        with store:
            yield store


def _rescued(path: Path, folder: Path) -> Store | None:
    """The copy with the first of the first pages under which a session can be read."""
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
                with contextlib.suppress(sqlite3.Error):  # then it keeps its name until the end
                    store.db.execute("PRAGMA locking_mode = EXCLUSIVE")
                    store.db.execute("PRAGMA journal_mode = DELETE")  # what was in the log is in the file
                    shutil.rmtree(folder)  # the open file stays as long as its process
                store.path = path  # of which messages speak, and which an export must not replace
                return store
    return None


def _first_pages(first: bytes, size: int, folder: Path) -> Iterator[bytes]:
    """First pages to try: the file's own under a sound header, then those of stores that lie as this one may."""
    told = int.from_bytes(first[16:18], "big")
    for page_bytes in dict.fromkeys((told, PAGE_BYTES, _OLD_PAGE_BYTES)):
        if page_bytes not in (512, 1024, 2048, 4096, 8192, 16384, 32768) or size < 2 * page_bytes:
            continue
        for number, page in enumerate(_layouts(page_bytes, folder)):
            header = bytearray(page[:_HEADER])
            header[_PAGES_AT] = (size // page_bytes).to_bytes(4, "big")
            header[92:96] = header[_SALTED_AT]
            if number == 0:
                yield bytes(header) + first[_HEADER:page_bytes]
            yield bytes(header) + page[_HEADER:]


def _layouts(page_bytes: int, folder: Path) -> Iterator[bytes]:
    """The first page of an empty store: made new, compacted, out of schema 1."""
    for before, after in ((None, None), (None, "VACUUM"), ("CREATE TABLE responses_1 (key)", "DROP TABLE responses_1")):
        path = folder / "layout.sqlite"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"PRAGMA page_size = {page_bytes}")
            if before:
                db.execute(before)
            make_tables(db)
            if after:
                db.execute(after)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute("PRAGMA journal_mode = WAL")
        page = bytearray(path.read_bytes()[:page_bytes])
        page[32:40] = bytes(8)  # no free pages: those of the layout are not those of the file
        path.unlink()
        yield bytes(page)
