"""The one way to open and write files: only regular files are read, and a written file appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from its.errors import DataError, MissingError, RunError
from its.home import STORE_FILE
from its.shown import shown

HOME_FOLDERS = frozenset({"envs", "fingerprints", "locks", "logs", "models", "training", "wheels"})
"""What the ITS home holds beside the store."""
_NEW = 0o644
_LOGS = ("-wal", "-shm", "-journal")
_DATABASE_MARKS = (b"SQLite format 3\0", b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")  # a database, its write-ahead log
_KERNEL_FOLDERS = ("/proc/", "/sys/")
_UNOPENED = {
    errno.ELOOP: "symbolic links lead in a circle",
    errno.ENAMETOOLONG: "the name is too long for a file",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}


def open_regular(path: Path, label: str | None = None, hint: str | None = None) -> BufferedReader:
    """Open a file to read its bytes, if it is a regular one; nothing else is ever opened or waited for.

    Symbolic links are followed. What the kernel makes up in /proc and /sys does not count as a regular file: reading it
    may wait for ever, or give the environment of this process.

    Args:
        label: how errors call it; None is the path.
        hint: what to do where there is no such file.

    Raises:
        MissingError: if there is no such file.
        DataError: if it is a folder, a device, a pipe or a socket, may not be read, or if no file can have that name.
    """
    name = shown(str(path) if label is None else label)
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
        raise DataError(f"{name}: no file can have that name", "fix the path") from error
    try:
        _require_regular(os.fstat(handle).st_mode, name)
        if _real_name(handle).startswith(_KERNEL_FOLDERS):
            raise DataError(f"{name}: is not a file on a disk: the kernel provides it", "name a regular file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _require_regular(mode: int, name: str) -> None:
    if stat.S_ISDIR(mode):
        raise DataError(f"{name}: is a folder, expected a file", "name a file in it")
    if not stat.S_ISREG(mode):
        raise DataError(f"{name}: is not a regular file (a device, a pipe or a socket)", "name a regular file")


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
            name = shown(str(path) if label is None else label)
            raise DataError(f"{name}: has {size} bytes, and at most {limit} are read", "is it the right file?")
    return content


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex.

    Raises:
        MissingError, DataError: as `open_regular`.
    """
    with open_regular(path) as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


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
            cache, a place that someone else chose) stays as it is.

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
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise DataError(f"{path}: is {what}, and a file would be written there", "give another name")
    if _is_database(target):
        raise DataError(f"{path}: belongs to a database, and a file would be written there", "give another name")
    if typed and (home := _home_above(target)) is not None:
        raise DataError(f"{path}: is in the ITS home, {home}", "give a path outside of it")
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
    except OSError:  # it is not there, or is not a file
        return False


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # for a pipe, `open` would wait


def _home_above(path: Path) -> Path | None:
    """The ITS home in one of whose own folders the path lies; a home is known by its store."""
    for folder in path.parents:
        inside = path.relative_to(folder).parts
        if len(inside) > 1 and inside[0].lower() in HOME_FOLDERS and (folder / STORE_FILE).exists():
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
    return DataError(f"{path}: a file exists where its folder would be", "give another name")


def _unwritable(path: Path, error: OSError) -> RunError:
    what = str(error.strerror).lower()
    return RunError(f"{path}: cannot be written: {what}", "make its folder writable, or choose another")


def free_bytes(place: Path) -> int:
    """The bytes that are free where a file or folder is, or would be."""
    return shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free
