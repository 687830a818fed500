"""Where ITS keeps what outlives a run: engine environments, the store, locks, logs."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from its.errors import DataError, MissingError
from its.shown import shown

STORE_FILE = "store.sqlite"
"""The store of responses in the home folder."""
_EXPERIMENTS = (".dvc", "tmp", "exps")  # DVC 3.67 puts the workspaces of `--temp` and of the queue here
_SHOWN_CHARACTERS = 200


def its_home(start: Path | None = None) -> Path:
    """The home folder, absolute; it is not created.

    `ITS_HOME`, else `.its` in `$DVC_ROOT` (DVC sets it for stages, to the main checkout), else `.its` beside the
    nearest `dvc.yaml` at or above `start`. Two steps make the last rule agree with the second: a workspace in
    `.dvc/tmp/exps` belongs to its main checkout, a `dvc.yaml` in a subfolder to the root of its DVC repository.

    Args:
        start: where to look from; None is the current folder.

    Raises:
        MissingError: if nothing names a home and no `dvc.yaml` is above `start`.
        DataError: if `ITS_HOME` or `DVC_ROOT` names what is no folder and cannot become one.
    """
    if chosen := os.environ.get("ITS_HOME"):
        return _named_folder("ITS_HOME", chosen)
    if root := os.environ.get("DVC_ROOT"):
        return _main_checkout(_named_folder("DVC_ROOT", root)) / ".its"
    begin = (start or Path.cwd()).absolute()
    main = _main_checkout(begin)
    if main != begin:
        return main / ".its"
    study = find_above(begin, is_study)
    if study is None:
        raise MissingError(f"no `dvc.yaml` in {begin} or above", "run inside a study's folder, or set `ITS_HOME`")
    return (find_above(study, is_repository) or study) / ".its"


def find_above(start: Path, test: Callable[[Path], bool]) -> Path | None:
    """The nearest folder, `start` itself or one above it, that passes a test; None if none does."""
    return next((folder for folder in (start, *start.parents) if test(folder)), None)


def is_study(folder: Path) -> bool:
    """Whether a folder is the root of a study: it holds a `dvc.yaml`."""
    return (folder / "dvc.yaml").is_file()


def is_repository(folder: Path) -> bool:
    """Whether a folder is the root of a DVC repository: it holds a folder `.dvc`."""
    return (folder / ".dvc").is_dir()


def _named_folder(variable: str, value: str) -> Path:
    """The folder that an environment variable names, absolute; it need not exist.

    Raises:
        DataError: if it cannot.
    """
    told = shown(value[:_SHOWN_CHARACTERS]) + ("..." if len(value) > _SHOWN_CHARACTERS else "")
    try:
        path = Path(value).expanduser().absolute()
        beside = next(folder for folder in (path, *path.parents) if _exists(folder))
    except RuntimeError as error:
        raise DataError(f"`{variable}` is `{told}`: there is no such user", "write the path out") from error
    except (OSError, ValueError) as error:
        why = str(error.strerror).lower() if isinstance(error, OSError) else str(error)
        raise DataError(f"`{variable}` is `{told}`: {why}", "name a folder that can be made") from error
    if not beside.is_dir():
        raise DataError(f"`{variable}` is `{told}`: `{beside}` is no folder", "name a folder that can be made")
    return path


def _exists(path: Path) -> bool:
    """Whether anything has that name; a symbolic link that leads nowhere or in a circle counts.

    Raises:
        OSError: if no file can have it, or it may not be asked for.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _main_checkout(path: Path) -> Path:
    """The checkout whose `.dvc/tmp/exps` holds `path`, the outermost; `path` itself where none does."""
    parts = path.parts
    for index in range(len(parts) - len(_EXPERIMENTS)):
        if parts[index : index + len(_EXPERIMENTS)] == _EXPERIMENTS:
            return Path(*parts[:index])
    return path


def remove(path: Path) -> None:
    """Remove a file, a folder with all in it, or a symbolic link, never what it names; nothing there is no error."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)  # it follows no links


@contextmanager
def key_lock(home: Path, kind: str, key: str, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of one key among all processes and threads that share `home`; wait for it as long as it takes.

    The operating system holds it, so the death of a holder, `kill -9` too, frees it. It is not reentrant.

    Args:
        kind, key: letters, digits, `.`, `_`, `-`: they name `locks/KIND-KEY.lock` and, beside it, `.holder`.
        on_wait: is told once, before waiting, which process holds the lock.

    Raises:
        ValueError: if kind or key hold another character.
    """
    name = f"{kind}-{key}"
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise ValueError(f"not a file name: {name!r}")
    folder = home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / f"{name}.holder"
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait is not None:
            on_wait(f"waiting for {_describe(holder)}, which holds `{name}`")
        lock.acquire()
    try:
        holder.unlink(missing_ok=True)  # of a dead process, or a link that leads elsewhere
        with holder.open("x", encoding="utf-8") as out:
            json.dump({"pid": os.getpid(), "host": socket.gethostname()}, out)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path) -> str:
    """The process that a side file names; vague while the file is not there yet or was left by a dead process."""
    try:
        told = json.loads(holder.read_text(encoding="utf-8"))
        pid, host = int(told["pid"]), str(told["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    if host != socket.gethostname():
        return f"process {pid} on {host}"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "another process"
    except PermissionError:
        pass
    return f"process {pid}"
