"""Bytes of a local file, packed or not, hashed while they are read, and its lines with a bound on memory.

What a file unpacks to is bounded by what it is packed in: `UNPACKED_TIMES` its bytes and `UNPACKED_FREE` beside. A
row is bounded by `MAX_LINE_BYTES`. So a small file takes little memory and little time, whatever it says of itself.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from its.errors import DataError
from its.files import open_regular
from its.rows import MAX_LINE_BYTES

MAX_SKIPPED_BYTES = 4 * MAX_LINE_BYTES
"""Of one line: a file of terabytes may be a hole on the disk."""
MAX_BLANK_LINES = 1_000_000
"""In a row: nobody writes so many, and an archive of 1 MB holds a thousand times as many."""
UNPACKED_TIMES = 250
"""Texts pack 3 to 20 times, rows that all repeat one prompt of 10 kB 175 times; deflate ends at 1,032, zstd nowhere."""
UNPACKED_FREE = 64 * 1024 * 1024
"""So that small files are never in question; a million short rows."""
PATH_HINT = "paths are relative to the folder of dvc.yaml and name one file"

_PACKED = {".gz": "gzip", ".zst": "zstd"}
_SKIP_BYTES = 1024 * 1024
_START_BYTES = 8192
_FOREIGN = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def unpacked_name(path: Path) -> str:
    """The file's name without `.gz` or `.zst`."""
    return path.stem if path.suffix.lower() in _PACKED else path.name


@contextmanager
def opened(path: Path, label: str, on_digest: Callable[[str], None]) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked while they are read.

    Args:
        path: the file.
        label: how errors call it.
        on_digest: is told the SHA-256 of the file as it lies there, packed, over the very bytes that were given out;
            after the last of them was read.

    Raises:
        MissingError, DataError: as `open_regular`.
        DataError: while reading, if the archive is damaged, cut or unpacks to too much, or if the file is UTF-16.
    """
    with open_regular(path, label, PATH_HINT) as file:
        hashed = _Hashed(file)
        unpacked: io.RawIOBase = hashed
        if packing := _PACKED.get(path.suffix.lower()):
            # Arrow's stream notices a cut archive and unpacks in small steps; python-zstandard's does not notice.
            import pyarrow

            start = io.BufferedReader(hashed, _SKIP_BYTES)
            if not start.peek(1):
                raise DataError(f"{label}: empty, not even an archive", "get the file again")
            stream = pyarrow.input_stream(start, compression=packing)
            unpacked = _Unpacking(stream, hashed, label)
        source = io.BufferedReader(unpacked, _SKIP_BYTES)
        _refuse_foreign(source.peek(4), label)
        yield source
        while hashed.read(_SKIP_BYTES):  # what stands behind the end of an archive is of the file, too
            pass
        on_digest(hashed.digest.hexdigest())


class _Hashed(io.RawIOBase):
    """A file with the SHA-256 and the number of the bytes that were read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._file.read(len(view))
        self.digest.update(data)
        self.size += len(data)
        view[: len(data)] = data
        return len(data)


class _Unpacking(io.RawIOBase):
    """Arrow's stream with its errors explained and its bytes counted."""

    def __init__(self, stream: IO[bytes], packed: _Hashed, label: str) -> None:
        self._stream = stream
        self._packed = packed
        self._label = label
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            data = self._stream.read(len(view))
        except (OSError, ValueError) as error:
            message = str(error).splitlines()[0]
            raise DataError(f"{self._label}: damaged archive: {message}", "get the file again, or unpack it") from error
        view[: len(data)] = data
        self._size += len(data)
        if self._size > UNPACKED_FREE + UNPACKED_TIMES * self._packed.size:
            raise DataError(
                f"{self._label}: {self._packed.size} bytes unpack to more than {self._size - len(data)}, "
                f"over {UNPACKED_TIMES} times as many",
                "no rows pack so well: look at it before you trust it; unpacked, it is read",
            )
        return len(data)


def _refuse_foreign(start: bytes, label: str) -> None:
    encoding = _FOREIGN.get(start[:4]) or _FOREIGN.get(start[:2])
    if encoding:
        raise DataError(f"{label}: {encoding}, wanted UTF-8", f"iconv -f {encoding} -t UTF-8 FILE > NEW")


def bounded_lines(source: IO[bytes], label: str) -> Iterator[tuple[int, bytes, int | None]]:
    """Yield (number, line, None) of each line, a UTF-8 byte order mark taken off the first.

    Of a line over MAX_LINE_BYTES only the start is given, and its length in place of the None; memory stays bounded.

    Raises:
        DataError: after MAX_BLANK_LINES blank lines in a row, or MAX_SKIPPED_BYTES of a line.
    """
    number = blank = 0
    while line := source.readline(MAX_LINE_BYTES + 1):
        number += 1
        length = None
        blank = blank + 1 if line.isspace() else 0
        if blank > MAX_BLANK_LINES:
            raise DataError(f"{label}:{number}: {MAX_BLANK_LINES} blank lines in a row", "get the file again")
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            length, line = len(line), line[:_START_BYTES]
            while rest := source.readline(_SKIP_BYTES):
                length += len(rest)
                if length > MAX_SKIPPED_BYTES:
                    raise DataError(f"{label}:{number}: a line of more than {MAX_SKIPPED_BYTES} bytes", "is it text?")
                if rest.endswith(b"\n"):
                    break
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, length
