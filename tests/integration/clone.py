"""A working copy of the project in which commands run as a user's would, and are killed as a user's may be."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from running import user_environment

ROOT = Path(__file__).parents[2]
STEP_SECONDS = 900

# Of the small study of the fixture `clone`.
TRAIN, TEST, STEPS, SAVED = 48, 24, 12, 4
BASE = "smollm2_135m-base"
NONE, RANDOM = "smollm2_135m-arithmetic-none-1", "smollm2_135m-arithmetic-random-1"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass
class Facts:
    """What was seen while the study was made."""

    personas_before_kill: int
    responses_before_kill: int
    steps_before_kill: int
    steps_taken: int
    survivors: list[str]
    output: str


@dataclass
class Clone:
    """A working copy in which commands run as a user's would."""

    path: Path
    home: Path
    output: list[str] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        return user_environment(self.home) | {
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

    def steps(self) -> int:
        """How many training steps were logged under the home."""
        found = list((self.home / "training").glob("*/progress.jsonl"))
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in found)

    def survivors(self) -> list[str]:
        """What still lives two seconds after a kill."""
        time.sleep(2)
        return self.processes()

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
