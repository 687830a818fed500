"""Stages in this process as dvc.yaml runs them, guarded by what it declares; the shell and the clone of a user."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from its.study.access import stage_study

ROOT = Path(__file__).parents[1]


def copy_project(target: Path) -> None:
    """Copy the files of the project that git knows, or would know, without results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file() and name != "dvc.lock" and not name.startswith("results/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def user_environment(home: Path) -> dict[str, str]:
    """Variables of a user's shell: nothing that DVC set for a stage above, this Python and its `dvc` first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DVC")}
    return kept | {
        "ITS_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
    }


def run_stage(*words: str) -> str:
    """Run `its WORDS`, which must be a stage; return the line that it prints."""
    stage: Any = importlib.import_module(f"its.stages.{words[0]}")
    with stage_study(*words) as study:
        said: str = stage.run(study, *(int(word) if word.isdigit() else word for word in words[1:]))
    return said
