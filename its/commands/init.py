"""A study outside the clone: written once, and brought to a newer ITS without touching what its user changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import its
from its.errors import DataError, Fault, FaultsError, ItsError, MissingError, RunError, did_you_mean, nearest
from its.files import atomic_binary_file, read_regular
from its.home import remove
from its.installed.code import code_texts, write_code
from its.installed.files import installed_root, study_files
from its.installed.graph import CODE_FOLDER, GRAPH
from its.recipe.apply import own_path
from its.recipe.document import read_document
from its.recipe.last_used import note_used
from its.rows import read_json, write_json
from its.shown import quoted

RECORD = f"{CODE_FOLDER}/written.json"
"""In a study: the SHA-256 of every file as `its init` wrote it, and of the graph that was taken over last."""
_VERSION = 1
_PARAMS = "params.yaml"
_MOST = 2**24


@dataclass(frozen=True)
class NewStudy:
    """What `its init` wrote: the number of files, whether git was set up, and why `git add` failed, if it did."""

    folder: Path
    recipe: str
    files: int
    new_repository: bool
    unstaged: str | None


@dataclass
class Upgrade:
    """What `its init --upgrade` did with the files of a study, by their paths; `kept` were edited and are unchanged."""

    before: str
    """The version of ITS that wrote the study."""
    written: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Removed by the user; not written again."""
    retired: list[str] = field(default_factory=list)
    """No longer files of ITS; they stay and belong to the user."""


def create_study(folder: Path, recipe: str) -> NewStudy:
    """Write a study into a folder, which may have other files; on an error nothing of it is left.

    Args:
        recipe: the name of a recipe of this installation; params.yaml becomes a copy of it.

    Raises:
        MissingError: if there is no such recipe, git is not installed, or this installation is incomplete.
        FaultsError: with every file that would be overwritten.
        DataError: if the folder is a study of `its init`, or cannot be a folder.
        RunError: if the disk is full or cannot be written there.
    """
    chosen = own_path(installed_root(), recipe)
    if shutil.which("git") is None:
        raise MissingError("git is not installed, and DVC needs it", "install it: https://git-scm.com")
    folder = Path(os.path.abspath(folder))
    if os.path.lexists(folder / RECORD):
        raise DataError(f"{folder} is a study already", "after an upgrade of ITS: `its init --upgrade FOLDER`")
    files = study_files() | {_PARAMS: chosen.read_bytes()}
    contents = files | {path: text.encode() for path, text in code_texts().items()}
    _refuse_to_overwrite(folder, contents)
    made: list[Path] = []
    try:
        _make_folder(folder, made)
        new_repository = _git(folder, "rev-parse", "--is-inside-work-tree")[0] != 0
        for name, content in contents.items():
            _write_new(folder, name, content, made)
        if new_repository:
            made.append(folder / ".git")
            code, said = _git(folder, "init", "-q")
            if code:
                raise RunError(f"`git init` failed: {said}", "`git init` there shows more")
        if not os.path.lexists(folder / ".its"):
            made.append(folder / ".its")
        note_used(folder, read_document(folder / _PARAMS))
        made.append(folder / RECORD)
        _write_record(folder, {name: _sha256(content) for name, content in files.items() if name != _PARAMS})
    except BaseException:
        for path in reversed(made):
            remove(path)
        raise
    code, said = _git(folder, "add", "--", *contents, RECORD)
    return NewStudy(folder, recipe, len(contents) + 1, new_repository, said if code else None)


def upgrade_study(folder: Path) -> Upgrade:
    """Bring the files that `its init` wrote to the installed version, except those that the user edited.

    Each file is replaced as a whole. The record is written last, so an interrupted upgrade is finished by the next.
    params.yaml and files that ITS did not write are never touched.

    Raises:
        MissingError: if `its init` wrote no study there, or this installation is incomplete.
        DataError: if the record of what it wrote is not readable.
        RunError: if a file cannot be written.
    """
    record, files = read_record(folder), study_files()
    found = Upgrade(record.its)
    base = dict(record.files)
    for name, content in files.items():
        new, old, here = _sha256(content), record.files.get(name), _here(folder, name)
        if here is None and old is not None:
            found.missing.append(name)
        elif here in (None, old, new):
            base[name] = new
            if here != new:
                _replace(folder, name, content)
                (found.added if here is None else found.written).append(name)
        elif old != new:
            found.kept.append(name)
    found.retired = [name for name in record.files if name not in files]
    for name in found.retired:
        del base[name]
    found.written += write_code(folder)
    _write_record(folder, base)
    return found


def installed_file(name: str) -> bytes:
    """The content of a file as `its init` writes it.

    Raises:
        DataError: if it writes no such file; the nearest ones are named.
    """
    files = study_files()
    if name not in files:
        raise DataError(
            f"`its init` writes no file `{quoted(name, 100)}`", did_you_mean(nearest(name, files, 3)) or None
        )
    return files[name]


@dataclass(frozen=True)
class Record:
    """What `its init` noted in a study: its version, the SHA-256 of each file and of the graph taken over last."""

    its: str
    graph: str
    files: dict[str, str]


def read_record(folder: Path) -> Record:
    """The record of a study.

    Raises:
        MissingError: if there is none: the folder is a clone, or no study.
        DataError: if it is damaged or of a newer ITS.
    """
    path = folder / RECORD
    if not os.path.lexists(path):
        raise MissingError(f"{path}: no such file: `its init` wrote no study there", "in a clone: `git pull`")
    found = read_json(path)
    if isinstance(found, dict) and isinstance(found.get("version"), int) and found["version"] > _VERSION:
        raise DataError(f"{path}: written by a newer ITS, {found.get('its')!s:.20}", "upgrade ITS")
    try:
        files = {str(name): str(value) for name, value in found["files"].items()}
        return Record(str(found["its"]), str(found["graph"]), files)
    except (TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: not a record of `its init`", f"`git checkout {RECORD}` restores it") from error


def record_code(project: Path) -> list[str]:
    """Write the hashes of the installed code, as stage `code` does; return the files that changed.

    Raises:
        MissingError: in a clone, whose dvc.yaml names the code itself.
        DataError: if the graph of the study is that of another version of ITS.
    """
    record = read_record(project)
    if record.graph != _sha256(study_files()[GRAPH]):
        raise DataError(
            f"{project / GRAPH} is the graph of ITS {record.its}, and that of the installed {its.__version__} differs",
            "`its init --upgrade`, then `git diff` shows what changed",
        )
    return write_code(project)


def _refuse_to_overwrite(folder: Path, contents: Mapping[str, bytes]) -> None:
    root = os.path.realpath(folder)
    faults = []
    for name, content in contents.items():
        path = folder / name
        beyond = not f"{os.path.realpath(path.parent)}{os.sep}".startswith(f"{root.rstrip(os.sep)}{os.sep}")
        if beyond:
            faults.append(Fault(str(path), "a link leads out of the folder, and a file would be written there"))
        elif os.path.lexists(path) and (path.is_symlink() or not path.is_file() or _content(path) != content):
            faults.append(Fault(str(path), "exists and would be overwritten"))
        elif blocked := next((above for above in path.parents if os.path.lexists(above) and not above.is_dir()), None):
            faults.append(Fault(str(blocked), "is not a folder, and one is needed"))
    if faults:
        several = list(dict.fromkeys(faults))
        last = several[-1]
        hint = "move these files away, or name another folder: `its init FOLDER`"
        raise FaultsError([*several[:-1], Fault(last.where, last.message, hint)])


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it, each noted in `made`."""
    new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        for path in reversed(new):
            path.mkdir()
            made.append(path)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be created: {str(error.strerror).lower()}", "name a folder that can be created"
        ) from error


def _write_new(folder: Path, name: str, content: bytes, made: list[Path]) -> None:
    path = folder / name
    if not os.path.lexists(path):
        _make_folder(path.parent, made)
        made.append(path)
        with atomic_binary_file(path) as out:
            out.write(content)


def _replace(folder: Path, name: str, content: bytes) -> None:
    with atomic_binary_file(folder / name) as out:
        out.write(content)


def _write_record(folder: Path, files: Mapping[str, str]) -> None:
    graph = _sha256(study_files()[GRAPH])
    content = {"version": _VERSION, "its": its.__version__, "graph": graph, "files": dict(sorted(files.items()))}
    write_json(folder / RECORD, content)


def _here(folder: Path, name: str) -> str | None:
    """The SHA-256 of a file of the study; None if there is nothing, and "" for what is not a readable file."""
    path = folder / name
    if not os.path.lexists(path):
        return None
    content = None if path.is_symlink() else _content(path)
    return "" if content is None else _sha256(content)


def _content(path: Path) -> bytes | None:
    try:
        return read_regular(path, _MOST)
    except ItsError:
        return None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git(folder: Path, *words: str) -> tuple[int, str]:
    """(exit code, the last line of its errors)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=kept, capture_output=True, text=True, errors="replace", check=False
    )
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]
