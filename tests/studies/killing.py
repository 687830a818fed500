"""A stage as a process that a test may kill, and what the store then has."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from running import ROOT


def start_stage(stage: str, project: Path, home: Path | None = None) -> subprocess.Popen[str]:
    """Start `its STAGE` in a session of its own; stdout and stderr together."""
    variables = {"PYTHONPATH": str(ROOT)} | ({"ITS_HOME": str(home)} if home else {})
    return subprocess.Popen(
        [sys.executable, "-m", "its", stage],
        cwd=project,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell has its background jobs ignore Ctrl-C, and a test run in one would hand that on.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def stored_keys(home: Path) -> set[bytes]:
    """Keys of all responses in the store, as another reader sees them: none where it was killed while it was made."""
    if not (home / "store.sqlite").exists():
        return set()
    with closing(sqlite3.connect(home / "store.sqlite", timeout=30)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'responses'").fetchone():
            return set()
        return {key for (key,) in db.execute("SELECT key FROM responses")}


def set_sizes(project: Path, problems: int) -> None:
    """Give every procedural set of params.yaml so many problems."""
    path = project / "params.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [f"      size: {problems}" if line.startswith("      size: ") else line for line in lines]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
