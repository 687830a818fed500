"""Records of a Parquet file, which a process of its own reads (`workers/parquet_rows.py` says why)."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any

from its.data_files import PATH_HINT
from its.errors import DataError
from its.files import open_regular
from its.rows import MAX_LINE_BYTES
from its.shown import shown
from its.sources.lines import UNPACKED_FREE, UNPACKED_TIMES, refuse_foreign_start
from its.sources.records import Record, RowFault
from its.values import MAX_VALUES

MEMORY_BYTES = 3 * 1024**3
"""Of the reading process, Arrow itself and a batch of rows within: 64 rows of 10 MB take 2 GB."""
BATCH_ROWS = 64
MAX_COLUMNS = 10_000
"""Leaves of nested columns counted each: published sets have below 100."""
WORKER = Path(__file__).parent / "workers" / "parquet_rows.py"
_SECONDS, _BYTES_PER_SECOND = 60, 10_000_000
"""Of CPU for what every file takes, and how slowly the slowest unpack: an honest file takes a hundredth."""
_SHOWN_CHARACTERS = 500
_TOO_LARGE = f"reading it takes more than {MEMORY_BYTES // 1024**3} GiB of memory"


def read_parquet(path: Path, name: str, verify: Callable[[str], None]) -> Generator[Record, None, str]:
    """The records, streamed; a row that holds what Python has no value for is a fault of that row.

    Args:
        verify: called with the SHA-256 before the first record; what it raises ends the reading.

    Returns:
        That SHA-256. The rows are of the bytes that it covers: if they are changed meanwhile, the reading fails.

    Raises:
        MissingError, DataError: as `open_regular`.
        DataError: if it is not a Parquet file, is damaged, changes meanwhile, or takes more memory, time, columns or
            bytes than the limits.
    """
    settings = {
        "free": UNPACKED_FREE,
        "times": UNPACKED_TIMES,
        "memory": MEMORY_BYTES,
        "seconds": _SECONDS,
        "bytes_per_second": _BYTES_PER_SECOND,
        "columns": MAX_COLUMNS,
        "row_bytes": MAX_LINE_BYTES,
        "row_values": MAX_VALUES,
        "batch": BATCH_ROWS,
        "too_large": _TOO_LARGE,
    }
    index = 0
    with open_regular(path, name, PATH_HINT) as file:
        refuse_foreign_start(file, name)
        with subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(settings)],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            try:
                for kind, what in _messages(process.stdout):
                    if kind == "digest":
                        verify(what)
                        digest: str = what
                    elif kind == "rows":
                        for row in what:
                            fault = RowFault(row, "leave the row or the column out") if isinstance(row, str) else None
                            yield Record(index, None if fault else row, fault)
                            index += 1
                    elif kind == "end":
                        return digest
                    else:
                        raise _unreadable(name, index, what)
                raise _unreadable(name, index, f"its reader crashed (exit code {process.wait()})")
            finally:
                process.kill()


def _messages(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """What the process says, until it is gone."""
    while True:
        try:
            yield pickle.load(stream)  # of our own process
        except (EOFError, pickle.UnpicklingError):
            return


def _unreadable(name: str, index: int, what: str) -> DataError:
    where = f"{name}[{index}]" if index else name
    what = shown(what[:_SHOWN_CHARACTERS])
    return DataError(f"{where}: not a readable Parquet file: {what}", "get the file again")
