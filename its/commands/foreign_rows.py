"""The JSON in someone else's file: rows one by one, or a whole document; bounded, also where it is packed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from its.errors import DataError, Fault
from its.rows import MAX_DOCUMENT_BYTES, MAX_LINE_BYTES, Line, unrepeated
from its.shown import quoted
from its.sources.arrays import elements
from its.sources.lines import bounded_lines, opened
from its.values import MAX_VALUES, exceeds

MAX_DOCUMENT_VALUES = 4_000_000
"""Of a log that is one document: some hundred for each of 10,000 responses."""
_START = 8192
_HINT = "fix or remove this line"


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return unrepeated(pairs, lambda key: f"the key `{quoted(key)}` appears twice in one object")


DECODER = json.JSONDecoder(object_pairs_hook=_unrepeated)
"""Refuses a key that one object has twice: of two verdicts one would be lost."""


def opening(path: Path) -> bytes:
    """The first character of a file that is no space, unpacked where its name ends in `.gz` or `.zst`; b"" if none.

    Raises:
        DataError: if its first bytes are those of something else (a web page, a spreadsheet), as `opened`.
    """
    with opened(path, str(path)) as source:
        return source.peek(_START)[:_START].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def plain_ending(path: Path) -> str:
    """The ending of a file's name without that of its packing, in lower case: `.json` of `log.json.gz`."""
    return PurePosixPath(path.name.lower().removesuffix(".gz").removesuffix(".zst")).suffix


def foreign_rows(path: Path) -> Iterator[Line | Fault]:
    """The rows of JSON lines, numbered from 1, or of one JSON array, from 0.

    Raises:
        DataError, FaultsError: if the file as a whole cannot be read, as `opened`, `bounded_lines` and `elements`.
    """
    name = str(path)
    array = opening(path) == b"["
    with opened(path, name) as source:
        if array:
            for index, value in enumerate(elements(source, name, DECODER, MAX_LINE_BYTES)):
                yield Line(index, value)
            return
        for number, line, length in bounded_lines(source, name):
            where = f"{name}:{number}"
            if length is not None:
                yield Fault(where, f"the line has more than {MAX_LINE_BYTES} bytes", "is it a file of JSON lines?")
            elif exceeds(line):
                yield Fault(where, f"the line has more than {MAX_VALUES} values", "is it a file of JSON lines?")
            elif not line.isspace():
                try:
                    yield Line(number, _decoded(line))
                except ValueError as error:
                    yield Fault(where, str(error), _HINT)


def foreign_document(path: Path) -> Any:
    """The one value of a JSON document.

    Raises:
        DataError: if it has more than MAX_DOCUMENT_BYTES bytes or MAX_DOCUMENT_VALUES values, or as `opened` and
            `json_of`.
    """
    with opened(path, str(path)) as source:
        content = source.read(MAX_DOCUMENT_BYTES + 1)
    if len(content) > MAX_DOCUMENT_BYTES:
        raise DataError(f"{path}: has more than {MAX_DOCUMENT_BYTES} bytes", "is it the right file?")
    return json_of(content, str(path), MAX_DOCUMENT_VALUES)


def json_of(content: bytes, where: str, most: int = MAX_VALUES) -> Any:
    """The value of a JSON document.

    Raises:
        DataError: if it is not JSON in UTF-8, has more than `most` values, or an object has a key twice.
    """
    if exceeds(content, most):
        hint = "is it the right file? Of an Inspect log the `.eval` file has no such limit for the whole"
        raise DataError(f"{where}: has more than {most} values", hint)
    try:
        return _decoded(content)
    except ValueError as error:
        raise DataError(f"{where}: {error}", "is the file whole?") from error


def _decoded(content: bytes) -> Any:
    """The value.

    Raises:
        ValueError: with what is wrong, and where.
    """
    try:
        return DECODER.decode(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON at line {error.lineno}, column {error.colno}: {error.msg.lower()}") from error
    except RecursionError as error:
        raise ValueError("broken JSON: nested too deeply") from error
    except ValueError as error:  # a repeated key, an integer of thousands of digits
        raise ValueError(f"JSON: {str(error).partition(';')[0]}") from error
