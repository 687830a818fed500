"""Which points of a sweep are done: by their experiments, and by what changed since these ran."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from its.commands.sweep_copy import git_or_none
from its.commands.sweep_file import Point, Sweep
from its.errors import DataError, FaultsError, ItsError
from its.files import atomic_file, read_regular
from its.installed.code import changed_code
from its.recipe.apply import departures
from its.recipe.document import MAX_BYTES, parse_document
from its.revisions import committed_content, repository_root

RESULTS = ("results/metrics.json", "results/cells.json")
Word = Literal["done", "stale", "failed", "left"]
_FAILED = (".dvc", "tmp", "its-sweep-failed.json")
_GRAPH = "dvc.yaml"
_GRAPH_BYTES = 4 * 1024 * 1024
_NOT_RUN = ("desc", "plots", "artifacts")
"""Keys of dvc.yaml that change no run."""


@dataclass(frozen=True)
class Found:
    """The state of a point.

    `stale`: its experiment has results of these parameters, of code, templates or data that have changed since.
    `failed`: the last try failed. `left`: neither.
    """

    word: Word
    error: str | None = None
    """Of a failed point, the last line of its error."""
    changed: Sequence[str] = ()
    """Of a stale point, the files that have changed."""


@dataclass
class State:
    """planned = done + failed + left, at any moment; what is stale is left to run."""

    points: dict[str, Found] = field(default_factory=dict)
    """Name of a point -> its state, in the order of the sweep."""

    def count(self, word: Word) -> int:
        return sum(found.word == word for found in self.points.values())

    @property
    def left(self) -> int:
        return self.count("left") + self.count("stale")

    @property
    def counts(self) -> str:
        """The counts on one line."""
        stale = f", {self.count('stale')} of them stale" if self.count("stale") else ""
        done, failed = self.count("done"), self.count("failed")
        return f"{len(self.points)} planned: {done} done, {failed} failed, {self.left} left{stale}"


def sweep_state(project: Path, sweep: Sweep) -> State:
    """The state of every point, by the experiments in git and the failures of the last sweep.

    Raises:
        MissingError: if git is not installed, or without dvc.yaml.
        FaultsError: if dvc.yaml is not YAML.
        DataError: if ITS was upgraded and the files of `code/` are of the version before.
    """
    if changed := changed_code(project):
        raise DataError(
            f"the installed code is not that of {', '.join(changed)}",
            "`its code` writes them; what they change is then stale",
        )
    found, failed, watched = experiments(project), read_failed(project), _watched(project)
    return State({point.name: _state_of(project, point, found, failed, watched) for point in sweep.points})


def state_of(project: Path, point: Point) -> Found:
    """The state of one point by its experiments."""
    return _state_of(project, point, experiments(project), {}, _watched(project))


def _state_of(
    project: Path,
    point: Point,
    found: Mapping[str, Sequence[str]],
    failed: Mapping[str, str],
    watched: Sequence[str],
) -> Found:
    of_point = [name for name in found.get(point.name, ()) if _is_of(project, name, point)]
    changes = [_changes(project, name, watched) for name in of_point]
    if [] in changes:
        return Found("done")
    if point.name in failed:
        return Found("failed", error=failed[point.name])
    return Found("stale", changed=min(changes, key=len)) if changes else Found("left")


def experiments(project: Path) -> dict[str, list[str]]:
    """Name of an experiment -> its references, of whatever commit it was run from."""
    listed = git_or_none(project, "for-each-ref", "--format=%(refname)", "refs/exps") or ""
    found: dict[str, list[str]] = {}
    for reference in listed.split():
        parts = reference.split("/")
        if len(parts) == 5:  # refs/exps/AB/CDEF.../NAME
            found.setdefault(parts[-1], []).append(reference)
    return found


def read_failed(project: Path) -> dict[str, str]:
    """Name of a point whose last try failed -> the last line of its error; {} if there is no such file."""
    try:
        failed = json.loads(read_regular(repository_root(project).joinpath(*_FAILED), MAX_BYTES))
    except (ItsError, ValueError):
        return {}
    return {str(name): str(error) for name, error in failed.items()} if isinstance(failed, dict) else {}


def write_failed(project: Path, failed: Mapping[str, str]) -> None:
    """Keep the failures for the next sweep and for `--dry`."""
    path = repository_root(project).joinpath(*_FAILED)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as out:
        json.dump(failed, out)


def _is_of(project: Path, reference: str, point: Point) -> bool:
    """Whether an experiment has results, and exactly the parameters of a point."""
    content = committed_content(project, "params.yaml", reference, MAX_BYTES)
    if content is None or any(
        git_or_none(project, "cat-file", "-e", f"{reference}:./{name}") is None for name in RESULTS
    ):
        return False
    try:
        return not departures(point.params, parse_document(Path(reference), content.decode("utf-8", "replace")).values)
    except FaultsError:
        return False


def _changes(project: Path, reference: str, watched: Sequence[str]) -> list[str]:
    """What a run would read otherwise than the experiment did, of the files that git tracks."""
    words = ("diff", "--no-ext-diff", "--name-only", "--relative", "-z", reference, "--", *watched)
    listed = git_or_none(project, "--literal-pathspecs", *words) if watched else ""
    if listed is None:
        return ["unknown: git cannot compare"]
    changed = [name for name in listed.split("\0") if name]
    content = committed_content(project, _GRAPH, reference, _GRAPH_BYTES)
    if content is None or _graph(content) != _graph(read_regular(project / _GRAPH, _GRAPH_BYTES)):
        changed.append(_GRAPH)
    return changed


def _watched(project: Path) -> list[str]:
    """The dependencies of all stages that no stage writes: code, templates, data. A folder for what a matrix names."""
    content = read_regular(project / _GRAPH, _GRAPH_BYTES)
    parse_document(project / _GRAPH, content.decode("utf-8", "replace"), _GRAPH_BYTES)
    stages = _graph(content).get("stages")
    bodies = [body.get("do", body) for body in (stages or {}).values() if isinstance(body, dict)]
    # Stage `code`, which always runs, writes what it finds outside of the graph.
    inside = [body for body in bodies if not body.get("always_changed")]
    written = {_fixed(path) for body in inside for key in ("outs", "metrics") for path in _paths(body.get(key))}
    read = {_fixed(path) for body in bodies for path in _paths(body.get("deps"))}
    return sorted(
        path for path in read if not written.intersection({path, *map(str, PurePosixPath(path).parents)} - {"."})
    )


def _paths(items: Any) -> Iterator[str]:
    for item in items if isinstance(items, list) else ():
        yield from map(str, item) if isinstance(item, dict) else (str(item),)


def _fixed(path: str) -> str:
    """The path, or the folder above the part that a matrix fills in."""
    start, mark, _ = path.partition("${")
    return PurePosixPath(start.rpartition("/")[0] if mark else path).as_posix()


@cache
def _graph(content: bytes) -> dict[str, Any]:
    """dvc.yaml without what changes no run; {} if it is not YAML."""
    try:
        values = parse_document(Path(_GRAPH), content.decode("utf-8", "replace"), _GRAPH_BYTES).values
    except FaultsError:
        return {}
    stages = values.get("stages")
    kept = {name: _kept(body) for name, body in stages.items()} if isinstance(stages, Mapping) else stages
    return {**_kept(values), "stages": kept}


def _kept(values: Any) -> Any:
    if not isinstance(values, Mapping):
        return values
    return {key: value for key, value in values.items() if key not in _NOT_RUN}
