"""Runs an engine below a stage so that no process of the engine outlives either of them.

    python -I -S keeper.py PROGRAM ARGUMENT...       with ITS_PARENT, the pid of the process that starts it

stdin, stdout and stderr are the program's. Its exit code is passed on, 128 + signal if a signal killed it. When the
program ends, or this process receives SIGTERM or SIGHUP, or its parent is gone, everything that the program started
gets SIGTERM, 5 s later SIGKILL, however often it forked and whatever session it moved to; then the shared memory that
only these processes used is removed. Why: vLLM with tensor parallelism runs an engine core and workers beside the first
process; after a `kill -9` of that one they stayed, with 4 GB and two segments of shared memory.

On Linux there are two keepers, one below the other: a `kill -9` of either leaves one that cleans up, and the kernel
kills the program if both are killed. Elsewhere there is one, and it ends the program's process group. Standard library
alone, and little of it, since it starts with every engine; it runs isolated, so it cannot import what is beside it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

LINUX = sys.platform == "linux"
GRACE_SECONDS = 5.0
LOOK_SECONDS = 0.25  # how often to check what no signal reports: new shared memory, a parent gone (not on Linux)
SHARED = "/dev/shm"

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# Not SIGTERM: the kernel sends it when the *thread* that started us ends, too, and then there is nothing to do.
_PARENT_SIGNAL = signal.SIGUSR1

_signals: set[int] = set()
_awake = -1


def listen() -> None:
    """Have signals recorded and wake `wait`; call it again in a forked keeper, which must not share the pipe."""
    global _awake
    _awake, sink = os.pipe()
    for end in (_awake, sink):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    # Functions, not SIG_IGN, which the program would inherit. SIGINT is left to the parent.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, _PARENT_SIGNAL):
        signal.signal(number, lambda got, frame: _signals.add(got))


def wait(seconds: float) -> None:
    """Wait for a signal, at most that long."""
    select.select([_awake], [], [], seconds)
    with contextlib.suppress(BlockingIOError):
        os.read(_awake, 4096)


def bind_to(parent: int, number: int) -> None:
    """Have the kernel send that signal when the parent is gone; ends this process if it is gone already."""
    if LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os._exit(128 + signal.SIGTERM)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own, so that nothing escapes by forking twice."""
    if LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants() -> list[int]:
    """All processes below this one."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found, at = [os.getpid()], 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found[1:]


def in_use(pid: int) -> Iterator[tuple[str, int]]:
    """(name, inode) of the shared memory that a process has mapped or open; none if it cannot be read."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if f" {SHARED}/" in line:
                parts = line.rstrip("\n").split(maxsplit=5)
                yield parts[5].removeprefix(f"{SHARED}/"), int(parts[4])
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                path = os.readlink(f"/proc/{pid}/fd/{number}")
                if path.startswith(f"{SHARED}/"):
                    yield path.removeprefix(f"{SHARED}/"), os.stat(f"/proc/{pid}/fd/{number}").st_ino


class SharedMemory:
    """The engine's segments: those that its processes were seen to use and that did not exist before.

    Other programs may create segments at the same time; a name says nothing, and a segment that is unused now may be
    needed later. So one that was not seen in use below us is left alone.
    """

    def __init__(self) -> None:
        self.before = self.known = self._names()
        self.ours: dict[str, int] = {}

    def look(self, *, always: bool = False) -> None:
        """Record new segments in use; checks every process only if there is a new name, since that is slow."""
        names = self._names()
        if names - self.known or (always and names - self.before):
            for pid in descendants():
                self.ours.update((name, inode) for name, inode in in_use(pid) if name in names - self.before)
        self.known = names

    def clean(self) -> None:
        """Remove segments that are ours, are still the same file, belong to our user and are not in use."""
        left = {name: inode for name, inode in self.ours.items() if name in self._names()}
        if not left:
            return
        used = {item for pid in os.listdir("/proc") if pid.isdigit() for item in in_use(int(pid))}
        for name, inode in left.items():
            with contextlib.suppress(OSError):
                found = os.stat(f"{SHARED}/{name}")
                if found.st_ino == inode and found.st_uid == os.geteuid() and (name, inode) not in used:
                    os.unlink(f"{SHARED}/{name}")

    def _names(self) -> set[str]:
        try:
            return set(os.listdir(SHARED)) if LINUX else set()
        except OSError:
            return set()


class Keeper:
    """Runs one child, the program or the keeper above the program, and ends every process below it at the end.

    Args:
        parent: the pid whose end is ours.
        over_keeper: whether the child is a keeper.
    """

    def __init__(self, parent: int, *, over_keeper: bool) -> None:
        self.parent, self.over_keeper = parent, over_keeper
        self.child = 0
        self.code: int | None = None

    def keep(self, start: Callable[[], int]) -> int:
        """Run `start` in a child, and wait until the child ends or has to end.

        Returns:
            The child's exit code, 128 + signal where a signal killed it.
        """
        shared = SharedMemory()
        self.child = os.fork()
        if not self.child:
            os._exit(start())
        # If they stayed open here, the stage would not notice that the program closed its own.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        while self.reap() and self.code is None and not self.must_end():
            wait(LOOK_SECONDS)
            shared.look()
        if self.code is None and self.over_keeper:
            self.end_keeper()
        shared.look(always=True)
        self.end_all()
        shared.clean()
        assert self.code is not None, "the child is reaped with all the others"
        return self.code

    def must_end(self) -> bool:
        """Whether this has to end."""
        return bool(_signals & {signal.SIGTERM, signal.SIGHUP}) or os.getppid() != self.parent

    def end_keeper(self) -> None:
        """Leave it to the keeper below: a second SIGTERM could interrupt an engine's shutdown."""
        kill(self.child, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS + 2
        while self.reap() and self.code is None and time.monotonic() < deadline:
            wait(LOOK_SECONDS)

    def end_all(self) -> None:
        """Send SIGTERM once to each process below, then SIGKILL to the rest, until none is left."""
        signalled: set[int] = set()
        deadline = time.monotonic() + GRACE_SECONDS
        while self.reap():
            patient = time.monotonic() < deadline
            for pid in descendants() if LINUX else [-self.child]:
                if not patient or pid not in signalled:
                    kill(pid, signal.SIGTERM if patient else signal.SIGKILL)
                    signalled.add(pid)
            wait(0.02)

    def reap(self) -> bool:
        """Reap ended children; whether any process is left below."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.child:
                    code = os.waitstatus_to_exitcode(ended[1])
                    self.code = code if code >= 0 else 128 - code
        except ChildProcessError:
            return not LINUX and kill(-self.child, 0)
        return True


def kill(pid: int, number: int) -> bool:
    """Send a signal; whether there was a process to receive it."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def start_program(command: list[str], parent: int) -> int:
    """Become the program; returns only if that fails."""
    bind_to(parent, signal.SIGKILL)
    if not LINUX:
        os.setpgid(0, 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and an ignored signal stays ignored
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"keeper: cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    return 127


def keep_program(command: list[str], parent: int) -> int:
    """The keeper right above the program."""
    bind_to(parent, _PARENT_SIGNAL)
    listen()
    adopt_orphans()
    me = os.getpid()
    return Keeper(parent, over_keeper=False).keep(lambda: start_program(command, me))


def main(command: list[str]) -> int:
    parent = int(os.environ.get("ITS_PARENT") or os.getppid())
    listen()
    with contextlib.suppress(PermissionError):  # leads a group already
        os.setsid()  # Ctrl-C in a terminal goes to the parent alone, who decides
    if not LINUX:
        return keep_program(command, parent)
    bind_to(parent, _PARENT_SIGNAL)
    adopt_orphans()
    me = os.getpid()
    return Keeper(parent, over_keeper=True).keep(lambda: keep_program(command, me))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
