"""Run the points of a sweep as DVC experiments, one at a time: what is done is not run again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from its.child_process import die_with_parent
from its.commands.sweep_file import Point, Sweep
from its.errors import DataError, FaultsError, MissingError
from its.files import atomic_file, read_regular
from its.recipe.apply import departures
from its.recipe.document import MAX_BYTES, parse_document, read_document
from its.revisions import committed_content
from its.shown import shown

RESULTS = ("results/metrics.json", "results/cells.json")
_LAST = 300
"""Characters that are shown of the last line of an error."""


@dataclass(frozen=True)
class State:
    """planned = done + failed + left, as names of points."""

    planned: int
    done: list[str]
    left: list[str]
    failed: dict[str, str] = field(default_factory=dict)
    """Point -> the last line of its error, of this run."""


def sweep_state(project: Path, sweep: Sweep) -> State:
    """Which points have an experiment with exactly their parameters and with results."""
    found = _experiments(project)
    done = [
        point.name for point in sweep.points if any(_is_of(project, ref, point) for ref in found.get(point.name, ()))
    ]
    left = [point.name for point in sweep.points if point.name not in done]
    return State(len(sweep.points), done, left)


def run_sweep(project: Path, sweep: Sweep, tell: Callable[[str], None]) -> State:
    """Run the points that are left, each in a copy of the files that git knows; params.yaml is put back.

    A point that fails is counted, and the next one runs. A failed point is tried again by the next sweep.

    Args:
        tell: receives a line before and after each point.

    Raises:
        MissingError: outside of git, or without a commit.
        DataError: if params.yaml is not the recipe of the sweep, or git does not track it.
    """
    recipe = _require_recipe(project, sweep)
    state = sweep_state(project, sweep)
    done, left, failed = list(state.done), list(state.left), dict(state.failed)
    for point in [point for point in sweep.points if point.name in state.left]:
        tell(f"{point.name}: running ({len(done)} of {state.planned} done, {len(failed)} failed, {len(left)} left)")
        fault = _run(project, point, recipe)
        left.remove(point.name)
        if fault is None and not any(_is_of(project, ref, point) for ref in _experiments(project).get(point.name, ())):
            fault = "dvc ended without an experiment that has the results of these parameters"
        if fault is None:
            done.append(point.name)
        else:
            failed[point.name] = fault
        tell(f"{point.name}: {'done' if fault is None else f'failed: {fault}'}")
    return State(state.planned, done, left, failed)


def _require_recipe(project: Path, sweep: Sweep) -> str:
    """The text of params.yaml, which is the recipe of the sweep; what a killed sweep left there is put back."""
    if _git(project, "rev-parse", "--verify", "-q", "HEAD") is None:
        raise MissingError(f"{project}: no git commit to run experiments from", "`git commit` the study first")
    target = project / "params.yaml"
    name = sweep.recipe.stem
    if _git(project, "ls-files", "--error-unmatch", "params.yaml") is None:
        raise DataError(
            "params.yaml is not in git, and an experiment runs on the files of git", "`git add params.yaml`"
        )
    text = read_regular(target, MAX_BYTES, hint=f"`its recipe use {name}` writes it").decode("utf-8", "replace")
    if any(text == point.text for point in sweep.points):
        text = read_document(sweep.recipe).text
        _write(target, text)
    if departures(read_document(sweep.recipe).values, read_document(target).values):
        raise DataError(f"params.yaml is not the recipe `{name}` of the sweep", f"`its recipe use {name}`")
    return text


def _run(project: Path, point: Point, recipe: str) -> str | None:
    """Run one experiment; None, or the last line of its error."""
    target = project / "params.yaml"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    words = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", point.name]
    # Not `-S`: its grammar would read some texts as something else, and write others into the recipe.
    _write(target, point.text)
    last = ""
    try:
        with subprocess.Popen(
            words,
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=die_with_parent,
        ) as running:
            try:
                assert running.stdout is not None
                for line in running.stdout:
                    last = _kept(last, line)
            except BaseException:
                running.terminate()
                running.wait()
                raise
        return None if running.returncode == 0 else last or f"dvc ended with exit status {running.returncode}"
    finally:
        # A person may have changed the file meanwhile: that is not overwritten.
        if read_regular(target, MAX_BYTES).decode("utf-8", "replace") == point.text:
            _write(target, recipe)


def _kept(last: str, line: str) -> str:
    """The line to show of a failure: the last error of a stage, not DVC's remark that its stage failed."""
    told = shown(line.strip())[:_LAST]
    if told.startswith("error:"):
        return told
    if last.startswith("error:") or not told.startswith("ERROR:"):
        return last
    return told


def _experiments(project: Path) -> dict[str, list[str]]:
    """Name of an experiment -> its references, of whatever commit it was run from."""
    listed = _git(project, "for-each-ref", "--format=%(refname)", "refs/exps") or ""
    found: dict[str, list[str]] = {}
    for reference in listed.split():
        parts = reference.split("/")
        if len(parts) == 5:  # refs/exps/AB/CDEF.../NAME
            found.setdefault(parts[-1], []).append(reference)
    return found


def _is_of(project: Path, reference: str, point: Point) -> bool:
    """Whether an experiment has results, and exactly the parameters of a point."""
    content = committed_content(project, "params.yaml", reference, MAX_BYTES)
    if content is None or any(_git(project, "cat-file", "-e", f"{reference}:./{name}") is None for name in RESULTS):
        return False
    try:
        return not departures(point.params, parse_document(Path(reference), content.decode("utf-8", "replace")).values)
    except FaultsError:
        return False


def _git(project: Path, *words: str) -> str | None:
    """What git prints; None if it fails.

    Raises:
        MissingError: if git is not installed.
    """
    try:
        done = subprocess.run(["git", *words], cwd=project, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise MissingError("git is not installed, and DVC keeps experiments in it", "install git") from error
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as out:
        out.write(text)
