"""Read and write rows: JSON lines, UTF-8, streamed, atomic, every fault named `path:line`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from its.errors import DataError, Fault, FaultsError
from its.files import atomic_file, open_regular, read_regular
from its.shown import counted
from its.types import Row
from its.values import MAX_VALUES, exceeds

RowType = TypeVar("RowType", bound=Row)
MAX_FAULTS = 20
MAX_LINE_BYTES = 64 * 1024 * 1024
"""Rows with reasoning traces are below 1 MB: a longer line belongs to a file without line ends."""
MAX_DEPTH = 200
"""Of lists and objects in a row: what is read near Python's own limit could not be written any more."""
MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
"""Of JSON that is read whole: the largest are the tokenizers of models, below 40 MB."""
MAX_DOCUMENT_VALUES = 10_000_000
"""Of JSON that is read whole: a tokenizer with 600,000 merges has 3 million."""
_BOM = "\ufeff"
_STAGE_HINT = "`dvc repro` makes what a stage writes"


class Line(NamedTuple):
    """A line of JSON that could be read: its number in the file, from 1, and its value."""

    number: int
    value: Any


def read_rows(path: Path, row_type: type[RowType], key: Callable[[RowType], object] | None = None) -> Iterator[RowType]:
    """Yield the rows of a file in order.

    Args:
        path: a JSON lines file.
        row_type: the row's type; unknown fields and wrong types are faults.
        key: if given, two rows with one key are a fault.

    Raises:
        MissingError, DataError: as `open_regular`.
        FaultsError: after the last good row, naming every bad line (the first 20 and how many more).
    """
    faults: list[Fault] = []
    seen: dict[object, int] = {}
    for line in read_json_lines(path):
        if isinstance(line, Fault):
            faults.append(line)
            continue
        try:
            row = row_type.model_validate(line.value)
        except ValidationError as error:
            for item in error.errors():
                field = ".".join(str(part) for part in item["loc"]) or row_type.__name__.lower()
                faults.append(Fault(f"{path}:{line.number}", f"`{field}`: {item['msg'].lower()}"))
            continue
        if key is not None:
            name = key(row)
            if name in seen:
                parts = name if isinstance(name, tuple) else (name,)
                told = ", ".join(f"`{part}`" for part in parts)
                faults.append(Fault(f"{path}:{line.number}", f"duplicate of line {seen[name]}: {told}"))
                continue
            seen[name] = line.number
        yield row
    raise_faults(faults)


def read_json_lines(path: Path) -> Iterator[Line | Fault]:
    """Yield each line of JSON, or the fault of one that cannot be read; blank lines are skipped.

    So is a byte order mark at the start of the file. A lone surrogate, half of a character that a model
    was stopped in, is legal in JSON and is kept.

    Raises:
        MissingError, DataError: as `open_regular`; DataError at a line over MAX_LINE_BYTES.
    """
    with open_regular(path, hint=_STAGE_HINT) as source:
        yield from json_lines(source, str(path))


def json_lines(source: IO[bytes], name: str) -> Iterator[Line | Fault]:
    """`read_json_lines` of an open file, which errors call `name`."""
    line_number = 0
    while raw := source.readline(MAX_LINE_BYTES + 1):
        line_number += 1
        if len(raw) > MAX_LINE_BYTES:
            what = f"the line has more than {MAX_LINE_BYTES} bytes"
            raise DataError(f"{name}:{line_number}: {what}", "a row is one line: is it a file of JSON lines?")
        if raw.isspace():
            continue
        if exceeds(raw):
            what = f"the line has more than {MAX_VALUES} values"
            yield Fault(f"{name}:{line_number}", what, "a row is one line: is it a file of JSON lines?")
            continue
        try:
            text = raw.decode("utf-8")
            if line_number == 1 and text.startswith(_BOM):
                text = text.removeprefix(_BOM)
                if not text.strip():
                    continue
            value = json.loads(text)
            if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _is_deep(value):
                raise RecursionError
        except UnicodeDecodeError as error:
            yield Fault(f"{name}:{line_number}", f"not UTF-8 at byte {error.start}", "re-encode the file")
        except (ValueError, RecursionError) as error:
            place = f":{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            yield Fault(f"{name}:{line_number}{place}", _json_fault(error), "fix or remove this line")
        else:
            yield Line(line_number, value)


def _is_deep(value: Any) -> bool:
    """Whether lists and objects nest beyond MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        holders = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [item for holder in holders for item in holder]
    return any(isinstance(item, dict | list) for item in level)


def _json_fault(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error.msg.lower()}"
    if isinstance(error, RecursionError):
        return "broken JSON: nested too deeply"
    return f"an integer of more than {sys.get_int_max_str_digits()} digits is not read"  # Python's limit, no other


def unrepeated(pairs: list[tuple[str, Any]], message: Callable[[str], str]) -> dict[str, Any]:
    """The JSON object of some pairs; of a repeated key, readers would keep one value without a word.

    Args:
        message: of the error, by key.

    Raises:
        ValueError: if there is one.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise ValueError(message(next(key for key, _ in pairs if key in seen or seen.add(key))))  # type: ignore[func-returns-value]
    return found


def count_lines(path: Path) -> int:
    """Number of rows of a file: its lines that are not blank.

    Raises:
        MissingError, DataError: as `open_regular`.
    """
    with open_regular(path, hint=_STAGE_HINT) as source:
        first = source.readline().removeprefix(_BOM.encode())
        return bool(first.strip()) + sum(not line.isspace() for line in source)


def raise_faults(faults: list[Fault]) -> None:
    """Raise all faults as one error, if there are any."""
    if len(faults) > MAX_FAULTS:
        more = len(faults) - MAX_FAULTS
        faults = [*faults[:MAX_FAULTS], Fault(faults[0].where.rsplit(":", 1)[0], counted(more, "more fault"))]
    if faults:
        raise FaultsError(faults)


@contextmanager
def row_file(path: Path) -> Iterator[Callable[[Row], None]]:
    """A file of rows that appears whole or not at all; gives what writes one row."""
    with atomic_file(path, errors="backslashreplace") as out:

        def write(row: Row) -> None:
            out.write(_row_json(row) + "\n")

        yield write


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows atomically, streaming; return how many."""
    count = 0
    with row_file(path) as write:
        for row in rows:
            write(row)
            count += 1
    return count


def _row_json(row: Row) -> str:
    try:
        return row.model_dump_json(exclude_none=True)
    except PydanticSerializationError:  # it writes no lone surrogate
        return json.dumps(row.model_dump(exclude_none=True), ensure_ascii=False, separators=(",", ":"))


def write_json_lines(path: Path, values: Iterable[Any], typed: bool = False) -> None:
    """Write one JSON value a line, atomically; `typed` as for `atomic_file`."""
    with atomic_file(path, errors="backslashreplace", typed=typed) as out:
        for value in values:
            out.write(json.dumps(value, ensure_ascii=False) + "\n")


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document atomically, indented, keys in the order given."""
    with atomic_file(path, errors="backslashreplace") as out:
        out.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        MissingError, DataError: as `open_regular`; DataError if it is larger than MAX_DOCUMENT_BYTES or has more values
            than MAX_DOCUMENT_VALUES.
        FaultsError: if it is not JSON, with line and column where there is one.
    """
    content = read_regular(path, MAX_DOCUMENT_BYTES, hint=_STAGE_HINT)
    if exceeds(content, MAX_DOCUMENT_VALUES):
        raise DataError(f"{path}: has more than {MAX_DOCUMENT_VALUES} values", "is it the right file?")
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FaultsError([Fault(str(path), f"not UTF-8 at byte {error.start}", "re-encode the file")]) from error
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise FaultsError([Fault(f"{path}{place}", _json_fault(error))]) from error
