"""A data file written anew as JSON lines: what people have, as `files` reads it."""

from __future__ import annotations

import os
from pathlib import Path

from its.errors import DataError
from its.files import atomic_file
from its.sources.convert import json_lines


def convert_file(path: Path, out: Path, at: str | None) -> int:
    """Write the rows of a file as JSON lines; how many there are.

    Args:
        at: of one JSON object, the key of the list that holds the rows.

    Raises:
        DataError: if `out` exists or is not called `.jsonl`, or the rows cannot be told from the file.
        MissingError: if there is no such file.
        RunError: if `out` cannot be written.
    """
    if out.suffix.lower() != ".jsonl":
        raise DataError(f"{out}: JSON lines are written, and its name says another form", "give a name in `.jsonl`")
    if os.path.lexists(out):
        raise DataError(f"`{out}` exists", "name a file that does not; nothing is overwritten")
    rows = 0
    with atomic_file(out, typed=True) as target:
        for line in json_lines(path, str(path), at):
            target.write(line + "\n")
            rows += 1
        if not rows:
            raise DataError(f"{path}: no row", "is it the right file?")
    return rows
