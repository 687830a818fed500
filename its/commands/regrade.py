"""Grade stored responses again, and compare the new verdicts with the former ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from its.errors import MissingError, RunError
from its.grading.changes import Changes
from its.progress import Progress
from its.rows import read_rows
from its.stages.grade import cell_items, open_grader
from its.study.study import Study, cell_name
from its.types import Verdict


def regrade(study: Study, dry_run: bool) -> Changes:
    """Grade the stored responses again and return what changed; nothing is generated.

    DVC does the grading (`dvc repro --single-item --force grade`), so that its lock knows the new verdicts and
    `dvc repro` continues with what depends on them. A dry run grades in memory and writes nothing.

    Raises:
        MissingError: there are no former verdicts or no responses.
        RunError: DVC failed.
    """
    cells = study.cells()
    verdicts = study.project / "data" / "verdicts"
    if not verdicts.is_dir():
        raise MissingError(f"{verdicts}: no such folder", "`dvc repro grade` grades for the first time")
    changes = Changes()
    if dry_run:
        with Progress("regrade", len(cells), "cells") as progress, open_grader(study) as grader:
            for cell in cells:
                path = study.verdicts_path(*cell)
                changes.add(cell_name(cell), _former(path), grader.grade(cell_items(study, cell)))
                progress.add()
        return changes
    with tempfile.TemporaryDirectory(prefix="its-regrade-") as kept:
        former = Path(kept) / "verdicts"
        shutil.copytree(verdicts, former)
        command = [sys.executable, "-m", "dvc", "repro", "--single-item", "--force", "grade"]
        done = subprocess.run(command, cwd=study.project, stdout=sys.stderr, check=False)
        if done.returncode:
            raise RunError(
                f"`dvc repro --single-item --force grade` failed (exit {done.returncode})",
                "`dvc checkout data/verdicts` restores the former verdicts",
            )
        for cell in cells:
            path = study.verdicts_path(*cell)
            changes.add(cell_name(cell), _former(former / path.relative_to(verdicts)), read_rows(path, Verdict))
    return changes


def _former(path: Path) -> Iterable[Verdict]:
    return read_rows(path, Verdict) if path.is_file() else ()
