"""A worker process of `its.grading.pool`: compares what it receives, until the pipe ends.

It imports mpmath once and forks; the fork does the work. Its limit is processor time, enforced by the kernel:
SIGPROF, with its default action, ends the fork at any point, even within a long C call, and the next fork takes its
place. Wall time would not do: a busy machine would change verdicts.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
from multiprocessing.connection import Connection

import mpmath  # type: ignore[import-untyped,unused-ignore]  # noqa: F401 - the slow import, before any clock runs

from its.child_process import die_with_parent
from its.grading.algebra import equivalent
from its.grading.equal import GraderError
from its.grading.pool import Outcome, Task

MEMORY_BYTES = 4 << 30
TASKS_PER_FORK = 5000
"""Caches grow; a new fork costs milliseconds."""

_LOOK_SECONDS = 0.1  # how often the fork is checked on systems without pidfd
_SPENT = 3  # exit code of a fork that did its share of tasks


def main(limit_seconds: str) -> None:
    """Serve the pipe, which is standard input, with one fork after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    pipe = Connection(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    answer(("\\frac{x}{2} + \\sin 1", "\\sin 1 + 0.5x", "math"))  # each fork finds the caches warm
    with contextlib.suppress(OSError):  # the parent is gone
        pipe.send("ready")
        while True:
            parent = os.getpid()
            fork = os.fork()
            if not fork:
                _serve(pipe, float(limit_seconds), parent)
            code = _wait(fork, pipe)
            if code == 0:
                return
            if code != _SPENT:
                pipe.send((None, _reason(code, limit_seconds)))


def answer(task: Task) -> Outcome:
    """The outcome of one task; an error that a text causes in the libraries is an outcome too."""
    try:
        return equivalent(*task), None
    except GraderError as error:
        return None, str(error)
    except RecursionError:
        return None, "the answer is nested too deep"
    except MemoryError:
        return None, "the comparison needs too much memory"


def _serve(pipe: Connection, limit_seconds: float, parent: int) -> None:
    """The fork's loop; never returns."""
    code = 0
    try:
        die_with_parent()
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        for what, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
            with contextlib.suppress(ValueError, OSError):  # a lower limit is already set
                resource.setrlimit(what, (most, most))
        done = 0
        while os.getppid() == parent and done < TASKS_PER_FORK:
            task = pipe.recv()
            signal.setitimer(signal.ITIMER_PROF, limit_seconds)
            outcome = answer(task)
            signal.setitimer(signal.ITIMER_PROF, 0)
            pipe.send(outcome)
            done += 1
        code = _SPENT
    except (EOFError, OSError):
        pass
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        os._exit(code)


def _wait(fork: int, pipe: Connection) -> int:
    """The exit code of a fork, minus its signal if one ended it; 0 also if the parent is gone, which kills the fork."""
    poll = select.poll()
    poll.register(pipe.fileno(), 0)  # only the end of the pipe
    watched = os.pidfd_open(fork) if sys.platform == "linux" else -1
    if watched >= 0:
        poll.register(watched, select.POLLIN)
    try:
        while True:
            events = dict(poll.poll(None if watched >= 0 else _LOOK_SECONDS * 1000))
            pid, status = os.waitpid(fork, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if pipe.fileno() in events:
                os.kill(fork, signal.SIGKILL)
                os.waitpid(fork, 0)
                return 0
    finally:
        if watched >= 0:
            os.close(watched)


def _reason(code: int, limit_seconds: str) -> str:
    if code == -signal.SIGPROF:
        return f"the comparison took longer than {float(limit_seconds):g} s"
    if code == -signal.SIGKILL:
        return "the comparison was killed, probably for its memory"
    return f"the comparison crashed (exit {code})"
