"""Whether results or rows of the last run are still those of the study as it is now; DVC is not asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from its.commands.finished_runs import changed_files, workspace_lock
from its.commands.side_settings import STAGES, changed_since, used_stages
from its.errors import ItsError
from its.recipe.apply import departures, own_path
from its.recipe.document import read_document
from its.recipe.last_used import last_used
from its.revisions import WORKSPACE, Folder
from its.shown import counted

MEASURED = (*STAGES, "judge", "measure")
"""The stages on which results/*.json depend."""
REMEDY = "`dvc repro` runs what is out of date"
_NAMED = 4
_ENTRY = re.compile(r"^  ([^\s:][^:\n]*):\n(?:    .*\n|\n)*", re.MULTILINE)


def outdated(project: Path, what: str = "results", stages: tuple[str, ...] = MEASURED) -> list[str]:
    """What changed since the last run, by dvc.lock, a sentence each; [] if nothing did, or without a dvc.lock.

    Parameters, files and folders that stages read are compared with those of the last run, and what a stage wrote with
    what a later one read. Folders that a stage wrote are compared as dvc.lock has them, not by their content.

    Args:
        what: is outdated, in the plural.
        stages: on which it depends; the last one writes it.
    """
    return list(_told(project, what, stages))


def _told(project: Path, what: str, stages: tuple[str, ...]) -> Iterator[str]:
    try:
        lock = workspace_lock(project)
        if lock is None:
            return
        used = used_stages(Folder(WORKSPACE, project), lock, stages)
    except ItsError as error:
        yield f"whether the {what} are outdated is not known: {error.message}"
        return
    if stages[-1] not in used:
        yield f"whether the {what} are outdated is not known: dvc.lock has no run of `{stages[-1]}`"
    if changed := changed_since(Folder(WORKSPACE, project), stages):
        yield f"the {what} are outdated, changed since: {some(changed)}"
    kept = "".join(found[0] for found in _ENTRY.finditer(lock) if found[1] in used)
    files = changed_files(project, kept)
    if others := [path for path in files if not path.startswith("its/")]:
        yield f"files differ from those of the last run: {some(others)}"
    if code := len(files) - len(others):
        yield f"the last run was with other code of ITS: {counted(code, 'file differs', 'files differ')}"


def recipe_edited(project: Path) -> list[str]:
    """That the recipe of params.yaml was edited after `its recipe use` wrote it there, as a sentence; else [].

    A changed params.yaml, as `dvc exp run -S` leaves it, is what the user asked for.
    """
    try:
        params = read_document(project / "params.yaml").values
        used = last_used(project)
        if used is None or departures(used.values, params):
            return []
        name = str(params.get("recipe"))
        changed = [path for path, _, _ in departures(params, read_document(own_path(project, name)).values)]
    except ItsError:
        return []
    if not changed:
        return []
    told = f"recipes/{name}.yaml was edited after `its recipe use {name}`, and params.yaml has the former values"
    return [f"{told}: {some(changed)}"]


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
