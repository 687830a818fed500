"""The state of each recipe for `its recipe list`: never run, unfinished, done or stale; none of it asks DVC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from its.commands.finished_runs import WORKSPACE, Run, changed_files, finished_runs, workspace_lock
from its.errors import FaultsError, ItsError
from its.recipe.apply import departures, description, readable
from its.recipe.document import read_document
from its.recipe.shareable import shareable_path

State = Literal["never run", "unfinished", "done", "stale", "unknown"]
COMPARED = 8
"""Runs of a recipe whose parameters are compared, the newest; reading one takes a tenth of a second."""
_NAMED = 3


@dataclass(frozen=True)
class RecipeState:
    """A recipe and what is known of its runs.

    Args:
        state: `done` if a finished run has exactly its values; `stale` if the values changed since the runs, or, of the
            run in the workspace, a file that DVC lists; `unfinished` if it is the active one, and stages ran but
            not all; `unknown` if it cannot be decided.
        where: the run that counts: `workspace`, `experiment NAME`, `commit HASH`; None without one.
        reason: why it is stale or unknown.
        active: whether params.yaml names it.
        edited: whether params.yaml names it and has other values.
    """

    name: str
    description: str
    state: State
    where: str | None = None
    reason: str | None = None
    active: bool = False
    edited: bool = False

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def recipe_states(project: Path) -> tuple[list[RecipeState], FaultsError | None]:
    """The state of every readable recipe, by name, and the faults of the others."""
    documents, error = readable(project)
    params = _params(project)
    try:
        runs, lock, fault = finished_runs(project), workspace_lock(project), None
    except ItsError as found:
        runs, lock, fault = [], None, found.message
    out = []
    for name, document in documents:
        active = params.get("recipe") == name
        state, where, reason = _state(project, document.values, [run for run in runs if run.recipe == name], lock)
        if state == "never run" and active and lock is not None:
            state, reason = "unfinished", "stages ran, and not all of them"
        if fault is not None:
            state, where, reason = "unknown", None, fault
        edited = active and bool(departures(document.values, params))
        out.append(RecipeState(name, description(document), state, where, reason, active, edited))
    return out, error


def _params(project: Path) -> Mapping[str, Any]:
    try:
        return read_document(project / "params.yaml").values
    except ItsError:  # none, or a file that `its recipe check` explains
        return {}


def _state(
    project: Path, values: Mapping[str, Any], runs: Sequence[Run], lock: str | None
) -> tuple[State, str | None, str | None]:
    """(state, where, reason) of a recipe by its own runs."""
    if not runs:
        return "never run", None, None
    newest: list[str] | None = None
    for run in runs[:COMPARED]:
        try:
            changed = [shareable_path(path) for path, _, _ in departures(run.values, values)]
        except FaultsError as error:
            return "unknown", run.where, f"the parameters of the run cannot be read: {error.faults[0].message}"
        if not changed:
            files = changed_files(project, lock) if run.where == WORKSPACE and lock is not None else []
            return ("stale", run.where, f"changed since: {_some(files)}") if files else ("done", run.where, None)
        newest = changed if newest is None else newest
    if len(runs) > COMPARED:
        return "unknown", runs[0].where, f"it has {len(runs)} runs, and the newest {COMPARED} have other values"
    return "stale", runs[0].where, f"other values in its run: {_some(newest or [])}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
