"""Run the points of a sweep as DVC experiments, several at once where the machine has room; what is done is not run."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from its.checks.untracked import untracked_files
from its.child_process import die_with_parent
from its.commands.run import end_groups, hear_interrupts
from its.commands.sweep_copy import (
    Snapshot,
    copies_folder,
    make_copy,
    remove_copies,
    remove_copy,
    take_over,
    take_snapshot,
)
from its.commands.sweep_file import Point, Sweep
from its.commands.sweep_slots import Slot
from its.commands.sweep_state import Found, State, read_failed, state_of, sweep_state, write_failed
from its.errors import DataError, ItsError, RunError
from its.home import its_home
from its.secrets import redacted
from its.shown import bounded, shown

_LAST = 300
"""Characters that are shown of the last line of an error."""
_STAGE = re.compile(r"Running stage '(?P<stage>[^']+)'")
Tell = Callable[[str], None]


def run_sweep(project: Path, sweep: Sweep, slots: Sequence[Slot], tell: Tell) -> State:
    """Run the points that are not done, each in its own copy of the files that git tracks, as they are now.

    The working tree is only read: it may be edited meanwhile, which changes no point of this sweep. A point that fails
    is counted, and the next one runs. However the sweep ends, its processes are ended, the copies removed and the
    counts told first; only `kill -9` leaves copies, which the next sweep removes.

    Args:
        slots: the GPUs of each job; () for a job that sees what this process sees.
        tell: receives a line when a point starts, when one of its stages starts, and when it ends.

    Raises:
        MissingError: outside of git or DVC, or without a commit.
        DataError: if git does not track a file that a point reads.
        RunError: if another sweep runs in this project.
    """
    snapshot = take_snapshot(project)
    _require_tracked(project, sweep)
    with _alone(project):
        remove_copies(project)
        state = sweep_state(project, sweep)
        waiting = [point for point in sweep.points if state.points[point.name].word != "done"]
        try:
            _run_all(project, snapshot, waiting, slots, state, tell)
        finally:
            tell(state.counts)
    return state


def _require_tracked(project: Path, sweep: Sweep) -> None:
    names = sorted({name for point in sweep.points for name in untracked_files(project, point.recipe)})
    if names:
        what = ", ".join(f"`{name}`" for name in names)
        raise DataError(
            f"git does not track {what}: a point runs in a copy of the files that git tracks",
            f"`git add {' '.join(names)}` (large ones `dvc add`)",
        )


@contextlib.contextmanager
def _alone(project: Path) -> Iterator[None]:
    folder = copies_folder(project).parents[1]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "its-sweep.lock", timeout=0):
            yield
    except Timeout as error:
        raise RunError(
            "another `its sweep` is running in this project", "wait until it ends; `--dry` shows how far it is"
        ) from error


@dataclass
class _Job:
    """A point that runs: its copy, its process, and what it has printed."""

    point: Point
    slot: Slot
    study: Path
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    rest: bytes = b""
    last: str = ""

    def read(self, tell: Tell) -> bool:
        """Read what is there; False at the end of the output."""
        assert self.process.stdout is not None
        read = os.read(self.process.stdout.fileno(), 65536)
        self.log.write(read)
        *lines, self.rest = (self.rest + read).split(b"\n")
        for line in lines if read else [*lines, self.rest]:
            text = line.decode("utf-8", "replace")
            if found := _STAGE.match(text):
                tell(f"{self.point.name}: stage {shown(found['stage'])}")
            self.last = _kept(self.last, text)
        return bool(read)


def _run_all(
    project: Path, snapshot: Snapshot, waiting: list[Point], slots: Sequence[Slot], state: State, tell: Tell
) -> None:
    free, jobs = list(slots), dict[int, _Job]()
    failed = read_failed(project)

    def ended(point: Point, fault: str | None) -> None:
        found = state_of(project, point) if fault is None else Found("failed", fault)
        if found.word != "done":
            fault = fault or "dvc ended without an experiment that has the results of these parameters"
            found = Found("failed", fault)
        failed.pop(point.name, None)
        if fault is not None:
            failed[point.name] = fault
        state.points[point.name] = found
        write_failed(project, failed)
        tell(f"{point.name}: {'done' if fault is None else f'failed: {fault}'}")

    with selectors.DefaultSelector() as ready:
        try:
            while waiting or jobs:
                while waiting and free:
                    point, slot = waiting.pop(0), free.pop(0)
                    state.points[point.name] = Found("left")
                    on = f" on GPU {','.join(slot)}" if slot else ""
                    tell(f"{point.name}: running{on} ({state.counts})")
                    try:
                        job = _start(project, snapshot, point, slot)
                    except ItsError as error:
                        free.append(slot)
                        ended(point, error.message)
                        continue
                    assert job.process.stdout is not None
                    jobs[job.process.stdout.fileno()] = job
                    ready.register(job.process.stdout, selectors.EVENT_READ)
                for key, _ in ready.select() if jobs else ():
                    job = jobs[key.fd]
                    if job.read(tell):
                        continue
                    ready.unregister(key.fileobj)
                    fault = _finish(project, snapshot, job)
                    del jobs[key.fd]
                    free.append(job.slot)
                    ended(job.point, fault)
        finally:
            end_groups([job.process for job in jobs.values()])
            for job in jobs.values():
                _close(project, job)


def _start(project: Path, snapshot: Snapshot, point: Point, slot: Slot) -> _Job:
    """Start an experiment in a new copy.

    Raises:
        ItsError: if there can be no copy, or no log.
    """
    home = its_home(project)
    study = make_copy(project, snapshot, point.text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment |= {
        "ITS_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
    }
    if slot:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(slot)
    try:
        log = home / "logs" / f"sweep-{point.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            out = opened.enter_context(log.open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", "dvc", "exp", "run", "--name", point.name],
                cwd=study,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its stages are ended with it
                preexec_fn=_begin,
            )
            opened.pop_all()
    except BaseException as error:
        remove_copy(study, project)
        if isinstance(error, OSError):
            raise RunError(f"the point cannot start: {error.strerror or error}") from error
        raise
    return _Job(point, slot, study, process, out)


def _begin() -> None:
    hear_interrupts()
    die_with_parent()


def _finish(project: Path, snapshot: Snapshot, job: _Job) -> str | None:
    """Take over the experiment of a job that ended; its fault, or None."""
    code = job.process.wait()
    try:
        found = take_over(project, job.study, snapshot.head, job.point.name)
    except ItsError as error:
        return error.message
    finally:
        _close(project, job)
    if found and code == 0:
        return None
    return job.last or f"dvc ended with exit status {code}; the log of the point says why"


def _close(project: Path, job: _Job) -> None:
    assert job.process.stdout is not None
    job.process.stdout.close()
    job.log.close()
    with contextlib.suppress(OSError):  # the next sweep removes it
        remove_copy(job.study, project)


def _kept(last: str, line: str) -> str:
    """The line to show of a failure: the last error of a stage, not DVC's remark that its stage failed."""
    told = bounded(shown(redacted(line.strip())), _LAST)
    if told.startswith("error:"):
        return told
    if last.startswith("error:") or not told.startswith("ERROR:"):
        return last
    return told
