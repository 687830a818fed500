"""The process that renders chat templates: started once, it forks for every template.

Python and jinja2 take 0.25 s of processor time to start, and a stage asks for some twenty renderings. So one process
has both in memory and reads no template itself: each template is read and rendered by a fork of its own, whose
processor time and memory the kernel limits.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from its.errors import RunError

TRIAL = Path(__file__).parent / "workers" / "chat_trial.py"


class Trials:
    """Sends requests to one process, which it starts at the first and again where that has ended.

    A fork of this process gets a process of its own, since two readers of one pipe would take each other's answers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """Processor time of the forks, in seconds, that `os.times()` does not have: until the process has ended."""
        return self._seconds if self._owner == os.getpid() else 0.0

    def answer(self, request: bytes, seconds: int, wait: float) -> bytes | None:
        """What the trial prints for a request; empty or cut where a limit ended it; None where it was not done in time.

        Args:
            request: as chat_trial.py reads it.
            seconds: of processor time, at least 1.
            wait: seconds of wall time.

        Raises:
            RunError: if the process ends twice before it answers.
        """
        if self._owner != os.getpid():
            self._lock, self._process, self._owner, self._seconds = threading.Lock(), None, os.getpid(), 0.0
        with self._lock:
            for _ in range(2):
                try:
                    return self._asked(request, seconds, wait)
                except (BrokenPipeError, EOFError):
                    self._end()
                except BaseException:
                    self._end()  # or the next request would get this one's answer
                    raise
        raise RunError(
            "the process that renders chat templates ended before it answered", "run it again with more free memory"
        )

    def close(self) -> None:
        """End the process, if this process started it."""
        if self._owner == os.getpid():
            with self._lock:
                self._end()

    def _asked(self, request: bytes, seconds: int, wait: float) -> bytes | None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(TRIAL)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
            )
        given, taken = self._process.stdin, self._process.stdout
        assert given is not None and taken is not None
        given.write(f"{seconds} {wait} {len(request)}\n".encode())
        given.write(request)
        given.flush()
        said = taken.readline().split()
        if len(said) != 3:
            raise EOFError
        self._seconds += float(said[2])
        size = int(said[1])
        answer = taken.read(size)
        if len(answer) < size:
            raise EOFError
        return answer if said[0] == b"done" else None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()  # it ends its fork, too
            with contextlib.suppress(BrokenPipeError):  # of what it has not read
                process.communicate()
            self._seconds = 0.0


TRIALS = Trials()
atexit.register(TRIALS.close)
