"""The files that a path of a recipe names: one, those of a folder, or those that a pattern matches.

    data/sources/train.jsonl        the file
    data/sources/openr1/            the files of the folder, as one set
    data/sources/openr1/*.parquet   those that match, as one set

A path is first tried as it stands, so a file may be called `train[1].jsonl`. In a pattern `*`, `?` and `[...]` stand
for characters of one name and never for `/`; `**` is refused. The files of a set are read in natural order (`part-2`
before `part-10`) and have one ending. Names that begin with `.` or `_` (`_SUCCESS`, `.part-0.crc`), documents (README,
LICENSE, .md), lists of hashes and DVC's `.dvc` files are not data: they are skipped. Folders in the folder are a
fault.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from its.errors import DataError, MissingError, did_you_mean, nearest
from its.foreign_files import foreign_ending, python_command, python_text
from its.shown import NO_TEXT, shown

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
PACKINGS = (".gz", ".zst")
"""Of any but Parquet, which packs by itself."""
KNOWN = "known: `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv` (each also with `.gz` or `.zst`), `.parquet`"
MAX_FILES = 1_000
"""Of one path: the largest published sets have some hundred shards."""
MAX_ENTRIES = 20_000
"""Looked at for one path, in all folders."""
PATH_HINT = "paths are relative to the folder of dvc.yaml"

_WILD = re.compile(r"[*?]|\[[^\]/]+\]")
_UNNAMEABLE = re.compile(rf"{NO_TEXT.pattern}|[\t\n\r\\]")
_DOCUMENT = re.compile(
    r"(?:readme|licen[cs]e|citation|notice|changelog|sha256sums?)(?:\.(?:txt|rst|html?|pdf|cff|bib))?|.*\.(?:md|dvc|sha256)"
)
_SHOWN = 5
"""Names that an error lists."""
_NOWHERE = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class DataFiles:
    """The files that a path names, in the order in which they are read."""

    path: str
    """As the recipe has it."""
    names: list[str]
    """Of each file, as a recipe would write it."""
    base: str | None = None
    """The folder to which names in the pin of a set are relative; None where the path names one file."""
    ignored: list[str] = field(default_factory=list)
    """Other files beside them, except names that begin with `.`: those differ between machines."""
    tells: bool = True
    """Whether an error may name them: it names nothing that a folder outside of the project holds."""

    def pin(self, digests: Sequence[str]) -> str:
        """What `sha256` pins: the digest of the one file, or of a set's list of digests.

        The list is what `sha256sum NAMES | LC_ALL=C sort` prints within the folder: it depends on contents and names,
        and not on the order.

        Args:
            digests: SHA-256 of each file, in hex, in the order of `names`.
        """
        if self.base is None:
            return digests[0]
        own = (name.removeprefix(self.base) for name in self.names)
        lines = sorted(f"{digest}  {name}\n".encode() for digest, name in zip(digests, own, strict=True))
        return hashlib.sha256(b"".join(lines)).hexdigest()


def named_files(project: Path, path: str, told: Callable[[str], str] = str) -> DataFiles:
    """The files that a path names; whether each is a regular one, and of a known ending, shows when it is opened.

    Args:
        project: what the path is relative to.
        told: how errors write a path.

    Raises:
        MissingError: if there is no such file, or nothing that the pattern matches; the hint names what is similar.
        DataError: if a folder or a pattern holds no data file, too many, files of several endings, further folders, or
            one file under two names; if the pattern holds `**`.
    """
    found = _found(project, path, told)
    label = told(shown(path))
    if found.base is not None:
        _require_few_and_alike(found, label)
        _require_distinct(project, found, label)
    return found


def ending_of(name: str, told: Callable[[str], str] = str) -> str:
    """The ending of a data file without its packing, in lower case.

    Raises:
        DataError: if it is none that is read.
    """
    whole = _ending(name)
    kind = whole.removesuffix(".gz").removesuffix(".zst")
    if kind in ENDINGS and (kind == whole or kind != ".parquet"):
        return kind
    last = PurePosixPath(name).suffix
    what, remedy = foreign_ending(name)
    said = f"unknown ending `{shown(last)}`" if last else "its name has no ending"
    raise DataError(f"{told(shown(name))}: {said}{what}", f"{remedy}; {KNOWN}" if remedy else KNOWN)


def _ending(name: str) -> str:
    """The ending, with that of the packing where it is one of a packed file: `.jsonl.gz`."""
    path = PurePosixPath(name.lower())
    return "".join(path.suffixes[-2:]) if path.suffix in PACKINGS else path.suffix


def _found(project: Path, path: str, told: Callable[[str], str]) -> DataFiles:
    label = told(shown(path))
    try:
        mode = os.stat(os.path.join(project, path)).st_mode
    except (OSError, ValueError) as error:
        if not (isinstance(error, OSError) and error.errno in _NOWHERE):
            return DataFiles(path, [path])  # whoever opens it says why it cannot be read
        if _WILD.search(path):
            return _matching(project, path, told)
        raise MissingError(f"{label}: no such file", _near(project, path)) from error
    if not stat.S_ISDIR(mode):
        return DataFiles(path, [path])
    return _of_folder(project, path, told)


def _of_folder(project: Path, path: str, told: Callable[[str], str]) -> DataFiles:
    label, base = told(shown(path)), f"{path.rstrip('/') or ''}/"
    names, ignored, folders = [], [], []
    tells = _lies_within(project, base)
    for looked, entry in enumerate(_entries(project, base, label), 1):
        _require_few_entries(looked, label)
        if not _is_data(entry.name):
            ignored += [entry.name] if entry.name[0] != "." else []
        elif _is_folder(entry):
            folders.append(entry.name)
        else:
            names.append(entry.name)
    _refuse_saved_arrow(path, label, [*names, *(folders if tells else [])])
    if folders:
        folders.sort(key=natural)
        one = f"{base}{folders[0] if tells else 'FOLDER'}/"
        every = f"{base}*/*{_commonest(names) or '.parquet'}"
        raise DataError(
            f"{label}: the folder contains folders: {_listed(folders, tells)}",
            f"name one of them, `path: {shown(one)}`, or a pattern such as `path: {shown(every)}`",
        )
    if not names:
        beside = f" (not counted: {_listed(ignored, tells)})" if ignored else ""
        raise DataError(f"{label}: the folder contains no data file{beside}", f"put the files there; {KNOWN}")
    return _in_order(DataFiles(path, [f"{base}{name}" for name in names], base, ignored, tells), label)


def _matching(project: Path, path: str, told: Callable[[str], str]) -> DataFiles:
    label = told(shown(path))
    parts = path.split("/")
    if any("**" in part for part in parts):
        raise DataError(f"{label}: a pattern must not contain `**`", "name each level: `data/sources/set/*/*.parquet`")
    first = next(index for index, part in enumerate(parts) if _WILD.search(part))
    base = "".join(f"{part}/" for part in parts[:first])
    if os.path.realpath(os.path.join(project, base)) == "/":  # what else this machine has would decide
        raise DataError(f"{label}: the pattern searches the whole disk", "name the folder that contains the data files")
    places, names, ignored, looked = [base], [], [], 0
    tells = _lies_within(project, base)
    for index, part in enumerate(parts[first:], start=first):
        last, following = index == len(parts) - 1, []
        for place in places:
            if not _WILD.search(part):  # a plain name behind a pattern
                _require_few_entries(looked := looked + 1, label)
                if os.path.lexists(here := os.path.join(project, place, part)):
                    following.append((place, part, os.path.isdir(here)))
                continue
            for entry in _entries(project, place, label):
                _require_few_entries(looked := looked + 1, label)
                if not fnmatch.fnmatchcase(entry.name, part):
                    continue
                if _is_data(entry.name, part):
                    following.append((place, entry.name, _is_folder(entry)))
                elif last and entry.name[0] != ".":
                    ignored.append(f"{place}{entry.name}".removeprefix(base))
        if not last:
            places = [f"{place}{name}/" for place, name, folder in following if folder]
            continue
        for place, name, folder in following:
            if folder:
                one = f"{place}{name}/" if tells else f"{base}.../"
                raise DataError(f"{label}: matches the folder {told(shown(one))}", f"name it: `path: {shown(one)}`")
            names.append(f"{place}{name}")
    if not names:
        there = os.path.isdir(os.path.join(project, base))
        hint = (
            f"`ls {shown(shlex.quote(base or '.'))}` lists what is there; {PATH_HINT}"
            if there
            else _near(project, path)
        )
        raise MissingError(f"{label}: no file matches", hint)
    return _in_order(DataFiles(path, names, base, ignored, tells), label)


def _in_order(found: DataFiles, label: str) -> DataFiles:
    unnameable = next((name for name in found.names if _UNNAMEABLE.search(name)), None)
    if unnameable is not None:
        which = f" `{shown(unnameable)}`" if found.tells else ""
        raise DataError(f"{label}: the file name{which} contains a character that no place can show", "rename it")
    return replace(found, names=sorted(found.names, key=natural), ignored=sorted(found.ignored, key=natural))


def _lies_within(project: Path, folder: str) -> bool:
    real = os.path.realpath(os.path.join(project, folder))
    return f"{real}/".startswith(f"{os.path.realpath(project)}/")


def natural(name: str) -> tuple[list[str | int], str]:
    """Key of the natural order: runs of digits count as numbers."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _entries(project: Path, folder: str, label: str) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder; none if it does not exist."""
    try:
        with os.scandir(os.path.join(project, folder)) as entries:
            yield from entries
    except OSError as error:
        if error.errno not in _NOWHERE:
            why = str(error.strerror).lower()
            raise DataError(f"{label}: cannot be read: {why}", "name a folder that can be read") from error


def _require_few_entries(looked: int, label: str) -> None:
    if looked > MAX_ENTRIES:
        raise DataError(
            f"{label}: more than {MAX_ENTRIES} entries to search", "name a folder that contains only data files"
        )


def _is_data(name: str, pattern: str = "") -> bool:
    """Whether a name may be that of data; a pattern that begins with `.` or `_` means such names."""
    hidden = name[0] in "._" and pattern[:1] != name[0]
    return not hidden and not _DOCUMENT.fullmatch(name.lower())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def _require_few_and_alike(found: DataFiles, label: str) -> None:
    if len(found.names) > MAX_FILES:
        hint = "join them, or name several paths as parts: `source: [{...}, {...}]`"
        raise DataError(f"{label}: {len(found.names)} files, and at most {MAX_FILES} are read as one set", hint)
    kinds: dict[str, list[str]] = {}
    for name in found.names:
        kinds.setdefault(_ending(name), []).append(name.removeprefix(str(found.base)))
    if len(kinds) > 1:
        said = ((f"{len(names)} `{kind}`", _listed(names, found.tells)) for kind, names in kinds.items())
        told = "; ".join(f"{count}: {names}" if found.tells else count for count, names in islice(said, _SHOWN))
        one = f"{found.base}*{_commonest(found.names)}"
        raise DataError(
            f"{label}: the files have {len(kinds)} endings: {told}",
            f"keep those of one, or name them: `path: {shown(one)}`",
        )


def _require_distinct(project: Path, found: DataFiles, label: str) -> None:
    """One file under two names would give each of its rows twice."""
    seen: dict[str, str] = {}
    for name in found.names:
        first = seen.setdefault(os.path.realpath(os.path.join(project, name)), name)
        if first != name:
            which = f"`{shown(first)}` and `{shown(name)}`" if found.tells else "two of the files"
            raise DataError(f"{label}: {which} are one file", "remove the link: its rows would come twice")


def _commonest(names: Sequence[str]) -> str:
    endings = [_ending(name) for name in names]
    return max(dict.fromkeys(endings), key=endings.count, default="")


def _listed(names: Sequence[str], tells: bool) -> str:
    if not tells:
        return str(len(names))
    told = ", ".join(f"`{shown(name[:100])}`" for name in names[:_SHOWN])
    return f"{told} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else told


def _near(project: Path, path: str) -> str:
    """A hint for a path that is not there: what of the project is called almost so."""
    place = ""
    parts = [part for part in path.split("/") if part]
    for index, part in enumerate([] if path.startswith("/") else parts):
        here = os.path.join(project, place)
        if not _lies_within(project, place):
            break
        if not os.path.lexists(os.path.join(here, part)):
            close = _nearest(here, part)
            if close:
                rest = "/".join(parts[index + 1 :])
                whole = f"{place}{close}/{rest}" if rest else f"{place}{close}"
                if rest and not _WILD.search(rest) and not os.path.exists(os.path.join(project, whole)):
                    whole = f"{place}{close}/"
                return did_you_mean([shown(whole)], PATH_HINT)
            break
        place += f"{part}/"
    return PATH_HINT


def _nearest(folder: str, name: str) -> str | None:
    """The entry of a folder that differs in case or ending, or in little."""
    try:
        with os.scandir(folder) as entries:
            known = sorted(entry.name for entry in islice(entries, MAX_ENTRIES))
    except OSError:
        return None
    stem = _stem(name)
    for alike in (lambda other: other.casefold() == name.casefold(), lambda other: _stem(other) == stem):
        if found := next((other for other in known if alike(other)), None):
            return found
    return next(iter(nearest(name, known[:1000], cutoff=0.8)), None)


def _stem(name: str) -> str:
    return name.lower().removesuffix(_ending(name))


def _refuse_saved_arrow(path: str, label: str, names: Sequence[str]) -> None:
    """What `datasets.save_to_disk` left: a folder of Arrow files, or one of such folders for each split."""
    plain = path.rstrip("/")
    load, target = f"datasets.load_from_disk({python_text(plain)})", f"{plain}.parquet"
    if "dataset_dict.json" in names:
        split = next((name for name in names if "." not in name), "train")
        load, target = f"{load}[{python_text(split)}]", f"{plain}_{split}.parquet"
    elif ".arrow" not in (endings := {_ending(name) for name in names}) or not endings <= {".arrow", ".json"}:
        return
    command = python_command(f"import datasets; {load}.to_parquet({python_text(target)})")
    raise DataError(
        f"{label}: the folder was written by `save_to_disk` of datasets (Arrow files), which are not read",
        f"{shown(command)}, then `path: {shown(target)}`",
    )
