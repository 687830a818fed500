"""A study's files at a revision or in a folder, and how the workspace differs from git and DVC.

The only module that imports DVC. It imports it within functions: that takes a second, which help must not.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from its.errors import DataError, ItsError, MissingError
from its.files import read_regular
from its.home import find_above, is_repository
from its.installed.code import changed_code
from its.installed.graph import PACKAGES, code_file

WORKSPACE = "workspace"
"""DVC's name for the files in the working tree; a revision may not have it."""
_KEEP = "`git add dvc.lock params.yaml results` and a commit, or `dvc exp save`, keeps a run"


class Files(Protocol):
    """The files of a study at one revision; paths are relative to the folder of its dvc.yaml."""

    @property
    def name(self) -> str:
        """The revision's name in errors."""

    def find(self, folder: str, ending: str) -> list[str]:
        """The sorted paths of all files below a folder with an ending; [] if there is no such folder."""

    def read(self, path: str, limit: int) -> bytes:
        """A file's content.

        Raises:
            DataError: if it is not a regular file, or has more than `limit` bytes.
            MissingError: if it does not exist, or DVC tracks it and has it neither in its cache nor in its remote.
        """


@dataclass(frozen=True)
class Folder:
    """A study's files in a folder."""

    name: str
    path: Path

    def find(self, folder: str, ending: str) -> list[str]:
        found = (item for item in (self.path / folder).rglob(f"*{ending}") if item.is_file())
        return sorted(item.relative_to(self.path).as_posix() for item in found)

    def read(self, path: str, limit: int) -> bytes:
        return read_regular(self.path / path, limit, hint="`dvc repro` creates the outputs of stages")


class Revision:
    """A study's files at a git revision or a DVC experiment, from DVC's cache or remote, without a checkout.

    Raises:
        DataError: if neither git nor DVC has such a revision.
        MissingError: outside a DVC repository, or if git is not installed.
    """

    def __init__(self, project: Path, name: str) -> None:
        from dvc.api import DVCFileSystem

        root = repository_root(project)
        if _git(project, "rev-parse", "--git-dir") is None:  # DVC would read the working tree for any name
            raise MissingError(f"{project}: not in a git repository, so there is no revision `{name}`", "`git init`")
        self.name = name
        self._inside = project.resolve().relative_to(root)
        with _explained(name):
            self._files: Any = DVCFileSystem(str(root), rev=name, config=_remotes(root))
            self._files.ls("/", detail=False)  # the revision is looked up at the first use

    def find(self, folder: str, ending: str) -> list[str]:
        start = (self._inside / folder).as_posix()
        with _explained(self.name, self._recorded):
            if not self._files.isdir(start):
                return []
            found = [Path(path.lstrip("/")) for path in self._files.find(start)]
        return sorted(path.relative_to(self._inside).as_posix() for path in found if path.name.endswith(ending))

    def read(self, path: str, limit: int) -> bytes:
        with _explained(self.name, self._recorded), self._files.open((self._inside / path).as_posix(), "rb") as source:
            content: bytes = source.read(limit + 1)
        if len(content) > limit:
            raise DataError(f"{self.name}:{path}: has more than {limit} bytes", "is it the right file?")
        return content

    def _recorded(self, path: str) -> bool:
        """Whether dvc.lock of the revision names a path of the repository, one above it or one below."""
        lock = (self._inside / "dvc.lock").as_posix()
        lines = self._files.read_text(lock).splitlines() if self._files.isfile(lock) else []
        marked = (line.strip().removeprefix("- ") for line in lines)
        named = ((self._inside / line.removeprefix("path: ")).as_posix() for line in marked if line[:6] == "path: ")
        return any(f"{path}/".startswith(f"{out}/") or out.startswith(f"{path}/") for out in named)


def open_files(project: Path, name: str) -> Files:
    """Open the files of a study: `workspace`, a folder with a study, or a git revision or DVC experiment.

    A name is taken as a folder if it contains `/` or begins with `.`, else first as a revision: `data` may be a branch,
    `./data` is a folder.

    Raises:
        DataError: if it is none of these.
        MissingError: outside a DVC repository.
    """
    if name == WORKSPACE:
        return Folder(name, project)
    folder = Path(os.path.expanduser(name))  # unlike Path.expanduser it keeps `~` if there is no such user
    if os.path.isdir(folder) and ("/" in name or name.startswith(".")):
        return Folder(name, folder)
    try:
        return Revision(project, name)
    except ItsError:
        if os.path.isdir(folder):  # unlike Path.is_dir it accepts a name that no folder can have
            return Folder(name, folder)
        raise


def repository_root(project: Path) -> Path:
    """The root of the DVC repository that contains a study.

    Raises:
        MissingError: if there is none.
    """
    root = find_above(project.resolve(), is_repository)
    if root is None:
        hint = "`its init FOLDER` creates a study; for this one `git init && dvc init`"
        raise MissingError(f"{project}: not in a DVC repository", hint)
    return root


@dataclass(frozen=True)
class Standing:
    """How the working tree differs from git and DVC.

    Args:
        commit: the full hash; None outside a git repository.
        changed_files: tracked files that differ from the commit.
        changed_stages: by stage, what differs from dvc.lock; None if DVC cannot tell.
        unknown: why DVC cannot tell.
    """

    commit: str | None
    changed_files: list[str]
    changed_stages: dict[str, list[str]] | None
    unknown: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "commit": self.commit,
            "changed_files": self.changed_files,
            "changed_stages": self.changed_stages,
            "unknown": self.unknown,
        }


def standing(project: Path, stages: Sequence[str]) -> Standing:
    """Compare a study's files with its commit, and the outputs of some stages with dvc.lock.

    Args:
        stages: names as in dvc.yaml; a matrix stage stands for all its cells.
    """
    commit = _git(project, "rev-parse", "HEAD")
    changed = _git(project, "status", "--porcelain", "--untracked-files=no", "--", ".")
    files = [line[3:] for line in (changed or "").splitlines()]
    try:
        return Standing(commit, files, _changed_stages(project, stages))
    except ItsError as error:
        return Standing(commit, files, None, error.message)


def _remotes(root: Path) -> dict[str, Any]:
    """The remotes as configured now: DVC would use the revision's own configuration, which may be outdated."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        name = repo.config["core"].get("remote")
        return {"core": {"remote": name} if name else {}, "remote": dict(repo.config["remote"])}


def share_cache(project: Path, copy: Path) -> None:
    """Have a copy of a study's repository use the study's cache and its own settings (`.dvc/config.local`).

    Args:
        copy: the root of the DVC repository in the copy; `.dvc` is created if git does not track it.

    Raises:
        MissingError: if the study is not in a DVC repository, or DVC cannot read its settings.
    """
    from dvc.config import Config
    from dvc.repo import Repo

    root = repository_root(project)
    (copy / ".dvc").mkdir(exist_ok=True)
    with _explained(WORKSPACE), Repo(str(root)) as repo:
        own = repo.config.load_one("local")  # relative paths become absolute, which a copy elsewhere needs
        own["cache"]["dir"] = repo.cache.local_cache_dir
        with Config(dvc_dir=str(copy / ".dvc"), validate=False).edit("local", validate=False) as settings:
            settings.update(own)


def _changed_stages(project: Path, stages: Sequence[str]) -> dict[str, list[str]]:
    if not stages:
        return {}
    from dvc.repo import Repo

    root = repository_root(project)
    with _explained(WORKSPACE), Repo(str(root)) as repo:
        # All at once: DVC reads dvc.lock again for each stage that it is asked for, a second of YAML each time.
        status = repo.status([str(project.resolve() / "dvc.yaml")])
    found = {stage.rsplit(":", 1)[-1]: entries for stage, entries in status.items()}
    changed = {stage: list(_reasons(entries)) for stage, entries in found.items() if stage.partition("@")[0] in stages}
    for path in changed_code(project):  # DVC sees them when stage `code` has written them again
        for stage in stages if path == PACKAGES else [stage for stage in stages if path == code_file(stage)]:
            changed.setdefault(stage, []).append(f"installed code: {path} (modified)")
    return changed


def _reasons(entries: Sequence[Any]) -> Iterator[str]:
    """Reasons in DVC's wording: `changed deps: recipes/prompts (modified)`."""
    for entry in entries:
        if not isinstance(entry, dict):
            yield str(entry)
            continue
        for kind, paths in entry.items():
            for path, how in paths.items():
                what = ", ".join(f"{name} {change}" for name, change in how.items()) if isinstance(how, dict) else how
                yield f"{kind}: {path} ({what})"


@contextmanager
def _explained(name: str, recorded: Callable[[str], bool] = lambda path: True) -> Iterator[None]:
    """Turn failures of DVC into errors for a user.

    Args:
        recorded: (path of the repository) -> whether a run is recorded that wrote it; DVC lists what dvc.yaml declares.
    """
    from dvc.scm import RevError
    from dvc_data.index import DataIndexDirError

    nowhere = "is neither in DVC's cache nor in its remote"
    remedy = (
        "`dvc pull --all-commits` (an experiment: `dvc exp pull REMOTE NAME`), after `dvc push` where it was created"
    )

    def absent(path: str) -> MissingError:
        if recorded(path):
            return MissingError(f"`{path}` of `{name}` {nowhere}", remedy)
        return MissingError(f"no run that wrote `{path}` is recorded in `{name}`", _KEEP)

    try:
        yield
    except RevError as error:
        hint = "`git log --oneline` lists revisions, `dvc exp list` experiments; a folder needs a `/` in its name"
        raise DataError(f"no git revision and no DVC experiment `{name}`", hint) from error
    except DataIndexDirError as error:  # dvc-data 3.18: the list of a folder's files is missing
        # Its message is `failed to load directory ('data', 'personas')`.
        folder = "/".join(re.findall(r"'([^']*)'", str(error)))
        if isinstance(error.__cause__, FileNotFoundError):
            raise absent(folder) from error
        raise _unreadable(name, error.__cause__ or error) from error
    except FileNotFoundError as error:
        # dvc-data 3.18: `[Errno 2] No storage files available: 'PATH'` if cache and remote lack the content.
        path = error.filename or error
        if "No storage files available" in str(error):
            raise absent(str(path)) from error
        raise MissingError(f"`{name}` has no `{path}`", "`dvc repro` creates the outputs of stages") from error
    except ItsError:
        raise
    except Exception as error:  # remotes fail in many ways: no package, no login, no network
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: BaseException) -> MissingError:
    message = " ".join(str(error).split()) or type(error).__name__
    return MissingError(
        f"DVC cannot read `{name}`: {message}", "`dvc pull` shows more; docs/data.md describes remotes and logins"
    )


def _git(project: Path, *words: str) -> str | None:
    """The output of git, without the last line end; None if it fails or is not installed."""
    try:
        done = subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def committed_content(project: Path, path: str, revision: str, limit: int) -> bytes | None:
    """A file that git tracks, at a revision; None without git, the revision or the file, or if it is larger.

    Args:
        path: relative to the project, with `/`.
    """
    name = f"{revision}:./{path}"
    size = _git(project, "cat-file", "-s", name)
    if size is None or not size.isdecimal() or int(size) > limit:
        return None
    done = subprocess.run(["git", "cat-file", "blob", name], cwd=project, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def experiments(project: Path) -> dict[str, str]:
    """The DVC experiments of a repository, newest first: git reference -> name, of whatever commit; {} without git."""
    listed = _git(project, "for-each-ref", "--sort=-creatordate", "--format=%(refname)", "refs/exps") or ""
    parts = {reference: reference.split("/") for reference in listed.split()}
    # refs/exps/AB/CDEF.../NAME; what DVC keeps for itself has other forms: refs/exps/celery/stash, refs/exps/exec/...
    return {reference: found[-1] for reference, found in parts.items() if len(found) == 5}


def is_commit(project: Path, revision: str) -> bool:
    """Whether git has a revision; it contains no white space."""
    return b" commit " in _batch(project, "--batch-check", [f"{revision}^{{commit}}"])


def commits_of(project: Path, path: str, count: int) -> list[str]:
    """The newest commits behind HEAD that changed a file, at most `count`; [] without git.

    Args:
        path: relative to the project, with `/`.
    """
    words = ("--literal-pathspecs", "log", f"-{count}", "--format=%H", "--", path)
    return (_git(project, *words) or "").split()


def blobs(project: Path, path: str, revisions: Sequence[str]) -> dict[str, tuple[str, int]]:
    """A file at many revisions, by one call of git: revision -> (id of its content, bytes), where there is one.

    Args:
        path: relative to the project, with `/`.
        revisions: hashes or full references, which contain no white space.
    """
    lines = _batch(project, "--batch-check", [f"{revision}:./{path}" for revision in revisions]).decode().splitlines()
    # `ID blob SIZE`, or `NAME missing`, whose name may have any words.
    found = {revision: line.rsplit(" ", 2) for revision, line in zip(revisions, lines, strict=False)}
    return {
        revision: (each[0], int(each[2]))
        for revision, each in found.items()
        if len(each) == 3 and each[1] == "blob" and each[2].isdecimal()
    }


def blob_contents(project: Path, ids: Sequence[str]) -> dict[str, bytes]:
    """The contents of blobs, by one call of git. All are in memory: ask for their sizes first (`blobs`)."""
    out: dict[str, bytes] = {}
    rest = _batch(project, "--batch", ids)
    while rest:
        head, _, rest = rest.partition(b"\n")
        name, *kind = head.decode().split()
        if len(kind) == 2:  # `ID blob SIZE`; `ID missing` has no content
            size = int(kind[1])
            out[name], rest = rest[:size], rest[size + 1 :]
    return out


def blob_id(project: Path, path: str) -> str | None:
    """The id by which git would know the content of a file as it is now; None without git or the file."""
    return _git(project, "hash-object", "--", path)


def _batch(project: Path, how: str, names: Sequence[str]) -> bytes:
    """What `git cat-file` prints of some objects; nothing without names or git."""
    if not names:
        return b""
    told = "".join(f"{name}\n" for name in names).encode()
    try:
        done = subprocess.run(["git", "cat-file", how], cwd=project, input=told, capture_output=True, check=False)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""


def last_commit(project: Path, path: str) -> str | None:
    """The hash of the last commit that changed a file; None without such a commit or git."""
    return _git(project, "--literal-pathspecs", "log", "-1", "--format=%H", "--", path) or None


def known_files(project: Path, paths: Sequence[str]) -> set[str] | None:
    """The given paths that git tracks: files in its index and folders with one; None without git.

    Args:
        paths: relative to the project, with `/`.
    """
    if not paths:
        return set()
    listed = _git(project, "--literal-pathspecs", "ls-files", "-z", "--", *paths)
    if listed is None:
        return None
    files = listed.split("\0")
    folders = {str(folder) for file in files for folder in PurePosixPath(file).parents}
    return {path for path in paths if path in files or path in folders}
