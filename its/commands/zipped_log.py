"""The entries of a zipped log of Inspect, packed by deflate or, as Inspect 0.3.285 does, by zstd.

An archive of some kB can unpack to gigabytes, so reading stops at a limit, whatever the archive says of itself. Names
of entries are only compared: nothing is written anywhere.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from its.commands.foreign_rows import json_of
from its.errors import DataError
from its.files import open_regular
from its.rows import MAX_LINE_BYTES
from its.shown import quoted
from its.sources.lines import UNPACKED_FREE, UNPACKED_TIMES

MAX_ENTRIES = 200_000
"""Of an archive."""
MAX_UNPACKED = 2**31
"""Bytes of all entries that are read."""
_ZSTD = 93
"""The number of zstd among the methods of zip, which Python knows from 3.14 on."""
_DAMAGED = (zipfile.BadZipFile, zstandard.ZstdError, zlib.error, EOFError, NotImplementedError, RuntimeError)


def zip_entries(path: Path, wanted: Callable[[str], bool], hint: str) -> Iterator[tuple[str, Any]]:
    """The name and the JSON value of each wanted entry, in the order of the archive; of two with one name the last.

    Args:
        wanted: whether an entry is read, by its name.
        hint: what to do if it cannot be unpacked.

    Raises:
        DataError: if the archive is damaged or encrypted, is packed in another way, has more than MAX_ENTRIES entries,
            unpacks to more than MAX_UNPACKED bytes or UNPACKED_TIMES its own (UNPACKED_FREE are always read), or if an
            entry is not JSON or has more than MAX_LINE_BYTES bytes.
    """
    try:
        with open_regular(path) as source, zipfile.ZipFile(source) as archive:
            limit = min(MAX_UNPACKED, UNPACKED_FREE + UNPACKED_TIMES * source.seek(0, 2))
            found = archive.infolist()
            entries = {item.filename: item for item in found if wanted(item.filename)}
            size = sum(item.file_size for item in entries.values())
            if len(found) > MAX_ENTRIES or size > limit:
                what = f"{len(found)} entries, and those to read unpack to {size} bytes"
                raise DataError(f"{path}: {what}; at most {MAX_ENTRIES} and {limit} are read", hint)
            for name, item in entries.items():
                where = f"{path}: {quoted(name)}"
                if item.file_size > MAX_LINE_BYTES:
                    raise DataError(f"{where}: has more than {MAX_LINE_BYTES} bytes", hint)
                yield name, json_of(_content(archive, item, source), where)
    except _DAMAGED as error:
        raise DataError(f"{path}: the log cannot be unpacked: {quoted(error)}", hint) from error


def _content(archive: zipfile.ZipFile, item: zipfile.ZipInfo, source: IO[bytes]) -> bytes:
    """The bytes of an entry: as many as it says it has, with the checksum that it says they have."""
    if item.compress_type != _ZSTD:
        with archive.open(item) as entry:
            content = entry.read(item.file_size + 1)  # the checksum is compared where the end is reached
    elif item.flag_bits & 1:
        raise RuntimeError("an entry is encrypted")
    else:
        source.seek(item.header_offset)
        head = source.read(30)
        if len(head) < 30 or not head.startswith(b"PK\x03\x04"):
            raise zipfile.BadZipFile(f"no entry where {quoted(item.filename)} would begin")
        source.seek(sum(struct.unpack("<HH", head[26:])), 1)
        packed = source.read(min(item.compress_size, MAX_LINE_BYTES + 1))
        # Inspect begins a new frame after 200 MiB.
        with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as unpacked:
            content = unpacked.read(item.file_size + 1)
        if zlib.crc32(content) != item.CRC:
            raise zipfile.BadZipFile(f"bad checksum of {quoted(item.filename)}")
    if len(content) != item.file_size:
        raise zipfile.BadZipFile(f"{quoted(item.filename)} is cut")
    return content
