"""The rows of a Parquet file, read in a process that may die of it: `parquet_rows.py SETTINGS` with the file as stdin.

Arrow believes what a file says of itself: a page of 60 kB may unpack to 2 GB, a dictionary's entry of 64 MB stand in a
million rows, and a damaged file can end the process. So it has this one to itself, under limits of the system.

On stdout, pickled, one after the other: ("digest", SHA-256 of the file); ("rows", list of rows), a row being the value
or a `str` that says why it has none; then ("end", None), or ("fault", what is wrong).

Every block that Arrow is given is held against the hash that was taken of it while the whole file was hashed, so the
rows are of the very bytes whose digest is told.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from narrow_floats import rows_as_written

BLOCK_BYTES = 1024 * 1024
KEPT_BLOCKS = 4
ROW_BYTES = 64
"""Counted for a row beside its values: a file of a few bytes may hold a billion empty rows."""


class Changed(Exception):
    """The file is not any more what was hashed."""


class Blocks(io.RawIOBase):
    """A file that gives out only what it was made of when it was hashed; `digest` is that of all of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hashes: list[bytes] = []
        self._kept: dict[int, bytes] = {}
        self._at = 0
        self.size = 0
        whole = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            whole.update(block)
            self._hashes.append(_short(block))
            self.size += len(block)
        self.digest = whole.hexdigest()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        number, start = divmod(self._at, BLOCK_BYTES)
        if self._at >= self.size or not len(view):
            return 0
        data = self._block(number)[start : start + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read(self, size: int = -1) -> bytes:
        wanted = self.size - self._at if size is None or size < 0 else size
        parts = []
        while wanted > 0 and (part := super().read(min(wanted, BLOCK_BYTES))):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def _block(self, number: int) -> bytes:
        if number not in self._kept:
            self._file.seek(number * BLOCK_BYTES)
            block = self._file.read(BLOCK_BYTES)
            if _short(block) != self._hashes[number]:
                raise Changed
            if len(self._kept) >= KEPT_BLOCKS:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = block
        return self._kept[number]


def _short(block: bytes) -> bytes:
    return hashlib.blake2b(block, digest_size=32).digest()


def main() -> None:
    settings = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no row

    def send(message: bytes) -> None:
        out.write(message)
        out.flush()

    def say(kind: str, what: Any) -> None:
        send(packed(kind, what))

    blocks = Blocks(sys.stdin.buffer)
    say("digest", blocks.digest)
    bound = settings["free"] + settings["times"] * blocks.size
    _limit(resource.RLIMIT_AS, settings["memory"])
    _limit(resource.RLIMIT_CPU, settings["seconds"] + bound // settings["bytes_per_second"])
    try:
        _rows(blocks, settings, bound, send)
    except Changed:
        say("fault", "it changed while it was read")
    except MemoryError:
        say("fault", settings["too_large"])
    except Exception as error:  # whatever Arrow makes of a hostile file: this process has no other task
        say("fault", (str(error) or type(error).__name__).splitlines()[0])
    else:
        say("end", None)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    with contextlib.suppress(OSError, ValueError):  # macOS knows the limit of memory and does not take it
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def packed(kind: str, what: Any) -> bytes:
    """A message as it is sent."""
    return pickle.dumps((kind, what), protocol=pickle.HIGHEST_PROTOCOL)


def _rows(blocks: Blocks, settings: dict[str, Any], bound: int, send: Callable[[bytes], None]) -> None:
    import pyarrow.parquet

    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)
    taken = 0
    # With a buffer a column's chunk is not read whole.
    with pyarrow.parquet.ParquetFile(blocks, buffer_size=BLOCK_BYTES, pre_buffer=False) as table:
        if table.metadata.num_columns > settings["columns"]:
            raise ValueError(f"{table.metadata.num_columns} columns, and at most {settings['columns']} are read")
        names = table.schema_arrow.names
        if len(set(names)) < len(names):
            repeated = next(name for name, count in Counter(names).items() if count > 1)
            raise ValueError(f"two columns are called `{repeated}`")
        for batch in table.iter_batches(batch_size=settings["batch"], use_threads=False):
            for message in _messages(_decoded(batch), settings["row_bytes"], settings["row_values"]):
                taken += len(message)
                send(message)
            taken += ROW_BYTES * batch.num_rows
            if taken > bound:
                raise ValueError(
                    f"{blocks.size} bytes unpack to more than {bound}, over {settings['times']} times as many"
                )


def _messages(batch: Any, row_bytes: int, row_values: int) -> Iterator[bytes]:
    """The rows of a batch, at once, or one by one where they are large."""
    if batch.nbytes <= row_bytes and _values(batch.columns) <= row_values:
        try:
            message = packed("rows", _listed(batch))
        except MemoryError:
            raise
        except Exception:  # a value that Python has no word for: which row has it?
            message = b""
        if 0 < len(message) <= row_bytes:
            yield message
            return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        if (values := _values(row.columns)) > row_values:
            yield packed("rows", [f"the row has {values} values; the limit is {row_values}"])
            continue
        message = b"" if row.nbytes > row_bytes else packed("rows", [_value(row)])
        if not 0 < len(message) <= row_bytes:
            message = packed("rows", [f"the row has {max(row.nbytes, len(message))} bytes; the limit is {row_bytes}"])
        yield message


def _values(columns: Any) -> int:
    """How many values some columns hold, those in lists and structs, too: pickled they are small, as objects not."""
    import pyarrow

    count = 0
    waiting = list(columns)
    while waiting:
        column = waiting.pop()
        count += len(column)
        if isinstance(column, pyarrow.ExtensionArray):
            waiting.append(column.storage)
        elif isinstance(column, pyarrow.StructArray):
            waiting += column.flatten()
        elif pyarrow.types.is_map(column.type):  # which Arrow does not flatten
            first, last = column.offsets[0].as_py(), column.offsets[-1].as_py()
            waiting += [half.slice(first, last - first) for half in (column.keys, column.items)]
        elif pyarrow.types.is_nested(column.type) and hasattr(column, "flatten"):
            waiting.append(column.flatten())
    return count


def _decoded(batch: Any) -> Any:
    """The batch with categories as the values that they stand for: else all of them count, and cost, in every batch."""
    import pyarrow

    columns = [
        column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column for column in batch.columns
    ]
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _listed(batch: Any) -> list[Any]:
    return rows_as_written(batch.to_pylist(), batch.schema)


def _value(row: Any) -> Any:
    try:
        return _listed(row)[0]
    except MemoryError:
        raise
    except Exception as error:
        return f"a value cannot be read: {(str(error) or type(error).__name__).splitlines()[0]}"


if __name__ == "__main__":
    main()
