"""The hashes of the installed code by stage, and whether those in a study are still true."""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

from its.errors import DataError, MissingError
from its.files import atomic_file, read_regular
from its.installed.files import installed_root
from its.installed.graph import GRAPH, PACKAGES, code_file, stage_entries

LIBRARIES = (
    *("datasets", "jinja2", "mpmath", "numpy", "pandas", "py3langid", "pyarrow", "pydantic", "ruamel.yaml"),
    "tokenizers",
)
"""What reads, renders, grades and measures; the others fetch, show, lock or run stages."""
_PACKAGE = Path(__file__).resolve().parents[1]
_MOST = 2**20
_SKIPPED = (".pyc", ".pyo")


def code_texts(stage: str | None = None) -> dict[str, str]:
    """Path in a study -> what it contains for the installed code, of all stages or of one.

    A file of a stage has a line `SHA256  its/...` for each file of code, as `sha256sum -c` reads it beside the package;
    `code/packages.txt` has `NAME==VERSION` for each library.

    Raises:
        MissingError: if a file or library is not installed.
    """
    graph = (installed_root() / GRAPH).read_text(encoding="utf-8")
    texts = {
        code_file(name): _listing(tuple(entries))
        for name, entries in stage_entries(graph).items()
        if stage in (None, name)
    }
    return texts | {PACKAGES: "".join(f"{name}=={_version(name)}\n" for name in LIBRARIES)}


def changed_code(project: Path) -> list[str]:
    """The files of `code/` in a study that differ from the installed code, or are not there; [] in a clone.

    Raises:
        MissingError: as `code_texts`.
    """
    if not (project / PACKAGES).is_file():
        return []
    return [path for path, text in code_texts().items() if _read(project / path) != text]


def write_code(project: Path) -> list[str]:
    """Write the files of `code/` that differ; return their paths.

    Raises:
        MissingError: as `code_texts`.
        DataError, RunError: as `atomic_file`.
    """
    changed = []
    for path, text in code_texts().items():
        if _read(project / path) != text:
            with atomic_file(project / path) as out:
                out.write(text)
            changed.append(path)
    return changed


def require_current(project: Path, stage: str) -> None:
    """Refuse to run a stage whose rows DVC would record as made by other code.

    Raises:
        DataError: if the installed code of the stage is not that of `code/STAGE.txt`.
        MissingError: as `code_texts`.
    """
    if wrong := [path for path, text in code_texts(stage).items() if _read(project / path) != text]:
        raise DataError(
            f"stage `{stage}`: the installed code is not that of {' and '.join(wrong)}",
            "`its code` writes them, as `dvc repro` without `-s` does",
        )


def _read(path: Path) -> str | None:
    try:
        return read_regular(path, _MOST).decode("utf-8")
    except (DataError, MissingError, UnicodeDecodeError):
        return None


@cache
def _listing(entries: tuple[str, ...]) -> str:
    files = sorted({file for entry in entries for file in _files(entry)})
    return "".join(f"{_sha256(file)}  {file}\n" for file in files)


def _files(entry: str) -> list[str]:
    """The files that an entry `its/...` names, by their paths from the folder of the package."""
    path = _PACKAGE.parent / entry
    if path.is_file():
        return [entry]
    found = [item for item in path.rglob("*") if item.is_file() and item.suffix not in _SKIPPED]
    if not found:
        raise MissingError(
            f"{path}: not in this installation of ITS", "`pip install --force-reinstall --no-deps` of its wheel"
        )
    return [item.relative_to(_PACKAGE.parent).as_posix() for item in found]


@cache
def _sha256(file: str) -> str:
    return hashlib.sha256((_PACKAGE.parent / file).read_bytes()).hexdigest()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingError(f"`{name}` is not installed", f"`pip install {name}`") from error
