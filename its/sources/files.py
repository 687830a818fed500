"""Records of local files: JSON lines, JSON (an array), CSV, TSV, Parquet by their ending; the text ones also packed."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import IO, Any

from its.data_files import PATH_HINT, ending_of
from its.errors import DataError
from its.files import open_regular
from its.rows import MAX_LINE_BYTES, unrepeated
from its.sources.arrays import elements, reason
from its.sources.lines import bounded_lines, opened
from its.sources.parquet import read_parquet
from its.sources.records import RAW_CHARACTERS, Record, RowFault, Table, kept
from its.sources.shapes import converted, mistaken_json, renamed
from its.streams import Stream
from its.values import MAX_VALUES, exceeds

SEPARATORS = {",": "commas", "\t": "tabs", ";": "`;`", "|": "`|`"}
"""Of columns, with how errors call them; the first two are read, under `.csv` and `.tsv`."""
MAX_ROW_LINES = 1_000_000
"""Of a CSV file in one row: reasoning traces have below 100,000."""
Reader = Generator[Record, None, str]
"""The records of a file, then the SHA-256 of the bytes that they came from."""
Verify = Callable[[str], None]


def read_file(
    path: Path,
    label: str | None = None,
    verify: Verify = lambda digest: None,
    empty: bool = False,
) -> Table:
    """The records of a data file, streamed.

    Args:
        path: the file; its ending says the format.
        label: how places and errors call it; None is the path.
        verify: called with the SHA-256 of the very bytes that the records come from, as soon as it is known (of Parquet
            before the first record, of the others after the last); what it raises ends the records.
        empty: whether a file of 0 bytes has no records; otherwise it is an error. Of a set of files some may be empty.

    Raises:
        MissingError: if there is no such file.
        DataError: if the ending is unknown, or it is not a regular file; while reading, if the file as a whole is
            damaged (an archive that is cut or unpacks to too much, a broken Parquet file or JSON array, a CSV file
            without a header) or is not what its ending says.
    """
    name = str(path) if label is None else label
    try:
        ending = ending_of(name)
    except DataError:
        open_regular(path, name, PATH_HINT).close()  # where there is no file, its ending is not what is wrong
        raise
    by_line = ending in (".jsonl", ".ndjson", ".csv", ".tsv")
    place: Callable[[int], str] = (lambda n: f"{name}:{n}") if by_line else (lambda n: f"{name}[{n}]")
    return Table(name, place, Stream(_records(path, name, ending, verify, empty)))


def _records(path: Path, name: str, ending: str, verify: Verify, empty: bool) -> Reader:
    with open_regular(path, name, PATH_HINT) as file:
        if os.fstat(file.fileno()).st_size == 0:
            if not empty:
                raise DataError(f"{name}: the file is empty", "get it again, or name another")
            digest = hashlib.sha256().hexdigest()
            verify(digest)
            return digest
    return (yield from _READERS[ending](path, name, verify))


def _exact(literal: str) -> float | Decimal:
    """A JSON number as a float, or as a decimal where a float would lose digits of it."""
    number = float(literal)
    try:
        exact = Decimal(literal)
    except InvalidOperation as error:
        raise ValueError(f"the exponent of `{literal[:RAW_CHARACTERS]}` is out of any range") from error
    return number if Decimal(repr(number)) == exact else exact


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return unrepeated(pairs, lambda key: f"the key `{key}` appears twice in one object")


DECODER = json.JSONDecoder(parse_float=_exact, object_pairs_hook=_unrepeated)
"""Keeps every digit of a number, and refuses a key that one object has twice."""


def _json_lines(path: Path, name: str, verify: Verify) -> Reader:
    first = True
    with opened(path, name) as source:
        for number, line, length in bounded_lines(source, name):
            if length is None and line.isspace():
                continue
            fault, value = None, None
            if length is not None:
                fault = RowFault(_too_long(length), "a row is one line: fix the file")
            elif exceeds(line):
                fault = RowFault(f"the line has more than {MAX_VALUES} values", "a row is one line: fix the file")
            else:
                try:
                    value = DECODER.decode(line.decode("utf-8"))
                except UnicodeDecodeError as error:
                    fault = RowFault(f"not UTF-8 at byte {error.start}", "re-encode the file")
                except json.JSONDecodeError as error:
                    fault = _broken(error, line)
                except RecursionError:
                    fault = RowFault("broken JSON: nested too deeply", "fix or remove this line")
                except ValueError as error:  # a number of thousands of digits, a repeated key
                    fault = RowFault(f"JSON: {reason(error)}", "fix or remove this line")
            if first and not isinstance(value, dict) and (mistaken := mistaken_json(path, name)) is not None:
                raise mistaken
            first = False
            yield Record(number, value) if fault is None else Record(number, None, fault, _raw(line))
        digest = source.sha256()
    verify(digest)
    return digest


def _broken(error: json.JSONDecodeError, line: bytes) -> RowFault:
    if b"\0" in line:
        return RowFault("the line contains NUL bytes", "the file is damaged: get it again, or remove this line")
    if line.strip() == b"\x1a":
        return RowFault("the line is a lone Ctrl-Z, as DOS ended a file", "remove this line")
    message = f"broken JSON at column {error.colno}: {error.msg.lower()}"
    if line.lstrip().startswith(b"{'"):
        return RowFault(f"{message}; it is Python's notation for an object", "write the rows with `json.dumps`")
    if not line.endswith(b"\n"):
        return RowFault(f"{message}; it is the last line and has no end", "the file was cut off: get it again")
    return RowFault(message, "fix or remove this line")


def _too_long(length: int) -> str:
    return f"the line has {length} bytes; the limit is {MAX_LINE_BYTES}"


def _raw(line: bytes) -> str:
    # Cut before decoding: a line may be as long as the limit, and no character has more than four bytes.
    return kept(line[: 4 * RAW_CHARACTERS + 4].decode("utf-8", "backslashreplace").rstrip("\n"))


def _json_array(path: Path, name: str, verify: Verify) -> Reader:
    index = -1
    try:
        with opened(path, name) as source:
            for index, row in enumerate(elements(source, name, DECODER, MAX_LINE_BYTES)):
                yield Record(index, row)
            digest = source.sha256()
    except DataError as error:
        mistaken = mistaken_json(path, name) if index < 0 else None
        raise mistaken or error from error
    verify(digest)
    return digest


def _separated(path: Path, name: str, verify: Verify, separator: str) -> Reader:
    """A header, then rows. An empty cell is an absent value: CSV does not distinguish it from an empty text."""
    csv.field_size_limit(MAX_LINE_BYTES)  # the module's own limit of 128 KiB is below a reasoning trace
    header: list[str] | None = None
    compared = False
    with opened(path, name) as source:
        lines = CsvLines(source, name, separator)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        while True:
            number = lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                fault = RowFault(f"broken CSV: {error}", "is a quote left open, or not doubled?")
                yield Record(number, None, fault)
                continue
            if not cells:
                continue
            if header is None:
                heading = lines.row
                header = _header(cells, name, number, separator)
                continue
            if len(cells) != len(header):
                if not compared and (other := _other_separator(heading, lines.row, separator)):
                    raise _separated_by(other, name, number, separator)
                compared = True
                message = f"the row has {len(cells)} columns, the header {len(header)}"
                fault = RowFault(message, f"quote cells that contain {SEPARATORS[separator]} or line ends")
                yield Record(number, None, fault, kept(cells[:RAW_CHARACTERS]))
            else:
                compared = True
                yield Record(number, {key: cell or None for key, cell in zip(header, cells, strict=True)})
        if header is None:
            raise DataError(f"{name}:1: no header", "the first line of a CSV file names its columns")
        digest = source.sha256()
    verify(digest)
    return digest


class CsvLines:
    """The lines of a CSV file, for its parser, with a bound on what one row takes: a quote that is open takes them all.

    Bytes that are not UTF-8 become lone surrogates, which are a fault of their row.
    """

    def __init__(self, source: IO[bytes], name: str, separator: str) -> None:
        self._lines = bounded_lines(source, name)
        self._name = name
        self._separator = separator
        self._mark = separator.encode()
        self._number = self._begun = self._taken = self._marks = 0
        self.row = ""

    def begin_row(self) -> int:
        """The number of the next line, with which a row begins."""
        self._taken, self._marks, self._begun = 0, 0, self._number + 1
        return self._begun

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._number, line, length = next(self._lines)
        if length is not None:
            # Its columns cannot be counted, so no later row can be trusted either.
            raise DataError(f"{self._name}:{self._number}: {_too_long(length)}", "is it a CSV file?")
        self._taken += len(line)
        if self._taken > MAX_LINE_BYTES or self._number - self._begun >= MAX_ROW_LINES:
            message = f"the row that begins here has more than {MAX_LINE_BYTES} bytes or {MAX_ROW_LINES} lines"
            raise DataError(f"{self._name}:{self._begun}: {message}", "is a quote left open, or not doubled?")
        self._marks += line.count(self._mark)
        if self._marks > MAX_VALUES:
            message = f"the row that begins here has more than {MAX_VALUES} {SEPARATORS[self._separator]}"
            raise DataError(f"{self._name}:{self._begun}: {message}", "is it a CSV file?")
        self.row = line.decode("utf-8", "surrogateescape")
        return self.row


def _header(cells: list[str], name: str, number: int, separator: str) -> list[str]:
    other = (
        next((mark for mark in SEPARATORS if mark != separator and mark in cells[0]), None) if len(cells) == 1 else None
    )
    if other is not None:
        raise _separated_by(other, name, number, separator)
    repeated = sorted(cell for cell, count in Counter(cells).items() if count > 1)
    if repeated:
        raise DataError(f"{name}:{number}: the header names `{repeated[0]}` twice", "rename one column")
    return cells


def _other_separator(header: str, row: str, separator: str) -> str | None:
    """Which other mark parts a header and the row behind it into equally many cells, more than one."""
    for mark in SEPARATORS:
        try:
            counts = [len(next(csv.reader([line], delimiter=mark, strict=True), [])) for line in (header, row)]
        except csv.Error:
            continue
        if mark != separator and counts[0] == counts[1] > 1:
            return mark
    return None


def _separated_by(other: str, name: str, number: int, separator: str) -> DataError:
    said = f"{name}:{number}: the columns are separated by {SEPARATORS[other]}, expected {SEPARATORS[separator]}"
    return DataError(said, renamed(name, ".tsv" if other == "\t" else ".csv") if other in ",\t" else converted(name))


_READERS: dict[str, Callable[[Path, str, Verify], Reader]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".csv": partial(_separated, separator=","),
    ".tsv": partial(_separated, separator="\t"),
    ".parquet": read_parquet,
}
