"""The finished runs of a study that are known here, with their parameters: from dvc.lock, of the workspace and in git.

Stage `report` is the last one and reads all of params.yaml, so its entry in dvc.lock has the parameters of a whole run.
Only this entry is read as YAML: a lock has thousands of lines, and ruamel reads 2,000 in a second.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import dedent
from typing import Any

from its.errors import DataError, ItsError, MissingError
from its.files import read_regular
from its.recipe.document import parse_document
from its.revisions import blob_contents, blobs, commits_of, experiments

LOCK_BYTES = 8 * 2**20
"""Of one dvc.lock: 124 KiB for the quickstart, and a study has a stage for every training."""
ALL_BYTES = 128 * 2**20
"""Of all that are read from git, newest first."""
COMMITS = 50
"""The newest ones that changed dvc.lock."""
WORKSPACE = "workspace"
_ENTRY = re.compile(r"^  report:\n((?:    .*\n|\n)*)", re.MULTILINE)
_PARAMS = re.compile(r"^    params:\n      params\.yaml:\n((?:        .*\n|\n)*)", re.MULTILINE)
_RECIPE = re.compile(r"^recipe: [\"']?([a-z0-9_]+)[\"']?$", re.MULTILINE)
_FILES = re.compile(r"^    - path: ([^\"'\s].*)\n      hash: md5\n      md5: ([0-9a-f]{32}(?:\.dir)?)$", re.MULTILINE)
_FILE_BYTES = 16 * 2**20
_FOLDER_FILES = 1000
_ALL_BYTES_COMPARED, _ALL_FILES_COMPARED = 2**29, 20_000
_IGNORED = ("__pycache__/", "*.pyc", ".gitignore", "/.its/", "/.venv/", ".*.tmp")
"""The patterns of the .dvcignore of a study. With others, DVC alone tells which files of a folder count."""


@dataclass(frozen=True)
class Run:
    """A finished run: `where` is `workspace`, `experiment NAME` or `commit HASH`; `text` is its params.yaml."""

    where: str
    recipe: str
    text: str

    @cached_property
    def values(self) -> dict[str, Any]:
        """Its parameters.

        Raises:
            FaultsError: if they are not plain YAML.
        """
        return parse_document(Path("dvc.lock"), self.text).values


def finished_runs(project: Path) -> list[Run]:
    """The runs of the workspace, of the experiments and of the last commits, newest first within each; each once."""
    found: dict[str, Run] = {}
    for where, lock in _locks(project):
        entry = _ENTRY.search(lock)
        params = entry and _PARAMS.search(entry[1])
        text = dedent(params[1]) if params else ""
        if named := _RECIPE.search(text):
            found.setdefault(text, Run(where, named[1], text))
    return list(found.values())


def workspace_lock(project: Path) -> str | None:
    """The text of dvc.lock; None without one, before the first stage has run.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        return read_regular(project / "dvc.lock", LOCK_BYTES).decode("utf-8", "replace")
    except MissingError:
        return None


def changed_files(project: Path, lock: str) -> list[str]:
    """Files and folders that differ from what dvc.lock has of them, sorted.

    Folders that stages write are not compared, nor a file or folder above 16 MiB, nor what is listed after 512 MiB or
    20,000 files. An output that is not here is in DVC's cache and not changed; an input that is not here is.
    """
    pairs = sorted(set(_FILES.findall(lock)))
    outputs = {
        path
        for block in re.findall(r"^    outs:\n((?:    [- ].*\n?)*)", lock, re.MULTILINE)
        for path, _ in _FILES.findall(block)
    }
    around = {folder for path in outputs for folder in _with_parents(path)}
    compared, folders = _Compared(project), _plain_ignores(project)

    def differs(path: str, md5: str) -> bool:
        if not md5.endswith(".dir"):
            return compared.file_differs(path, md5, path in outputs)
        written = path in around or not outputs.isdisjoint(_with_parents(path))
        return folders and not written and compared.folder_differs(path, md5)

    return sorted({path for path, md5 in pairs if differs(path, md5)})


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")[:64]
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _plain_ignores(project: Path) -> bool:
    try:
        lines = read_regular(project / ".dvcignore", 2**16).decode("utf-8", "replace").split("\n")
    except ItsError:
        return True
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")} <= {*_IGNORED}


class _Compared:
    """Compares files by their MD5 until as much is read as a dvc.lock of someone else may cost."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._bytes, self._files = _ALL_BYTES_COMPARED, _ALL_FILES_COMPARED

    def _md5(self, path: Path, limit: int) -> tuple[str, int]:
        """(MD5, bytes) of a file; raises ItsError where it is not read."""
        if self._files <= 0 or self._bytes <= 0:
            raise DataError("enough is read")
        content = read_regular(path, min(limit, self._bytes))
        self._files -= 1
        self._bytes -= len(content)
        return hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content)

    def file_differs(self, path: str, md5: str, is_output: bool) -> bool:
        try:
            return self._md5(self._project / path, _FILE_BYTES)[0] != md5
        except MissingError:
            return not is_output
        except ItsError:  # a folder, too large, not readable: DVC tells
            return False

    def folder_differs(self, path: str, md5: str) -> bool:
        """The MD5 that DVC gives a folder is that of the list of its files; one with a link is left to DVC."""
        top = self._project / path
        if not top.is_dir():
            return not top.exists()
        entries: list[dict[str, str]] = []
        room = _FILE_BYTES
        for folder, folders, files in os.walk(top):
            folders[:] = [name for name in folders if name != "__pycache__"]
            names = [name for name in files if not re.fullmatch(r".*\.pyc|\.gitignore|\..*\.tmp", name)]
            self._files -= len(folders)
            links = any(os.path.islink(os.path.join(folder, name)) for name in folders)
            if links or self._files <= 0 or len(entries) + len(names) > _FOLDER_FILES:
                return False
            for name in names:
                file = Path(folder, name)
                try:
                    digest, size = self._md5(file, room)
                except ItsError:
                    return False
                room -= size
                entries.append({"md5": digest, "relpath": file.relative_to(top).as_posix()})
        listed = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
        return f"{hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()}.dir" != md5


def _locks(project: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of every dvc.lock, each content once."""
    if (lock := workspace_lock(project)) is not None:
        yield WORKSPACE, lock
    kept = {reference: f"experiment {name}" for reference, name in experiments(project).items()}
    kept |= {commit: f"commit {commit[:7]}" for commit in commits_of(project, "dvc.lock", COMMITS)}
    wanted: dict[str, str] = {}
    total = 0
    for revision, (content, size) in blobs(project, "dvc.lock", list(kept)).items():
        if content not in wanted and size <= LOCK_BYTES and total + size <= ALL_BYTES:
            wanted[content] = kept[revision]
            total += size
    texts = blob_contents(project, list(wanted))
    for content, where in wanted.items():
        if content in texts:
            yield where, texts[content].decode("utf-8", "replace")
