"""The ITS home: where engine environments, the store, locks and logs are kept between runs."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from its.errors import DataError, MissingError
from its.shown import quoted

STORE_FILE = "store.sqlite"
"""The store of responses in the home folder."""
_EXPERIMENTS = (".dvc", "tmp", "exps")  # DVC 3.67 puts the workspaces of `--temp` and of the queue here
_SHOWN_CHARACTERS = 200
_CREATABLE = "name a folder that can be created"


def its_home(start: Path | None = None) -> Path:
    """The home folder as an absolute path; it is not created.

    `ITS_HOME`, else `.its` in `$DVC_ROOT` (DVC sets it for stages, to the main checkout), else `.its` beside the
    nearest `dvc.yaml` at or above `start`. Two steps make the last rule agree with the second: a workspace in
    `.dvc/tmp/exps` belongs to its main checkout, a `dvc.yaml` in a subfolder to the root of its DVC repository.

    Args:
        start: where the search starts; None is the current folder.

    Raises:
        MissingError: if no variable names a home and there is no `dvc.yaml` at or above `start`.
        DataError: if `ITS_HOME` or `DVC_ROOT` names something that is not a folder and cannot be created.
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
    """The folder that an environment variable names, as an absolute path; it need not exist.

    Raises:
        DataError: if it is not a folder and cannot be created.
    """
    setting = f"`{variable}` is `{quoted(value, _SHOWN_CHARACTERS)}`"
    try:
        path = Path(value).expanduser().absolute()
        beside = next(folder for folder in (path, *path.parents) if _exists(folder))
    except RuntimeError as error:
        raise DataError(f"{setting}: there is no such user", "write the path out") from error
    except (OSError, ValueError) as error:
        why = str(error.strerror).lower() if isinstance(error, OSError) else str(error)
        raise DataError(f"{setting}: {why}", _CREATABLE) from error
    if not beside.is_dir():
        raise DataError(f"{setting}: `{beside}` is not a folder", _CREATABLE)
    return path


def home_fault(error: OSError) -> DataError | None:
    """The fault of `ITS_HOME` if an error is of creating the folder that it names; None if it is another error.

    `its_home` cannot foresee it: below `/sys` and `/proc` folders look writable. The home is never opened as a file, so
    an error that names it, or a folder above it, while it does not exist, is of its creation.
    """
    chosen, place = os.environ.get("ITS_HOME"), error.filename
    if not chosen or not isinstance(place, str):
        return None
    path = Path(os.path.expanduser(chosen)).absolute()
    if os.path.isdir(path) or Path(place) not in (path, *path.parents):
        return None
    why = "it cannot be created" if error.errno == errno.ENOENT else str(error.strerror).lower()
    return DataError(f"`ITS_HOME` is `{quoted(chosen, _SHOWN_CHARACTERS)}`: {why}", _CREATABLE)


def _exists(path: Path) -> bool:
    """Whether anything has that name, including a broken or circular symbolic link.

    Raises:
        OSError: if it is not a valid name, or its folder is not accessible.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _main_checkout(path: Path) -> Path:
    """The outermost checkout whose `.dvc/tmp/exps` contains `path`; `path` itself if there is none."""
    parts = path.parts
    for index in range(len(parts) - len(_EXPERIMENTS)):
        if parts[index : index + len(_EXPERIMENTS)] == _EXPERIMENTS:
            return Path(*parts[:index])
    return path


def remove(path: Path) -> None:
    """Remove a file, a folder with its content, or a symbolic link but not its target; do nothing if it is missing."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)  # it follows no links


@contextmanager
def key_lock(home: Path, kind: str, key: str, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of one key among all processes and threads that share `home`; waits for it without a limit.

    It is a lock of the operating system, so the end of its holder, even by `kill -9`, frees it. It is not reentrant.

    Args:
        kind, key: letters, digits, `.`, `_`, `-`; they name `locks/KIND-KEY.lock` and the `.holder` file beside it.
        on_wait: receives one message, before waiting, with the process that holds the lock.

    Raises:
        ValueError: if kind or key contain another character.
    """
    from filelock import FileLock, Timeout  # here: it brings asyncio and sqlite3, and most commands lock nothing

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
        holder.unlink(missing_ok=True)  # left by a dead process, or a link to another file
        with holder.open("x", encoding="utf-8") as out:
            json.dump({"pid": os.getpid(), "host": socket.gethostname()}, out)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path) -> str:
    """The process that a `.holder` file names; unspecific if the file is missing or was left by a dead process."""
    try:
        content = json.loads(holder.read_text(encoding="utf-8"))
        pid, host = int(content["pid"]), str(content["host"])
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
