"""Search the files of a study for secrets before they are published."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zstandard

from its.errors import Fault
from its.files import open_regular
from its.secrets import looks_secret, secrets_in

HINT = "remove it where the file comes from, and replace the key: it may have been seen"
_MOST_PARSED = 64 * 2**20
"""Bytes of one document that is parsed as well as searched line by line."""


def secret_faults(path: Path, name: str) -> Iterator[Fault]:
    """The place of every line of a text file that contains what looks like a key or a password, never the secret.

    Lines of JSON are searched as they are written and as the texts that they encode: after `\\n` in a text a key
    would not be seen otherwise.

    Args:
        name: how faults call the file.
    """
    with open_regular(path) as source:
        if path.name.endswith(".jsonl.zst"):
            reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
            yield from _in_lines(io.BufferedReader(reader), name, parsed=True)
            return
        yield from _in_lines(source, name, parsed=path.suffix == ".jsonl")
        if path.suffix == ".json" and source.tell() <= _MOST_PARSED:
            source.seek(0)
            yield from _in_document(source.read(), name)


def _in_lines(source: IO[bytes], name: str, *, parsed: bool) -> Iterator[Fault]:
    for number, raw in enumerate(source, 1):
        text = raw.decode("utf-8", "replace")
        if looks_secret(text) or (parsed and _encodes_secret(text)):
            yield Fault(f"{name}:{number}", "looks like a key or a password", HINT)


def _encodes_secret(text: str) -> bool:
    if "\\" not in text:
        return False  # the texts are written as they are
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return next(secrets_in(value, names=False), None) is not None


def _in_document(content: bytes, name: str) -> Iterator[Fault]:
    """The keys of a document whose texts contain a secret; a line that has one is named by `_in_lines`."""
    if b"\\" not in content:
        return
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return
    for location, reason in secrets_in(value, names=False):
        yield Fault(f"{name}: {'.'.join(map(str, location))}", reason, HINT)
