"""A stage sees what dvc.yaml declares for it, and nothing else of the project.

DVC runs a stage again when something changes that dvc.yaml lists under its `deps` and `params`; what a stage reads
beside them could change its rows silently. So while a stage runs, reading another section of the recipe, or opening
another file of the project, is an error that names the entry of dvc.yaml to fix. The code that a stage depends on is
known without running it: tests/unit/test_graph.py compares `deps` with the imports.

Files are watched by an audit hook (PEP 578), which sees every `open` of this process, whichever library calls it. It
does not see reads in compiled code that bypass Python (Rust tokenizers, SQLite), paths relative to an open folder
(`dir_fd`), whether a file exists and its size (`listdir`, `stat`), or other processes. Those read the ITS home, model
folders and the files that their stage passes to them.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from its.data_files import named_files
from its.errors import DataError, ItsError
from its.home import its_home
from its.installed.code import require_current
from its.installed.graph import code_file
from its.recipe.document import Document, read_document
from its.recipe.scalars import quoted
from its.recipe.schema import FilesSource, FolderSource, Recipe, Section
from its.study.study import Study, load_study

_ITEM = re.compile(r"\$\{item\.(\w+)\}")
_CACHES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "TMPDIR")
"""Environment variables that name folders of libraries, which may be in the project."""
_NAMED: tuple[Callable[[Any], str], ...] = (os.path.abspath, os.path.realpath)
_NEUTRAL_SUFFIXES = (".py", ".pyc")
_NEUTRAL_FILES = ("dvc.yaml", "dvc.lock", "params.yaml")
_NEUTRAL_FIELDS = {
    # DVC cannot declare a field that a recipe may leave out.
    ("persona", "train.long_rows"): "stops the stage; its rows are the same where it did not",
    ("solution", "train.long_rows"): "stops the stage; its rows are the same where it did not",
    ("query", "generation"): "counts the responses to come in the line that the stage prints",
}
"""(stage, field) that may be read without being declared, with the reason."""
Fields = dict[str, Any]
"""Declared fields of a section by name: None declares everything below, a dictionary only its own fields."""
Refuse = Callable[[str], DataError]


@dataclass(frozen=True)
class Entry:
    """One stage of dvc.yaml for one item of its matrix: its place and what it declares."""

    name: str
    where: str
    fields: Fields | None
    paths: list[str]

    def undeclared_field(self, field: str) -> DataError:
        if not field:
            return self.undeclared("the whole recipe", "params", "params.yaml:")
        return self.undeclared(f"`{field}`", "params", field)

    def undeclared(self, what: str, section: str, line: str) -> DataError:
        return DataError(
            f"{self.where}: stage `{self.name}` reads {what}, which it does not declare",
            f"add `- {line}` to its `{section}`, so that DVC runs it again when that changes",
        )


@contextmanager
def stage_study(*words: str) -> Iterator[Study]:
    """The active study as one stage may see it.

    Args:
        words: of the command in dvc.yaml after `python -m its`: the stage and the values of its matrix.

    Raises:
        MissingError, FaultsError: as `load_study`.
        DataError: if dvc.yaml runs no such command, or the installed code is not the one that DVC would record; within
            the context, at the first undeclared read.
    """
    study = load_study()
    document = read_document(study.project / "dvc.yaml")
    entry = _entry(document, study.recipe, words)
    if code_file(entry.name) in entry.paths:  # a study outside the clone
        require_current(study.project, entry.name)
    recipe = study.recipe
    if entry.fields is not None:
        recipe = cast(
            Recipe,
            _Declared(recipe, entry.fields, "", entry.undeclared_field, entry.name),
        )
    with _watched(_Watch(study.project, entry, _pinned(study.project, study.recipe))):
        yield replace(study, recipe=recipe)


def _entry(document: Document, recipe: Recipe, words: tuple[str, ...]) -> Entry:
    stages = document.values.get("stages")
    missing: dict[str, tuple[str, list[str]]] = {}
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        item = _item(stage, words) if isinstance(stage, dict) else None
        if item is None:
            continue
        values = {key: _values(stage, key, recipe) for key in item}
        lacking = {key: (word, values[key]) for key, word in item.items() if word not in values[key]}
        if not lacking:
            fields = _fields([_filled(param, item) for param in stage.get("params") or []])
            named = [*(stage.get("deps") or []), *(stage.get("outs") or []), *(stage.get("metrics") or [])]
            paths = [_filled(path if isinstance(path, str) else next(iter(path)), item) for path in named]
            return Entry(name, document.where(["stages", name]), fields, paths)
        missing |= lacking
    if missing:
        word = next(iter(missing.values()))[0]
        known = [value for _, values in missing.values() for value in values]
        raise DataError(
            f"params.yaml declares no {' or '.join(missing)} {quoted(word)}", f"declared: {', '.join(known[:100])}"
        )
    raise DataError(
        f"{document.path}: no stage runs `python -m its {' '.join(words)}`", "`git checkout dvc.yaml` restores it"
    )


def _item(stage: Mapping[str, Any], words: tuple[str, ...]) -> dict[str, str] | None:
    """The words of a command by the key of the stage's matrix; None if it is not a command of this stage."""
    pattern = str(stage.get("cmd", "")).split()[3:]
    if len(pattern) != len(words):
        return None
    item: dict[str, str] = {}
    for part, word in zip(pattern, words, strict=True):
        if found := _ITEM.fullmatch(part):
            item[found[1]] = word
        elif part != word:
            return None
    return item


def _values(stage: Mapping[str, Any], key: str, recipe: Recipe) -> list[str]:
    values = stage.get("matrix", {}).get(key, [])
    if isinstance(values, str):
        values = _value(recipe, values.removeprefix("${").removesuffix("}").split("."))
    return [str(value) for value in values]


def _value(recipe: Recipe, path: list[str]) -> Any:
    value: Any = recipe
    for part in path:
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def _filled(text: Any, item: Mapping[str, str]) -> Any:
    return _ITEM.sub(lambda found: item.get(found[1], found[0]), text) if isinstance(text, str) else text


def _fields(params: list[Any]) -> Fields | None:
    """The declared fields of the recipe as a tree; None declares the whole recipe (`- params.yaml:`)."""
    names: list[str] = []
    for param in params:
        if isinstance(param, str):
            names.append(param)
        elif "params.yaml" in param:
            if param["params.yaml"] is None:
                return None
            names += param["params.yaml"]
    tree: Fields = {}
    for name in sorted(names):  # a section before what is in it
        *above, last = name.split(".")
        node: Fields | None = tree
        for part in above:
            node = node.setdefault(part, {}) if node is not None else None
        if node is not None:
            node[last] = None
    return tree


class _Declared:
    """A section, or a table of sections, of which only the declared fields can be read."""

    def __init__(self, section: Any, fields: Fields, at: str, refuse: Refuse, stage: str) -> None:
        self._section, self._fields, self._at, self._refuse, self._stage = section, fields, at, refuse, stage

    def _read(self, name: str, value: Any) -> Any:
        here = f"{self._at}{name}"
        if name not in self._fields:
            if (self._stage, here) in _NEUTRAL_FIELDS:
                return value
            raise self._refuse(here)
        fields = self._fields[name]
        return value if fields is None else _Declared(value, fields, f"{here}.", self._refuse, self._stage)

    def __getattr__(self, name: str) -> Any:
        if isinstance(self._section, Section) and (field := type(self._section).model_fields.get(name)) is not None:
            return self._read(field.alias or name, getattr(self._section, name))  # as a recipe calls it
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._refuse(self._at.rstrip("."))  # `items`, `model_dump`: all of it

    def __getitem__(self, name: str) -> Any:
        return self._read(name, self._section[name])

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self._section else default

    def __contains__(self, name: str) -> bool:
        return name in self._section

    def __iter__(self) -> Iterator[Any]:
        raise self._refuse(self._at.rstrip("."))

    def __len__(self) -> int:
        raise self._refuse(self._at.rstrip("."))


def _pinned(project: Path, recipe: Recipe) -> list[str]:
    """Files and folders that the recipe names, whose content is pinned or fingerprinted instead of watched by DVC."""
    sets = [*recipe.datasets.values(), *recipe.benchmarks.values()]
    files: list[str] = []
    for source in (source for each in sets for source in each.sources):
        if isinstance(source, FilesSource) and source.sha256:
            with contextlib.suppress(ItsError):  # which the stage itself meets
                files += named_files(project, source.path).names
    return files + [each.source.path for each in recipe.models.values() if isinstance(each.source, FolderSource)]


class _Watch:
    """Refuses to open files of a project that a stage did not declare."""

    def __init__(self, project: Path, entry: Entry, pinned: list[str]) -> None:
        self._entry = entry
        self._roots = {f"{project}{os.sep}", f"{os.path.realpath(project)}{os.sep}"}
        allowed = {os.path.normpath(path) for path in entry.paths}
        allowed |= {os.path.relpath(named(project / path), named(project)) for path in pinned for named in _NAMED}
        self._allowed = allowed | set(_NEUTRAL_FILES)
        places = [sys.prefix, sys.base_prefix, str(its_home(project)), tempfile.gettempdir()]
        places += [os.environ[name] for name in _CACHES if os.environ.get(name)]
        folders = {f"{named(os.path.expanduser(path))}{os.sep}" for path in places for named in _NAMED}
        # Not those that contain the project itself, as a folder for temporary files may.
        self._outside = tuple(path for path in folders if not any(root.startswith(path) for root in self._roots))
        self.refused: DataError | None = None

    def opened(self, path: Any, mode: Any, flags: Any) -> None:
        """Check one `open` event; a file opened only for writing is not checked.

        Raises:
            DataError: if it is a file of the project that the stage does not declare.
        """
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if isinstance(flags, int) and (flags & os.O_ACCMODE == os.O_WRONLY or flags & os.O_DIRECTORY):
            return
        if isinstance(mode, str) and not flags and "r" not in mode and "+" not in mode:
            return
        full = os.path.abspath(os.fsdecode(path))
        root = next((root for root in self._roots if full.startswith(root)), None)
        if root is None or full.endswith(_NEUTRAL_SUFFIXES) or full.startswith(self._outside):
            return
        own = full[len(root) :]
        if own.startswith(".") or self._is_allowed(own) or not os.path.isfile(full):
            return
        self.refused = self._entry.undeclared(f"the file `{own}`", "deps", own)
        raise self.refused

    def _is_allowed(self, own: str) -> bool:
        while own:
            if own in self._allowed:
                return True
            own = os.path.dirname(own)
        return False


_watch: _Watch | None = None
_hooked = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watch is not None:
        _watch.opened(*arguments)


@contextmanager
def _watched(watch: _Watch) -> Iterator[None]:
    global _watch, _hooked
    if not _hooked:
        sys.addaudithook(_hook)  # permanently: a hook cannot be removed
        _hooked = True
    _watch = watch
    try:
        yield
    finally:
        _watch = None
    if watch.refused is not None:  # swallowed on its way by a library
        raise watch.refused
