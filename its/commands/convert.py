"""Rewrite a data file as JSON lines, in the form that a source of kind `files` reads."""

from __future__ import annotations

import os
from pathlib import Path

from its.errors import DataError
from its.files import atomic_file
from its.sources.convert import json_lines


def convert_file(path: Path, out: Path, at: str | None) -> int:
    """Write the rows of a file as JSON lines and return their number.

    Args:
        at: of one JSON object, the key of the list that holds the rows.

    Raises:
        DataError: if `out` exists or is not called `.jsonl`, or the rows cannot be found in the file.
        MissingError: if there is no such file.
        RunError: if `out` cannot be written.
    """
    if out.suffix.lower() != ".jsonl":
        raise DataError(
            f"{out}: the output is JSON lines, but the name does not end in `.jsonl`",
            "choose a name that ends in `.jsonl`",
        )
    if os.path.lexists(out):
        raise DataError(f"`{out}` exists", "choose a new name; nothing is overwritten")
    rows = 0
    with atomic_file(out, typed=True) as target:
        for line in json_lines(path, str(path), at):
            target.write(line + "\n")
            rows += 1
        if not rows:
            raise DataError(f"{path}: no row", "is it the right file?")
    return rows
