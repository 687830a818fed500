"""The folder that `its publish` writes and `its verify` reads: its layout, its manifest, its files on disk.

    README.md  manifest.json  store.jsonl.zst
    study/     the study's own files at their own paths
    datasets/  a folder for each set, and for each set under a strategy
    models/    a folder for each trained checkpoint

The manifest lists every other file with its size and SHA-256. A folder may come from anyone: no path leaves it, no link
is followed, and only regular files are opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from its.errors import DataError, Fault, MissingError
from its.files import file_sha256, read_regular
from its.rows import MAX_DOCUMENT_BYTES, raise_faults, read_json, write_json
from its.shown import shown

FORMAT = "its-publication"
VERSION = 1
MANIFEST = "manifest.json"
STORE = "store.jsonl.zst"
STUDY, DATASETS, MODELS = "study", "datasets", "models"
MAX_FILES = 200_000
"""Of a folder; a study of a thousand cells has some thousand files."""
FROM_TRANSPORT = frozenset({".git", ".gitattributes", ".cache"})
"""What git and the hub's client add beside the files of a folder, which says nothing about them."""
_HINT = "is it a folder that `its publish` wrote?"


class Listed(BaseModel):
    """One file of a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    path: str = Field(min_length=1, max_length=4096)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What a published folder consists of.

    Args:
        its: the version of ITS that wrote it.
        grader_version: of the verdicts.
        commit: of the study when it was published; None outside a git repository.
        weights: whether `models/` has the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    format: str
    version: int
    its: str
    recipe: str
    grader_version: str
    commit: str | None
    weights: bool
    files: list[Listed] = Field(max_length=MAX_FILES)


class Difference(NamedTuple):
    """What does not agree: `where` is a path in the folder, with a line or a key behind it."""

    where: str
    what: str


def write_manifest(folder: Path, **about: Any) -> str:
    """List every file of a folder in its manifest; returns the SHA-256 of the manifest."""
    files = [
        Listed(path=path, bytes=(folder / path).stat().st_size, sha256=file_sha256(folder / path))
        for path in sorted(_files(folder))
    ]
    manifest = Manifest(format=FORMAT, version=VERSION, files=files, **about)
    write_json(folder / MANIFEST, manifest.model_dump())
    return file_sha256(folder / MANIFEST)


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest of a folder and its SHA-256.

    Raises:
        MissingError: if there is no such folder, or no manifest in it.
        DataError: if it is not a manifest of this version, or names a path outside of the folder.
    """
    path = folder / MANIFEST
    if not os.path.isdir(folder):
        raise MissingError(f"{folder}: no such folder", "name the folder that `its publish` wrote")
    if os.path.islink(path):
        raise DataError(f"{path}: is a symbolic link", _HINT)
    content = read_regular(path, MAX_DOCUMENT_BYTES, hint=_HINT)
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f"{path}: `format` is not `{FORMAT}`", _HINT)
    if type(value.get("version")) is not int or value["version"] != VERSION:
        what = f"`version` is {shown(json.dumps(value.get('version')))[:40]}; this version of ITS reads {VERSION}"
        raise DataError(f"{path}: {what}", "install the version of ITS that wrote it")
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        items = error.errors(include_url=False, include_input=False)
        places = [(".".join(str(part) for part in item["loc"]), item["msg"].lower()) for item in items]
        raise_faults([Fault(str(path), f"`{place}`: {message}", _HINT) for place, message in places])
        raise
    faults, seen = [], set()
    for item in manifest.files:
        if not _is_inside(item.path):
            faults.append(Fault(str(path), f"`{shown(item.path)}` is not a path in the folder", _HINT))
        elif item.path in seen or item.path == MANIFEST:
            faults.append(Fault(str(path), f"`{shown(item.path)}` is listed twice or is the manifest itself", _HINT))
        seen.add(item.path)
    raise_faults(faults)
    return manifest, hashlib.sha256(content).hexdigest()


def _is_inside(path: str) -> bool:
    """Whether a path of a manifest names a file in the folder, in the one way in which it is written."""
    parts = path.split("/")
    return "\0" not in path and not any(part in ("", ".", "..") for part in parts) and str(PurePosixPath(path)) == path


def file_differences(folder: Path, manifest: Manifest) -> tuple[list[Difference], bool]:
    """(how the files on disk differ from the manifest, whether what they contain can still be read).

    It cannot if a file is missing, is a link or not a regular file, or grew: then nothing else is opened.
    """
    found: list[Difference] = []
    readable = True
    on_disk = set()
    for path in _entries(folder):
        what = _unusual(folder / path)
        if what is not None:
            found.append(Difference(path, what))
            readable = False
        on_disk.add(path)
    listed = {item.path for item in manifest.files}
    found += [Difference(path, "is not in the manifest") for path in sorted(on_disk - listed - {MANIFEST})]
    unusual = {item.where for item in found}
    for item in manifest.files:
        if item.path in unusual:
            continue
        if item.path not in on_disk:
            found.append(Difference(item.path, "is missing"))
            readable = False
            continue
        size = (folder / item.path).stat().st_size
        if size != item.bytes:
            found.append(Difference(item.path, f"has {size} bytes, the manifest says {item.bytes}"))
            readable = readable and size <= item.bytes + 2**20
        elif (sha256 := file_sha256(folder / item.path)) != item.sha256:
            found.append(Difference(item.path, f"SHA-256 {sha256[:12]}..., the manifest says {item.sha256[:12]}..."))
    return found, readable


def _unusual(path: Path) -> str | None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "is a symbolic link, which is not followed"
    return None if stat.S_ISREG(mode) else "is not a regular file"


def _files(folder: Path) -> Iterator[str]:
    return (path for path in _entries(folder) if path != MANIFEST)


def _entries(folder: Path) -> Iterator[str]:
    """The path of everything in a folder but its folders, without following links.

    Raises:
        DataError: if there are more than MAX_FILES.
    """
    count = 0
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(folder / below) as entries:
                several = list(islice(entries, MAX_FILES + 1))
        except OSError as error:
            what = f"cannot be read: {str(error.strerror).lower()}"
            raise DataError(f"{folder / below}: {what}", "make it readable") from error
        for entry in sorted(several, key=lambda item: item.name):
            if not below and entry.name in FROM_TRANSPORT:
                continue
            path = f"{below}/{entry.name}" if below else entry.name
            count += 1
            if count > MAX_FILES:
                raise DataError(f"{folder}: has more than {MAX_FILES} files", _HINT)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            else:
                yield path
