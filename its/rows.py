"""Read and write rows: JSON lines, UTF-8, streamed, atomic, every fault named `path:line`."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from its.errors import DataError, Fault, FaultsError, MissingError, RunError, printable
from its.types import Row

RowType = TypeVar("RowType", bound=Row)
MAX_FAULTS = 20
MAX_LINE_BYTES = 64 * 1024 * 1024
"""Rows with reasoning traces are below 1 MB: a longer line belongs to a file without line ends."""
MAX_DEPTH = 200
"""Of lists and objects in a row: what is read near Python's own limit could not be written any more."""
MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
"""Of JSON that is read whole: the largest are the tokenizers of models, below 40 MB."""
_BOM = "\ufeff"
_STAGE_HINT = "`dvc repro` makes what a stage writes"
_KERNEL_FOLDERS = ("/proc/", "/sys/")
_UNOPENED = {
    errno.ELOOP: "symbolic links lead in a circle",
    errno.ENAMETOOLONG: "the name is too long for a file",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}


def open_regular(path: Path, label: str | None = None, hint: str | None = None) -> BufferedReader:
    """Open a file to read its bytes, if it is a regular one; nothing else is ever opened or waited for.

    Symbolic links are followed. What the kernel makes up in /proc and /sys counts as no regular file: there reading
    may wait for ever, or give the environment of this process.

    Args:
        label: how errors call it; None is the path.
        hint: what to do where there is no such file.

    Raises:
        MissingError: if there is no such file.
        DataError: if it is a folder, a device, a pipe or a socket, may not be read, or if no file can have that name.
    """
    name = printable(str(path) if label is None else label)
    try:
        _require_regular(os.stat(path).st_mode, name)  # to open a device can have effects of its own
        # Should a pipe have taken its place since, opening it does not wait, and it is told from a file once more.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(f"{name}: no such file", hint) from error
    except OSError as error:
        why = _UNOPENED.get(error.errno or 0, str(error.strerror).lower())
        raise DataError(f"{name}: cannot be read: {why}", "name a file that can be read") from error
    except ValueError as error:  # NUL, or half a character that has no bytes
        raise DataError(f"{name}: no file can have that name", "mend the path") from error
    try:
        _require_regular(os.fstat(handle).st_mode, name)
        if _real_name(handle).startswith(_KERNEL_FOLDERS):
            raise DataError(f"{name}: is no file on a disk but made by the kernel", "name a regular file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _require_regular(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise DataError(f"{name}: is a folder, wanted a file", "name a file in it")
    if not stat.S_ISREG(mode):
        raise DataError(f"{name}: is no regular file (a device, a pipe or a socket)", "name a regular file")


def _real_name(handle: int) -> str:
    """The path of an open file without symbolic links; empty where the system cannot say."""
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except OSError:
        return ""


def read_regular(path: Path, limit: int, label: str | None = None, hint: str | None = None) -> bytes:
    """The bytes of a regular file that has at most `limit` of them.

    Raises:
        MissingError, DataError: as `open_regular`; also DataError if it is larger.
    """
    with open_regular(path, label, hint) as source:
        content = source.read(limit + 1)
        if len(content) > limit:
            size = max(os.fstat(source.fileno()).st_size, len(content))
            name = printable(str(path) if label is None else label)
            raise DataError(f"{name}: has {size} bytes, and at most {limit} are read", "is it the right file?")
    return content


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
        line_number = 0
        while raw := source.readline(MAX_LINE_BYTES + 1):
            line_number += 1
            if len(raw) > MAX_LINE_BYTES:
                what = f"the line has more than {MAX_LINE_BYTES} bytes"
                raise DataError(f"{path}:{line_number}: {what}", "a row is one line: is it a file of JSON lines?")
            if raw.isspace():
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
                faults.append(Fault(f"{path}:{line_number}", f"not UTF-8 at byte {error.start}", "re-encode the file"))
            except (ValueError, RecursionError) as error:
                place = f":{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
                faults.append(Fault(f"{path}:{line_number}{place}", _json_fault(error), "mend or remove this line"))


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


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex.

    Raises:
        MissingError, DataError: as `open_regular`.
    """
    with open_regular(path) as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


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


@contextmanager
def atomic_file(path: Path, errors: str = "strict") -> Iterator[IO[str]]:
    """A text file that appears under `path` whole or not at all: temporary file, fsync, rename.

    Whether it can be written there shows when it is opened, before any work.

    Args:
        errors: what `open` is to do with text that has no UTF-8, a lone surrogate; `backslashreplace` writes it as
            JSON does (`\\ud800`), so it is for JSON alone.

    Raises:
        DataError: a folder, a device or a pipe has that name, or a file stands where its folder would.
        RunError: if the disk is full or cannot be written there; nothing is left behind.
    """
    temporary = None
    try:
        handle, temporary = _open_beside(path)
        with os.fdopen(handle, "w", encoding="utf-8", errors=errors, newline="\n") as out:
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


def _open_beside(path: Path) -> tuple[int, Path]:
    """A new temporary file in the folder of `path`, which is made if it is not there."""
    try:
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no regular file"
            raise DataError(f"{path}: is {what}, and a file is to be written there", "give another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f"{path}: a file stands where its folder would", "give another name") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        what = str(error.strerror).lower()
        raise RunError(f"{path}: cannot be written: {what}", "make its folder writable, or choose another") from error
    return handle, Path(name)


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


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically."""
    with atomic_file(path, errors="backslashreplace") as out:
        for value in values:
            out.write(json.dumps(value, ensure_ascii=False) + "\n")


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document atomically, indented, keys in the order given."""
    with atomic_file(path, errors="backslashreplace") as out:
        out.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON document.

    Raises:
        MissingError, DataError: as `open_regular`; DataError if it is larger than MAX_DOCUMENT_BYTES.
        FaultsError: if it is not JSON, with line and column where there is one.
    """
    content = read_regular(path, MAX_DOCUMENT_BYTES, hint=_STAGE_HINT)
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FaultsError([Fault(str(path), f"not UTF-8 at byte {error.start}", "re-encode the file")]) from error
    except (ValueError, RecursionError) as error:
        place = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise FaultsError([Fault(f"{path}{place}", _json_fault(error))]) from error
