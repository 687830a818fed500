"""Records of local files: JSON (an array), JSONL, CSV, Parquet by their ending; the text ones also packed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from its.errors import DataError, Fault, FaultsError, MissingError
from its.sources.lines import MAX_LINE_BYTES, bounded_lines, opened, unpacked_name
from its.sources.records import RAW_CHARACTERS, Record, RowFault, Table, shown

_PARQUET_BATCH = 256


def read_file(path: Path, label: str | None = None) -> Table:
    """The records of a data file, streamed (a JSON array is read whole).

    Args:
        path: the file; its ending says the format.
        label: how places and errors call it; None is the path.

    Raises:
        MissingError: if there is no such file.
        DataError: if the ending is unknown; while reading, if the file as a whole is damaged (an archive that is
            cut, a broken Parquet file or JSON array, a CSV file without a header).
    """
    name = str(path) if label is None else label
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise MissingError(f"{name}: {what}", "paths are relative to the folder of dvc.yaml and name one file")
    ending = Path(unpacked_name(path)).suffix.lower()
    if ending not in _READERS or (ending == ".parquet" and path.suffix.lower() != ".parquet"):
        known = ", ".join(f"`{item}`" for item in _READERS)
        raise DataError(f"{name}: unknown ending `{path.suffix}`", f"known: {known}; the text ones also `.gz`, `.zst`")
    by_line = ending in (".jsonl", ".csv")
    place: Callable[[int], str] = (lambda n: f"{name}:{n}") if by_line else (lambda n: f"{name}[{n}]")
    return Table(name, place, _READERS[ending](path, name))


def _exact(literal: str) -> float | Decimal:
    """A JSON number as a float, or as a decimal where a float would lose digits of it."""
    number = float(literal)
    exact = Decimal(literal)
    return number if Decimal(repr(number)) == exact else exact


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of some pairs; a repeated key would silently lose a value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key `{repeated}` stands twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_float=_exact, object_pairs_hook=_unrepeated)


def _json_lines(path: Path, name: str) -> Iterator[Record]:
    with opened(path, name) as source:
        for number, line, length in bounded_lines(source):
            if length is None and line.isspace():
                continue
            fault, value = None, None
            if length is not None:
                fault = RowFault(_too_long(length), "a row is one line: mend the file")
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
                    fault = RowFault(f"JSON: {_first(error)}", "mend or remove this line")
            yield Record(number, value) if fault is None else Record(number, None, fault, _raw(line))


def _first(error: ValueError) -> str:
    """What is wrong, without Python's advice on how to lift its limit."""
    message = str(error).partition(";")[0]
    return message[:1].lower() + message[1:]


def _broken(error: json.JSONDecodeError, line: bytes) -> RowFault:
    if b"\0" in line:
        return RowFault("the line holds NUL bytes", "the file is damaged: get it again, or remove this line")
    message = f"broken JSON at column {error.colno}: {error.msg.lower()}"
    if not line.endswith(b"\n"):
        return RowFault(f"{message}; it is the last line and has no end", "the file was cut off: get it again")
    return RowFault(message, "mend or remove this line")


def _too_long(length: int) -> str:
    return f"the line has {length} bytes; the limit is {MAX_LINE_BYTES}"


def _raw(line: bytes) -> str:
    # Cut before decoding: a line may be as long as the limit, and no character has more than four bytes.
    return shown(line[: 4 * RAW_CHARACTERS + 4].decode("utf-8", "backslashreplace").rstrip("\n"))


def _json_array(path: Path, name: str) -> Iterator[Record]:
    with opened(path, name) as source:
        content = source.read()
    try:
        rows = _DECODER.decode(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        where, message = f"{name}:{error.lineno}:{error.colno}", f"broken JSON: {error.msg.lower()}"
        hint = "is it JSON lines? then name it `.jsonl`" if error.msg == "Extra data" else "mend the file"
        raise FaultsError([Fault(where, message, hint)]) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FaultsError(
            [Fault(f"{name}:{line}", f"not UTF-8 at byte {error.start}", "re-encode the file")]
        ) from error
    except (RecursionError, ValueError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else _first(error)
        raise DataError(f"{name}: JSON: {what}", "mend the file") from error
    if not isinstance(rows, list):
        raise DataError(
            f"{name}:1: not an array but a {type(rows).__name__}",
            "wanted `[{...}, {...}]`, or JSON lines in a `.jsonl` file",
        )
    for index, row in enumerate(rows):
        yield Record(index, row)


def _csv(path: Path, name: str) -> Iterator[Record]:
    """A header, then rows. An empty cell is an absent value: CSV cannot tell it from an empty text."""
    csv.field_size_limit(MAX_LINE_BYTES)  # the module's own limit of 128 KiB is below a reasoning trace
    header: list[str] | None = None
    with opened(path, name) as source:
        reader = csv.reader(_csv_lines(source, name), strict=True)
        while True:
            number = reader.line_num + 1
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
                yield Record(number, None, fault, shown(cells))
            else:
                yield Record(number, {key: cell or None for key, cell in zip(header, cells, strict=True)})
    if header is None:
        raise DataError(f"{name}:1: no header", "the first line of a CSV file names its columns")


def _csv_lines(source: IO[bytes], name: str) -> Iterator[str]:
    for number, line, length in bounded_lines(source):
        if length is not None:
            # Its columns cannot be counted, so no later row can be trusted either.
            raise DataError(f"{name}:{number}: {_too_long(length)}", "is it a CSV file?")
        # Bytes that are no UTF-8 become lone surrogates, which are a fault of the row where they are met.
        yield line.decode("utf-8", "surrogateescape")


def _header(cells: list[str], name: str) -> list[str]:
    repeated = sorted({cell for cell in cells if cells.count(cell) > 1})
    if repeated:
        raise DataError(f"{name}:1: the header names `{repeated[0]}` twice", "rename one column")
    return cells


def _parquet(path: Path, name: str) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    index = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=_PARQUET_BATCH):
                for row in batch.to_pylist():
                    yield Record(index, row)
                    index += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        where = f"{name}[{index}]" if index else name
        message = f"{where}: not a readable Parquet file: {str(error).splitlines()[0]}"
        raise DataError(message, "get the file again") from error


_READERS: dict[str, Callable[[Path, str], Iterator[Record]]] = {
    ".jsonl": _json_lines,
    ".json": _json_array,
    ".csv": _csv,
    ".parquet": _parquet,
}
