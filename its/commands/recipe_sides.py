"""The sides of `its recipe diff`: recipes, params.yaml, revisions, experiments; and the stages that read a field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from its.errors import DataError, ItsError, MissingError, did_you_mean, nearest
from its.recipe.apply import own_path, recipe_path, recipe_paths
from its.recipe.document import MAX_BYTES, Document, parse_document, read_document
from its.revisions import blob_contents, blobs, experiments, is_commit
from its.shown import quoted

PARAMS = "params.yaml"


def open_side(project: Path, name: str) -> Document:
    """The document that a side names.

    `params.yaml`; a recipe by its name or path; a DVC experiment or git revision, which is its params.yaml;
    `REVISION:PATH`, a file of it, with the path from the study's folder. A name is taken as the first of these that
    exists.

    Raises:
        MissingError: if it is none of them, or the revision has no such file.
        DataError: if the file is too large.
        FaultsError: if it is not plain YAML.
    """
    if name == PARAMS:
        return read_document(project / PARAMS)
    if ":" in name:
        revision, _, path = name.partition(":")
        return _committed(project, revision, path.removeprefix("./"), name)
    if name.endswith((".yaml", ".yml")):
        return read_document(recipe_path(project, name))
    try:
        return read_document(own_path(project, name))
    except MissingError:
        return _committed(project, name, PARAMS, name)


def _committed(project: Path, revision: str, path: str, name: str) -> Document:
    kept = experiments(project)
    found = next((reference for reference, own in kept.items() if own == revision), revision)
    if found.split() != [found] or not is_commit(project, found):
        known = [*(item.stem for item in recipe_paths(project)), *kept.values()]
        hint = "`its recipe list` lists recipes, `dvc exp list -A` experiments, `git log --oneline` revisions"
        raise MissingError(
            f"no recipe, DVC experiment or git revision {quoted(f'`{revision}`')}",
            did_you_mean(nearest(revision, known), hint),
        )
    blob = blobs(project, path, [found]).get(found) if path.isprintable() else None
    if blob is None:
        hint = "paths begin at the study's folder: `HEAD:recipes/quickstart.yaml`"
        raise MissingError(f"`{quoted(revision)}` has no file `{quoted(path)}`", hint)
    content, size = blob
    if size > MAX_BYTES:
        raise DataError(f"{quoted(name)}: has {size} bytes, and at most {MAX_BYTES} are read", "is it the right file?")
    text = blob_contents(project, [content])[content].decode("utf-8", "replace")
    return parse_document(Path(f"{revision}:{path}"), text)


def stages_reading(project: Path, paths: Iterable[str]) -> list[str]:
    """The stages of dvc.yaml that list a parameter at or around one of some dotted paths, in the order of the file.

    `recipe diff` prints them: DVC runs them again, and then those that need what they write. Empty where dvc.yaml
    cannot be read.
    """
    try:
        stages = read_document(project / "dvc.yaml").values.get("stages")
    except ItsError:
        return []
    wanted = list(paths)
    found = []
    for name, stage in stages.items() if isinstance(stages, Mapping) else ():
        read = list(_parameters(stage.get("params") if isinstance(stage, Mapping) else None))
        if any(key is None or _overlap(key, path) for key in read for path in wanted):
            found.append(name)
    return found


def _parameters(declared: Any) -> Iterable[str | None]:
    """The keys that a stage lists under `params`; None stands for the whole of params.yaml."""
    for item in declared if isinstance(declared, list) else ():
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping) and PARAMS in item:
            yield from item[PARAMS] or [None]


def _overlap(key: str, path: str) -> bool:
    return f"{path}.".startswith(f"{key}.") or f"{key}.".startswith(f"{path}.")
