"""Worker processes for the comparisons that need algebra, each task with a hard limit.

A task that exceeds its limit, crashes or takes all memory ends its process and gets an error; a new process, forked in
milliseconds (`its.grading.worker`), takes the next task. Any thread may submit tasks. Workers end with the pool, and
with the process that created it, however that ends.

Not `multiprocessing.Process`: that runs the caller's main module again in each worker, and a script without a guard
would grade itself once more there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import Pipe

from its.errors import RunError
from its.grading.normalise import AnswerKind

Task = tuple[str, str, AnswerKind]
"""An answer, a reference, and their kind."""
Outcome = tuple[bool | None, str | None]
"""Whether they are equivalent; or None, and why that could not be decided."""

START_SECONDS = 300.0
WALL_FACTOR = 20
"""The limit is processor time; a worker that does not get it within this many times the limit is ended too."""

# The search path is the caller's: a queued experiment runs the code it captured, not the one that is installed.
_START = "import json,sys;sys.path[:]=json.loads(sys.argv[1]);from its.grading.worker import main;main(sys.argv[2])"


class WorkerPool:
    """At most `workers` processes, started as tasks come.

    Args:
        limit_seconds: processor time of one task.
        workers: how many; None for one per core.
    """

    def __init__(self, limit_seconds: float, workers: int | None = None) -> None:
        self._limit = limit_seconds
        self._threads = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="grading")
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._closed = False

    def submit(self, task: Task) -> Future[Outcome]:
        """Submit a task. Its future raises RunError if no worker can be started, and never because of the task."""
        return self._threads.submit(self._do, task)

    def close(self) -> None:
        """End all workers and cancel waiting tasks. May be called twice."""
        with self._lock:
            self._closed = True
            workers, self._all = list(self._all), set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.kill()  # only that: the thread that waits for it sees the pipe end
        self._threads.shutdown(wait=True)
        for worker in workers:
            worker.end()

    def _do(self, task: Task) -> Outcome:
        with self._lock:
            if self._closed:
                raise RunError("the grader was closed")
            if self._idle:
                worker = self._idle.pop()
            else:
                worker = _Worker(self._limit)
                self._all.add(worker)
        outcome = worker.outcome_of(task)
        with self._lock:
            if not worker.ended:
                self._idle.append(worker)
                return outcome
            self._all.discard(worker)
            if self._closed:  # ended by `close`; the outcome does not concern the task
                raise RunError("the grader was closed")
        return outcome


class _Worker:
    """One process and its pipe; used by one thread at a time."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self.ended = self._ready = False
        self._pipe, theirs = Pipe()
        arguments = [sys.executable, "-W", "ignore", "-c", _START, json.dumps(sys.path), str(limit_seconds)]
        # The pipe is its standard input; whatever a library prints goes to standard error, never to our output.
        moves = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
        self._pid = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=moves)
        theirs.close()

    def outcome_of(self, task: Task) -> Outcome:
        """The outcome of a task; a worker without an outcome is ended.

        Raises:
            RunError: if the worker did not start.
        """
        try:
            if not self._ready:
                self._ready = self._pipe.poll(START_SECONDS) and self._pipe.recv() == "ready"
            if self._ready:
                self._pipe.send(task)
                if self._pipe.poll(WALL_FACTOR * self._limit):
                    outcome: Outcome = self._pipe.recv()
                    return outcome
        except (EOFError, OSError):
            pass
        self.end()
        if not self._ready:
            raise RunError("a grading process did not start", "its last output is above; try `import mpmath`")
        return None, f"the comparison took longer than {self._limit:g} s"

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the process and wait for it. May be called twice, by one thread at a time."""
        self.kill()
        if not self.ended:
            self.ended = True
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pipe.close()
