"""`dvc repro` as a child that ends with us: its lines as events, and the stage's failure as an error of ours."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from its.commands.run_view import View
from its.errors import EXIT_RUN_FAILED, ItsError, MissingError, RunError
from its.installed.graph import CODE_STAGE
from its.progress import FILE_VARIABLE
from its.recipe.document import read_document
from its.revisions import repository_root

REDRAW_SECONDS = 0.5
_PATIENCE = ((signal.SIGINT, 20.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
"""What the processes receive when the run ends early, each with the seconds until the next one. SIGINT first: DVC
leaves its stage alive on SIGTERM."""
_NOISE = re.compile(
    r"\s*$|> |Updating lock file|Generating lock file|To track the changes with git|\s+git add |Use `dvc push`"
    r"|To enable auto staging|\s+dvc config |Verifying data sources|WARNING: '.*' is empty\.$|code: unchanged$"
)
_BEGINS = re.compile(r"Running stage '(?P<stage>[^']+)'")
_KEPT = re.compile(r"Stage '(?P<stage>[^']+)' (?:didn't change, skipping|is cached)")
_FAILED = re.compile(
    r"ERROR: failed to reproduce '(?P<stage>[^']+)'"
    r"(?:: (?:failed to run: .*? exited with (?P<code>-?\d+)|(?P<cause>.*)))?$"
)
_BUSY = re.compile(r"(?:ERROR: )?.*(?:Unable to acquire lock|is busy, it is being blocked by)")
_WITHOUT_INPUT = re.compile(r"ERROR: failed to reproduce .*No such file or directory")
_DVC_FAULT = re.compile(r"ERROR: (?P<text>.+)")
_OUR_CODES = (1, 2, 3, 4, 129, 130, 143)


class StageFailed(ItsError):
    """A stage ended with an error; the exit code is the stage's.

    Args:
        cause: of a failure of DVC, such as a full disk; None if the stage printed its own error.
    """

    def __init__(self, stage: str, code: int, cause: str | None = None) -> None:
        super().__init__(
            f"stage `{stage}` failed{f': {cause}' if cause else ''}",
            "after the cause is removed, `its run` resumes; finished work is kept",
        )
        self.exit_code = code if code in _OUR_CODES else EXIT_RUN_FAILED


def reproduce(project: Path, words: Sequence[str], view: View) -> None:
    """Run `dvc repro` with more words in the project and show it; on any exception, its processes are ended first.

    Raises:
        MissingError: without params.yaml, or outside a DVC repository.
        StageFailed: if a stage failed.
        RunError: if another DVC process has the project, or DVC failed by itself.
    """
    require_study(project)
    with tempfile.TemporaryDirectory(prefix="its-run-") as folder:
        view.progress = Path(folder) / "progress.json"
        child = _start(project, words, view.progress)
        try:
            failure = _follow(child, view, "--dry" in words)
            code = child.wait()
        except BaseException:
            end_groups([child])
            raise
        finally:
            view.clear()
            if child.stdout is not None:
                child.stdout.close()
    if failure is not None:
        raise failure
    if code and not view.more:
        raise RunError(f"`dvc repro` ended with exit code {code}", "`dvc repro -v` shows more")


def require_study(project: Path) -> None:
    """Refuse a folder in which `dvc repro` could not run.

    Raises:
        MissingError: without params.yaml, or outside a DVC repository.
    """
    if not (project / "params.yaml").is_file():
        raise MissingError(f"{project}: no params.yaml", "`its run NAME` writes one from recipes/NAME.yaml")
    read_document(project / "params.yaml")
    repository_root(project)


def _start(project: Path, words: Sequence[str], progress: Path) -> subprocess.Popen[bytes]:
    # `python` in dvc.yaml is this one, whether or not its environment was activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", *words],
        cwd=project,
        env=os.environ | {FILE_VARIABLE: str(progress), "PATH": path, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches us alone, and all processes can be ended together
        preexec_fn=hear_interrupts,
    )


def hear_interrupts() -> None:
    """In the child: a shell has its background jobs ignore SIGINT, by which we end DVC."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _follow(child: subprocess.Popen[bytes], view: View, dry: bool) -> ItsError | None:
    """Show every line until the output ends; the failure that the lines tell, if any."""
    failure: ItsError | None = None
    for line in _lines(child, view):
        if found := _BEGINS.match(line):
            if found["stage"] != CODE_STAGE:  # it always runs
                view.begin(found["stage"])
        elif found := _KEPT.match(line):
            view.kept += 1
        elif _BUSY.match(line):
            failure = RunError(
                "another DVC process is running in this project", "wait until it ends; then `its run` resumes"
            )
        elif dry and _WITHOUT_INPUT.match(line):  # of `--dry` alone: an earlier stage would write it
            view.more = True
        elif found := _FAILED.match(line):
            failure = StageFailed(found["stage"], int(found["code"] or EXIT_RUN_FAILED), found["cause"])
        elif (found := _DVC_FAULT.match(line)) and failure is None:
            failure = RunError(f"DVC: {found['text']}", "`dvc repro -v` shows more")
        elif line == "Data and pipelines are up to date.":
            view.up_to_date = True
        elif not _NOISE.match(line):
            view.line(line)
    return failure


def _lines(child: subprocess.Popen[bytes], view: View) -> Iterator[str]:
    """The lines of the output as they come; of text that a carriage return overwrites, the last state."""
    assert child.stdout is not None
    source, rest = child.stdout.fileno(), b""
    with selectors.DefaultSelector() as ready:
        ready.register(source, selectors.EVENT_READ)
        while True:
            if not ready.select(REDRAW_SECONDS):
                view.redraw()
                continue
            read = os.read(source, 65536)
            *whole, rest = (rest + read).split(b"\n")
            for line in whole:
                yield line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
            if not read:
                break
            view.redraw()
    if rest:
        yield rest.decode("utf-8", "replace")


def end_groups(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes that lead a group, DVC and its stage, gently first; returns when none of the groups is left."""
    left = list(children)
    for number, seconds in _PATIENCE:
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
        until = time.monotonic() + seconds
        while left and time.monotonic() < until:
            left = [child for child in left if _lives(child)]
            time.sleep(0.05 if left else 0)


def _lives(child: subprocess.Popen[bytes]) -> bool:
    child.poll()  # a zombie would count as alive
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True
