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
HOME_FOLDERS = frozenset({"envs", "fingerprints", "locks", "logs", "models", "training", "wheels"})
"""What the ITS home holds beside the store."""
_NEW = 0o644
_LOGS = ("-wal", "-shm", "-journal")
_DATABASE_MARKS = (b"SQLite format 3\0", b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")  # a database, its write-ahead log
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
def atomic_file(path: Path, errors: str = "strict", typed: bool = False) -> Iterator[IO[str]]:
    """A text file that appears under `path` whole or not at all: temporary file, fsync, rename.

    Whether it can be written there shows when it is opened, before any work. A file that was there keeps its
    permissions; a new one can be read by all.

    Args:
        errors: what `open` is to do with text that has no UTF-8, a lone surrogate; `backslashreplace` writes it as
            JSON does (`\\ud800`), so it is for JSON alone.
        typed: a person typed the path. Then a link to a file stays a link and the file behind it is replaced, and what
            ITS keeps in its home is refused. Otherwise a link is replaced by the file, and what it points at (DVC's
            cache, a place that a stranger chose) stays as it is.

    Raises:
        DataError: a folder, a device, a pipe, a socket or a database has that name, or a file stands where its folder
            would.
        RunError: if the disk is full or cannot be written there; nothing is left behind.
    """
    with _whole_file(path, typed, "w", encoding="utf-8", errors=errors, newline="\n") as out:
        yield out


@contextmanager
def atomic_binary_file(path: Path, typed: bool = False) -> Iterator[IO[bytes]]:
    """`atomic_file` for bytes."""
    with _whole_file(path, typed, "wb") as out:
        yield out


@contextmanager
def _whole_file(path: Path, typed: bool, mode: str, **how: Any) -> Iterator[IO[Any]]:
    """Every file of ITS that must appear whole is written here."""
    temporary = None
    try:
        target, permissions = _checked_target(path, typed)
        handle, temporary = _open_beside(path, target)
        with os.fdopen(handle, mode, **how) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(permissions)
        temporary.replace(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(f"{path}: no space left on the disk", "free some space and run again") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _checked_target(path: Path, typed: bool) -> tuple[Path, int]:
    """(the file to replace, its permissions); refuses what a file must not replace."""
    target = Path(os.path.realpath(path)) if typed else path
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    except NotADirectoryError as error:
        raise _no_folder(path) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    if found is not None and not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise DataError(f"{path}: is {what}, and a file is to be written there", "give another name")
    if _is_database(target):
        raise DataError(f"{path}: belongs to a database, and a file is to be written there", "give another name")
    if typed and (home := _home_above(target)) is not None:
        raise DataError(f"{path}: lies in the home of ITS, {home}", "give a path outside of it")
    permissions = _NEW if found is None else stat.S_IMODE(found.st_mode) & 0o777 | 0o600
    return target, permissions


def _is_database(path: Path) -> bool:
    """Whether it is an SQLite database or a log of one, or has the name of a log beside one, in any case."""
    if _begins_with(path, _DATABASE_MARKS):
        return True
    name = path.name.casefold()
    owners = {name.removesuffix(end) for end in _LOGS if name.endswith(end)}
    if not owners or not path.parent.is_dir():
        return False
    beside = [file for file in path.parent.iterdir() if file.name.casefold() in owners]
    return any(_begins_with(file, _DATABASE_MARKS[:1]) for file in beside)


def _begins_with(path: Path, marks: tuple[bytes, ...]) -> bool:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            return file.read(16).startswith(marks)
    except OSError:  # it is not there, or is no file
        return False


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # for a pipe, `open` would wait


def _home_above(path: Path) -> Path | None:
    """The ITS home in one of whose own folders the path lies; a home is known by its store."""
    for folder in path.parents:
        inside = path.relative_to(folder).parts
        if len(inside) > 1 and inside[0].lower() in HOME_FOLDERS and (folder / "store.sqlite").exists():
            return folder
    return None


def _open_beside(path: Path, target: Path) -> tuple[int, Path]:
    """A new temporary file in the folder of `target`, which is made if it is not there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    except (FileExistsError, NotADirectoryError) as error:
        raise _no_folder(path) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _unwritable(path, error) from error
    return handle, Path(name)


def _no_folder(path: Path) -> DataError:
    return DataError(f"{path}: a file stands where its folder would", "give another name")


def _unwritable(path: Path, error: OSError) -> RunError:
    what = str(error.strerror).lower()
    return RunError(f"{path}: cannot be written: {what}", "make its folder writable, or choose another")


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
