"""A working copy of the project in which commands run as a user's would, and are killed as a user's may be."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEP_SECONDS = 900


@dataclass
class Clone:
    """A working copy in which commands run as a user's would."""

    path: Path
    home: Path
    output: list[str] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("DVC")}
        return kept | {
            "ITS_HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command to its end; stdout and stderr together."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        text = done.stdout + done.stderr
        assert done.returncode == code, f"{' '.join(command)}: exit {done.returncode}\n{text}"
        return text

    def kill_when(self, condition: Callable[[], bool], *command: str) -> None:
        """Start a command in its own process group and kill -9 the group as soon as the condition holds."""
        process = subprocess.Popen(
            command,
            cwd=self.path,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        limit = time.monotonic() + STEP_SECONDS
        while not condition():
            assert process.poll() is None, (
                f"{' '.join(command)} ended (exit {process.returncode}) before it could be killed"
            )
            assert time.monotonic() < limit, "the moment to kill never came"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stored(self) -> int:
        """How many responses the store holds."""
        path = self.home / "store.sqlite"
        if not path.is_file():
            return 0
        with closing(sqlite3.connect(path, timeout=30)) as db:
            try:
                return int(db.execute("SELECT count(*) FROM responses").fetchone()[0])
            except sqlite3.OperationalError:
                return 0

    def processes(self) -> list[str]:
        """Command lines of living processes that belong to this clone or its home's environments."""
        out = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                home = (entry / "environ").read_bytes()
                dead = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
            except OSError:
                continue
            if f"ITS_HOME={self.home}".encode() in home and not dead:
                out.append(line)
        return out
