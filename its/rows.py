"""Read and write rows: JSON lines, UTF-8, streamed, atomic, every fault named `path:line`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from its.errors import DataError, Fault, FaultsError
from its.files import atomic_file, open_regular, read_regular
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
    for line_number, value in read_json_lines(path, faults):
        try:
            row = row_type.model_validate(value)
        except ValidationError as error:
            for item in error.errors():
                field = ".".join(str(part) for part in item["loc"]) or row_type.__name__.lower()
                faults.append(Fault(f"{path}:{line_number}", f"`{field}`: {item['msg'].lower()}"))
            continue
        if key is not None:
            name = key(row)
            if name in seen:
                faults.append(Fault(f"{path}:{line_number}", f"duplicate of line {seen[name]}: {_spoken(name)}"))
                continue
            seen[name] = line_number
        yield row
    raise_faults(faults)


def _spoken(name: object) -> str:
    parts = name if isinstance(name, tuple) else (name,)
    return ", ".join(f"`{part}`" for part in parts)


def read_json_lines(path: Path, faults: list[Fault]) -> Iterator[tuple[int, Any]]:
    """Yield (line number, value) of each JSON line; unreadable lines go to `faults`, blank ones are passed over.

    A byte order mark at the start of the file is passed over too. A lone surrogate, half of a character that a model
    was stopped in, is legal in JSON and is kept.

    Raises:
        MissingError, DataError: as `open_regular`; DataError at a line over MAX_LINE_BYTES.
    """
    with open_regular(path, hint=_STAGE_HINT) as source:
        yield from json_lines(source, str(path), faults)


def json_lines(source: IO[bytes], name: str, faults: list[Fault]) -> Iterator[tuple[int, Any]]:
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
            faults.append(Fault(f"{name}:{line_number}", what, "a row is one line: is it a file of JSON lines?"))
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
            yield line_number, value
        except UnicodeDecodeError as error:
            faults.append(Fault(f"{name}:{line_number}", f"not UTF-8 at byte {error.start}", "re-encode the file"))
        except (ValueError, RecursionError) as error:
            place = f":{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            faults.append(Fault(f"{name}:{line_number}{place}", _json_fault(error), "mend or remove this line"))


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


def unrepeated(pairs: list[tuple[str, Any]], told: Callable[[str], str]) -> dict[str, Any]:
    """The object of the pairs that JSON has for it; of a key that stands twice, readers would keep one value.

    Args:
        told: what is said of such a key.

    Raises:
        ValueError: if there is one.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        raise ValueError(told(next(key for key, _ in pairs if key in seen or seen.add(key))))  # type: ignore[func-returns-value]
    return found


def count_lines(path: Path) -> int:
    """How many rows a file holds, by its lines that are not blank.

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
        faults = [*faults[:MAX_FAULTS], Fault(faults[0].where.rsplit(":", 1)[0], f"{more} more faults")]
    if faults:
        raise FaultsError(faults)


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows atomically, streaming; return how many."""
    count = 0
    with atomic_file(path, errors="backslashreplace") as out:
        for row in rows:
            out.write(_row_json(row) + "\n")
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
