"""Copies of a study's repository, in which the points of a sweep run; the working tree is only read.

Not `dvc exp run --temp` or `--queue`: DVC 3.67 stashes and resets the working tree at the start of an experiment, so a
kill at that moment loses what was not committed; two that start together take each other's entry of the stash; and
experiments of its queue fail at random with more than one worker, all of which have the same environment, so no worker
can have a GPU of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from its.errors import MissingError, RunError
from its.home import remove
from its.revisions import repository_root, share_cache
from its.shown import quoted

_FOLDER = (".dvc", "tmp", "exps", "its-sweep")
"""Within `.dvc/tmp/exps`, whose workspaces use the ITS home of their main checkout (its/home.py)."""
_SOMEBODY = ("-c", "user.name=its", "-c", "user.email=its@localhost")


@dataclass(frozen=True)
class Snapshot:
    """The files that git tracks, as they are in the working tree."""

    head: str
    """The commit that the working tree is of."""
    files: str
    """A commit with these files; `head` if nothing is changed."""


def take_snapshot(project: Path) -> Snapshot:
    """Keep the tracked files as they are now in git, as no branch or tag; the working tree and index stay.

    Raises:
        MissingError: without git, a repository or a commit.
        RunError: if git cannot, for example during a merge with conflicts.
    """
    head = git_or_none(project, "rev-parse", "--verify", "-q", "HEAD")
    if head is None:
        raise MissingError(f"{project}: no git commit to run experiments from", "`git init` and `git commit` the study")
    return Snapshot(head, _git(project, *_SOMEBODY, "stash", "create") or head)


def copies_folder(project: Path) -> Path:
    """The folder of all copies, in the DVC repository of a study; it need not exist."""
    return repository_root(project).joinpath(*_FOLDER)


def make_copy(project: Path, snapshot: Snapshot, params: str) -> Path:
    """Make a copy of the repository with the files of a snapshot and other parameters, at the commit of the snapshot.

    It shares git's objects and DVC's cache with the original.

    Returns:
        The folder of the study in the copy.

    Raises:
        RunError: if git fails, for example on a full disk; then no copy is left.
    """
    top = Path(_git(project, "rev-parse", "--show-toplevel"))
    folder = copies_folder(project)
    folder.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(dir=folder))
    try:
        _git(top, "clone", "-q", "--shared", "--no-checkout", "--", str(top), str(copy))
        _git(copy, "update-ref", "--no-deref", "HEAD", snapshot.head)
        _git(copy, "read-tree", "-u", "--reset", snapshot.files)
        for key in ("user.name", "user.email"):
            if value := git_or_none(project, "config", key):
                _git(copy, "config", key, value)
        share_cache(project, copy / repository_root(project).resolve().relative_to(top.resolve()))
        study = copy / project.resolve().relative_to(top.resolve())
        (study / "params.yaml").write_text(params, encoding="utf-8")
        _git(study, "add", "--force", "params.yaml")
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise
    return study


def take_over(project: Path, study: Path, head: str, name: str) -> bool:
    """Bring an experiment from a copy to the study, over one of the same name and commit; False if there is none.

    Raises:
        RunError: if git fails.
    """
    reference = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
    if git_or_none(study, "rev-parse", "--verify", "-q", reference) is None:
        return False
    copy = _git(study, "rev-parse", "--show-toplevel")
    _git(project, "fetch", "-q", "--no-tags", "--no-write-fetch-head", copy, f"+{reference}:{reference}")
    return True


def remove_copy(study: Path, project: Path) -> None:
    """Remove the copy that a study is in."""
    folder = copies_folder(project).resolve()
    inside = study.resolve().relative_to(folder)
    remove(folder / inside.parts[0])


def remove_copies(project: Path) -> None:
    """Remove the copies that a killed sweep left.

    Raises:
        RunError: if a process still runs in one of them: a stage outlives `kill -9` of the sweep.
    """
    folder = copies_folder(project)
    if not folder.is_dir():
        return
    if running := list(_running_in(folder.resolve())):
        what = ", ".join(f"{number} (`{words}`)" for number, words in running)
        raise RunError(
            f"a killed sweep left {len(running)} running: process {what}",
            f"wait until it ends, or `kill {' '.join(str(number) for number, _ in running)}`",
        )
    shutil.rmtree(folder, ignore_errors=True)


def git_or_none(folder: Path, *words: str) -> str | None:
    """What git prints, without the last line end; None if it fails.

    Raises:
        MissingError: if git is not installed.
    """
    done = _run(folder, words)
    return done.stdout.rstrip("\n") if done.returncode == 0 else None


def _git(folder: Path, *words: str) -> str:
    done = _run(folder, words)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        verb = next(word for word in words if word not in _SOMEBODY)
        raise RunError(f"`git {verb}` failed: {quoted(lines[-1], 300)}", "`git status` shows the state of the study")
    return done.stdout.rstrip("\n")


def _run(folder: Path, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    # A hook of git that runs `its sweep` would set GIT_DIR, which leads to another repository.
    environment = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_INDEX_FILE")}
    try:
        return subprocess.run(
            ["git", *words], cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise MissingError("git is not installed, and DVC keeps experiments in it", "install git") from error


def _running_in(folder: Path) -> list[tuple[int, str]]:
    """(process, its command) of every process whose current folder is below a folder; [] without /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            place = Path(os.readlink(entry / "cwd"))
            words = (entry / "cmdline").read_bytes()
        except OSError:  # it ended, or is another user's
            continue
        if place.is_relative_to(folder):
            found.append((int(entry.name), quoted(words.rstrip(b"\0").replace(b"\0", b" "))))
    return sorted(found)
