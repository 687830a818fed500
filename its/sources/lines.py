"""Bytes of a local file, packed or not, hashed while they are read, and its lines with a bound on memory.

What a file unpacks to is bounded by what it is packed in: `UNPACKED_TIMES` its bytes and `UNPACKED_FREE` beside. A
row is bounded by `MAX_LINE_BYTES`. So a small file takes little memory and little time, whatever it says of itself.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from its.data_files import PATH_HINT
from its.errors import DataError
from its.files import open_regular
from its.foreign_files import START_BYTES, foreign_start
from its.rows import MAX_LINE_BYTES

MAX_SKIPPED_BYTES = 4 * MAX_LINE_BYTES
"""Of one line: a file of terabytes may be a hole on the disk."""
MAX_BLANK_LINES = 1_000_000
"""In a row: no honest file has so many, and an archive of 1 MB can hold a thousand times as many."""
UNPACKED_TIMES = 250
"""Texts pack 3 to 20 times, rows that all repeat one prompt of 10 kB 175 times; deflate ends at 1,032, zstd nowhere."""
UNPACKED_FREE = 64 * 1024 * 1024
"""So that small files are never in question; a million short rows."""

_PACKED = {".gz": "gzip", ".zst": "zstd"}
_SKIP_BYTES = 1024 * 1024
_START_BYTES = 8192
_ENCODINGS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""By the byte order mark, which a file has that Excel, Notepad or PowerShell wrote."""
_UNMARKED = {re.compile(rb"(?:[\t\n\r -~]\0){4}"): "UTF-16LE", re.compile(rb"(?:\0[\t\n\r -~]){4}"): "UTF-16BE"}


@contextmanager
def opened(path: Path, label: str) -> Iterator[HashedReader]:
    """The file's bytes, unpacked while they are read.

    Args:
        path: the file.
        label: how errors call it.

    Raises:
        MissingError, DataError: as `open_regular`.
        DataError: if its first bytes are those of something else (a web page, a pointer of git-lfs, UTF-16); while
            reading, if the archive is damaged, cut or unpacks to too much.
    """
    with open_regular(path, label, PATH_HINT) as file:
        _refuse_foreign(file.peek(START_BYTES)[:START_BYTES], label)
        hashed = _Hashed(file)
        unpacked: io.RawIOBase = hashed
        if packing := _PACKED.get(path.suffix.lower()):
            # Arrow's stream notices a cut archive and unpacks in small steps; python-zstandard's does not notice.
            import pyarrow

            packed = io.BufferedReader(hashed, _SKIP_BYTES)
            if not packed.peek(1):
                raise DataError(f"{label}: empty, not even an archive", "get the file again")
            stream = pyarrow.input_stream(packed, compression=packing)
            unpacked = _Unpacking(stream, hashed, label)
        source = HashedReader(unpacked, hashed)
        start = source.peek(START_BYTES)[:START_BYTES]
        if packing:
            _refuse_foreign(start, label, packed=True)
        _refuse_encoding(start, label)
        yield source


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


class HashedReader(io.BufferedReader):
    """The bytes of a file, unpacked, and the SHA-256 of the file itself."""

    def __init__(self, unpacked: io.RawIOBase, file: _Hashed) -> None:
        super().__init__(unpacked, _SKIP_BYTES)
        self._file = file

    def sha256(self) -> str:
        """The digest of the whole file, packed as it is, over the very bytes that were read; reads it to its end."""
        while self._file.read(_SKIP_BYTES):  # what stands behind the end of an archive is of the file, too
            pass
        return self._file.digest.hexdigest()


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
            hint = "get the file again, or unpack it; one that was never packed is named without `.gz` or `.zst`"
            raise DataError(f"{self._label}: damaged archive: {message}", hint) from error
        view[: len(data)] = data
        self._size += len(data)
        if self._size > UNPACKED_FREE + UNPACKED_TIMES * self._packed.size:
            raise DataError(
                f"{self._label}: {self._packed.size} bytes unpack to more than {self._size - len(data)}, "
                f"over {UNPACKED_TIMES} times as many",
                "rows do not compress so well: inspect it before you trust it; once unpacked, it is read",
            )
        return len(data)


def refuse_foreign_start(file: BinaryIO, label: str) -> None:
    """Raise what the first bytes of an open file say, if they are those of something else; nothing is taken of it.

    Raises:
        DataError: if they are.
    """
    _refuse_foreign(os.pread(file.fileno(), START_BYTES, 0), label)


def _refuse_foreign(start: bytes, label: str, packed: bool = False) -> None:
    if found := foreign_start(start, label, packed):
        what, remedy = found
        raise DataError(f"{label}: {what}", remedy)


def _refuse_encoding(start: bytes, label: str) -> None:
    encoding = _ENCODINGS.get(start[:4]) or _ENCODINGS.get(start[:2])
    encoding = encoding or next((name for form, name in _UNMARKED.items() if form.match(start)), None)
    if encoding:
        path = PurePosixPath(label)
        tool = {".gz": "gzip -dc", ".zst": "zstd -dc"}.get(path.suffix.lower())
        plain = PurePosixPath(label.removesuffix(path.suffix)) if tool else path
        given, new = shlex.quote(label), shlex.quote(f"{plain.with_suffix('')}_utf8{plain.suffix}")
        convert = f"iconv -f {encoding} -t UTF-8"
        command = f"{tool} {given} | {convert} > {new}" if tool else f"{convert} {given} > {new}"
        raise DataError(f"{label}: {encoding}, expected UTF-8", f"`{command}`, and name the new file")


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
