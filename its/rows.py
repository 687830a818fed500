"""Read and write rows: JSON lines, UTF-8, streamed, atomic, every fault named `path:line`."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import ValidationError

from its.errors import Fault, FaultsError, MissingError, RunError
from its.types import Row

RowType = TypeVar("RowType", bound=Row)
MAX_FAULTS = 20


def read_rows(path: Path, row_type: type[RowType], key: Callable[[RowType], object] | None = None) -> Iterator[RowType]:
    """Yield the rows of a file in order.

    Args:
        path: a JSON lines file.
        row_type: the row's type; unknown fields and wrong types are faults.
        key: if given, two rows with one key are a fault.

    Raises:
        MissingError: if there is no such file.
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
    """Yield (line number, value) of each JSON line; unreadable lines go to `faults`, blank ones are passed over."""
    try:
        source = path.open("rb")
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file", "`dvc repro` makes what a stage writes") from error
    with source:
        for line_number, raw in enumerate(source, start=1):
            if not raw.strip():
                continue
            try:
                yield line_number, json.loads(raw.decode("utf-8"))
            except UnicodeDecodeError as error:
                faults.append(Fault(f"{path}:{line_number}", f"not UTF-8 at byte {error.start}", "re-encode the file"))
            except (json.JSONDecodeError, RecursionError) as error:
                place = f":{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
                what = error.msg.lower() if isinstance(error, json.JSONDecodeError) else "nested too deeply"
                faults.append(Fault(f"{path}:{line_number}{place}", f"broken JSON: {what}", "mend or remove this line"))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def count_lines(path: Path) -> int:
    """How many rows a file holds, by its lines that are not blank.

    Raises:
        MissingError: if there is no such file.
    """
    try:
        with path.open("rb") as source:
            return sum(bool(line.strip()) for line in source)
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file", "`dvc repro` makes what a stage writes") from error


def raise_faults(faults: list[Fault]) -> None:
    """Raise all faults as one error, if there are any."""
    if len(faults) > MAX_FAULTS:
        more = len(faults) - MAX_FAULTS
        faults = [*faults[:MAX_FAULTS], Fault(faults[0].where.rsplit(":", 1)[0], f"{more} more faults")]
    if faults:
        raise FaultsError(faults)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[str]]:
    """A text file that appears under `path` whole or not at all: temporary file, fsync, rename.

    Raises:
        RunError: if the disk is full; nothing is left behind.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise RunError(f"{path}: no space left on the disk", "free some space and run again") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows atomically, streaming; return how many."""
    count = 0
    with atomic_file(path) as out:
        for row in rows:
            out.write(row.model_dump_json(exclude_none=True) + "\n")
            count += 1
    return count


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically."""
    with atomic_file(path) as out:
        for value in values:
            out.write(json.dumps(value, ensure_ascii=False) + "\n")


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document atomically, indented, keys in the order given."""
    with atomic_file(path) as out:
        out.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        MissingError: if there is no such file.
        FaultsError: if it is not JSON, with line and column.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"{path}: no such file", "`dvc repro` makes what a stage writes") from error
    except json.JSONDecodeError as error:
        raise FaultsError(
            [Fault(f"{path}:{error.lineno}:{error.colno}", f"broken JSON: {error.msg.lower()}")]
        ) from error
