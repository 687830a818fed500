"""Bytes of a local file, packed or not, and its lines with a bound on memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from its.errors import DataError

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is a fault: rows of reasoning traces are below 1 MB, so it is a file without line ends."""

_PACKED = {".gz": "gzip", ".zst": "zstd"}
_SKIP_BYTES = 1024 * 1024
_START_BYTES = 8192
_FOREIGN = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def unpacked_name(path: Path) -> str:
    """The file's name without `.gz` or `.zst`."""
    return path.stem if path.suffix.lower() in _PACKED else path.name


@contextmanager
def opened(path: Path, label: str) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked while they are read.

    Args:
        path: the file.
        label: how errors call it.

    Raises:
        DataError: while reading, if the archive is damaged or cut, or if the file is UTF-16.
    """
    packing = _PACKED.get(path.suffix.lower())
    if packing is None:
        with path.open("rb") as plain:
            _refuse_foreign(plain.peek(2), label)
            yield plain
        return
    # Arrow's stream notices a cut archive and unpacks in small steps; python-zstandard's reader does not notice.
    import pyarrow

    if path.stat().st_size == 0:
        raise DataError(f"{label}: empty, not even an archive", "get the file again")
    with pyarrow.input_stream(str(path), compression=packing) as stream:
        source = io.BufferedReader(_Unpacking(stream, label))
        _refuse_foreign(source.peek(2), label)
        yield source


class _Unpacking(io.RawIOBase):
    """Arrow's stream with its errors explained."""

    def __init__(self, stream: IO[bytes], label: str) -> None:
        self._stream = stream
        self._label = label

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            data = self._stream.read(len(view))
        except OSError as error:
            message = str(error).splitlines()[0]
            raise DataError(f"{self._label}: damaged archive: {message}", "get the file again, or unpack it") from error
        view[: len(data)] = data
        return len(data)


def _refuse_foreign(start: bytes, label: str) -> None:
    encoding = _FOREIGN.get(start[:2])
    if encoding:
        raise DataError(f"{label}: {encoding}, wanted UTF-8", f"iconv -f {encoding} -t UTF-8 FILE > NEW")


def bounded_lines(source: IO[bytes]) -> Iterator[tuple[int, bytes, int | None]]:
    """Yield (number, line, None) of each line, a UTF-8 byte order mark taken off the first.

    Of a line over MAX_LINE_BYTES only the start is given, and its length in place of the None; memory stays bounded.
    """
    number = 0
    while line := source.readline(MAX_LINE_BYTES + 1):
        number += 1
        length = None
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            length, line = len(line), line[:_START_BYTES]
            while rest := source.readline(_SKIP_BYTES):
                length += len(rest)
                if rest.endswith(b"\n"):
                    break
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line, length
