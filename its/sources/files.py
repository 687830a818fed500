"""Records of local files: JSON (an array), JSONL, CSV, Parquet by their ending; the text ones also packed."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any

from its.errors import DataError
from its.files import open_regular
from its.rows import MAX_LINE_BYTES, unrepeated
from its.sources.arrays import elements, reason
from its.sources.lines import PATH_HINT, bounded_lines, opened, unpacked_name
from its.sources.parquet import read_parquet
from its.sources.records import RAW_CHARACTERS, Record, RowFault, Table, kept
from its.values import MAX_VALUES, exceeds

MAX_ROW_LINES = 1_000_000
"""Of a CSV file in one row: reasoning traces have below 100,000."""
Reader = Callable[[Path, str, Callable[[str], None]], Iterator[Record]]


def read_file(path: Path, label: str | None = None, on_digest: Callable[[str], None] = lambda digest: None) -> Table:
    """The records of a data file, streamed.

    Args:
        path: the file; its ending says the format.
        label: how places and errors call it; None is the path.
        on_digest: is told the SHA-256 of the very bytes that the records came from, before the records end; what it
            raises ends them.

    Raises:
        MissingError: if there is no such file.
        DataError: if the ending is unknown, or it is no regular file; while reading, if the file as a whole is damaged
            (an archive that is cut or unpacks to too much, a broken Parquet file or JSON array, a CSV file without a
            header).
    """
    name = str(path) if label is None else label
    ending = Path(unpacked_name(path)).suffix.lower()
    if ending not in _READERS or (ending == ".parquet" and path.suffix.lower() != ".parquet"):
        open_regular(path, name, PATH_HINT).close()  # where there is no file, its ending is not what is wrong
        known = ", ".join(f"`{item}`" for item in _READERS)
        raise DataError(f"{name}: unknown ending `{path.suffix}`", f"known: {known}; the text ones also `.gz`, `.zst`")
    by_line = ending in (".jsonl", ".csv")
    place: Callable[[int], str] = (lambda n: f"{name}:{n}") if by_line else (lambda n: f"{name}[{n}]")
    return Table(name, place, _READERS[ending](path, name, on_digest))


def _exact(literal: str) -> float | Decimal:
    """A JSON number as a float, or as a decimal where a float would lose digits of it."""
    number = float(literal)
    try:
        exact = Decimal(literal)
    except InvalidOperation as error:
        raise ValueError(f"the exponent of `{literal[:RAW_CHARACTERS]}` is out of any range") from error
    return number if Decimal(repr(number)) == exact else exact


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return unrepeated(pairs, lambda key: f"the key `{key}` stands twice in one object")


_DECODER = json.JSONDecoder(parse_float=_exact, object_pairs_hook=_unrepeated)


def _json_lines(path: Path, name: str, on_digest: Callable[[str], None]) -> Iterator[Record]:
    with opened(path, name, on_digest) as source:
        for number, line, length in bounded_lines(source, name):
            if length is None and line.isspace():
                continue
            fault, value = None, None
            if length is not None:
                fault = RowFault(_too_long(length), "a row is one line: mend the file")
            elif exceeds(line):
                fault = RowFault(f"the line has more than {MAX_VALUES} values", "a row is one line: mend the file")
            else:
                try:
                    value = _DECODER.decode(line.decode("utf-8"))
                except UnicodeDecodeError as error:
                    fault = RowFault(f"not UTF-8 at byte {error.start}", "re-encode the file")
                except json.JSONDecodeError as error:
                    fault = _broken(error, line)
                except RecursionError:
                    fault = RowFault("broken JSON: nested too deeply", "mend or remove this line")
                except ValueError as error:  # a number of thousands of digits, a repeated key
                    fault = RowFault(f"JSON: {reason(error)}", "mend or remove this line")
            yield Record(number, value) if fault is None else Record(number, None, fault, _raw(line))


def _broken(error: json.JSONDecodeError, line: bytes) -> RowFault:
    if b"\0" in line:
        return RowFault("the line holds NUL bytes", "the file is damaged: get it again, or remove this line")
    if line.strip() == b"\x1a":
        return RowFault("the line holds a Ctrl-Z alone, as DOS ended a file", "remove this line")
    message = f"broken JSON at column {error.colno}: {error.msg.lower()}"
    if not line.endswith(b"\n"):
        return RowFault(f"{message}; it is the last line and has no end", "the file was cut off: get it again")
    return RowFault(message, "mend or remove this line")


def _too_long(length: int) -> str:
    return f"the line has {length} bytes; the limit is {MAX_LINE_BYTES}"


def _raw(line: bytes) -> str:
    # Cut before decoding: a line may be as long as the limit, and no character has more than four bytes.
    return kept(line[: 4 * RAW_CHARACTERS + 4].decode("utf-8", "backslashreplace").rstrip("\n"))


def _json_array(path: Path, name: str, on_digest: Callable[[str], None]) -> Iterator[Record]:
    with opened(path, name, on_digest) as source:
        for index, row in enumerate(elements(source, name, _DECODER, MAX_LINE_BYTES)):
            yield Record(index, row)


def _csv(path: Path, name: str, on_digest: Callable[[str], None]) -> Iterator[Record]:
    """A header, then rows. An empty cell is an absent value: CSV cannot tell it from an empty text."""
    csv.field_size_limit(MAX_LINE_BYTES)  # the module's own limit of 128 KiB is below a reasoning trace
    header: list[str] | None = None
    with opened(path, name, on_digest) as source:
        lines = _CsvLines(source, name)
        reader = csv.reader(lines, strict=True)
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
                header = _header(cells, name)
            elif len(cells) != len(header):
                message = f"the row has {len(cells)} columns, the header {len(header)}"
                fault = RowFault(message, "quote cells that hold commas or line ends")
                yield Record(number, None, fault, kept(cells[:RAW_CHARACTERS]))
            else:
                yield Record(number, {key: cell or None for key, cell in zip(header, cells, strict=True)})
        if header is None:
            raise DataError(f"{name}:1: no header", "the first line of a CSV file names its columns")


class _CsvLines:
    """The lines of a CSV file, for its parser, with a bound on what one row takes: a quote that is open takes them all.

    Bytes that are no UTF-8 become lone surrogates, which are a fault of the row where they are met.
    """

    def __init__(self, source: IO[bytes], name: str) -> None:
        self._lines = bounded_lines(source, name)
        self._name = name
        self._number = self._begun = self._taken = self._commas = 0

    def begin_row(self) -> int:
        """The number of the next line, with which a row begins."""
        self._taken, self._commas, self._begun = 0, 0, self._number + 1
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
        self._commas += line.count(b",")
        if self._commas > MAX_VALUES:
            message = f"the row that begins here has more than {MAX_VALUES} commas"
            raise DataError(f"{self._name}:{self._begun}: {message}", "is it a CSV file?")
        return line.decode("utf-8", "surrogateescape")


def _header(cells: list[str], name: str) -> list[str]:
    separator = next((mark for mark in ";\t" if mark in cells[0]), None) if len(cells) == 1 else None
    if separator is not None:
        what = "tabs" if separator == "\t" else f"`{separator}`"
        raise DataError(f"{name}:1: the columns are separated by {what}, wanted commas", "write it anew with commas")
    repeated = sorted(cell for cell, count in Counter(cells).items() if count > 1)
    if repeated:
        raise DataError(f"{name}:1: the header names `{repeated[0]}` twice", "rename one column")
    return cells


_READERS: dict[str, Reader] = {
    ".jsonl": _json_lines,
    ".json": _json_array,
    ".csv": _csv,
    ".parquet": read_parquet,
}
