"""The keeper over real trees of processes: whatever ends, and however, nothing of an engine is left."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path

import pytest

KEEPER = Path(__file__).parents[2] / "its" / "engines" / "workers" / "keeper.py"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="keepers below keepers, /proc and /dev/shm are Linux alone")
PATIENT = 10.0  # what a loaded machine may take; nothing waits that long without need

# Started first in every program of these tests: how to write down a process, and how to be stubborn.
PRELUDE = """
import os, signal, sys, time, subprocess
folder = sys.argv[1]
def note(name):
    with open(f"{folder}/{name}.part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{folder}/{name}.part", f"{folder}/{name}.pid")
def stubborn():
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
def child(run):
    if os.fork() == 0:
        run()
        os._exit(0)
def stay():
    time.sleep(60)
"""
# An engine core that ignores SIGTERM, a daemon that left the session and its parent, and the first process.
TREE = """
def core():
    stubborn(); child(lambda: (note("worker"), stay())); note("core"); stay()
def daemon():
    os.setsid()
    child(lambda: (stubborn(), note("daemon"), stay()))
child(core); child(daemon); note("first")
"""


class Run:
    """A keeper over a program that is written here, with one constant of the keeper changed: its patience."""

    def __init__(self, folder: Path, program: str, grace: float = 0.3, parent: int | None = None) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.keeper = keeper_with(folder, GRACE_SECONDS=grace)
        (folder / "program.py").write_text(PRELUDE + program, encoding="utf-8")
        self.process = subprocess.Popen(
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "ITS_PARENT": str(os.getpid() if parent is None else parent)},
        )

    def command(self) -> list[str]:
        own = [sys.executable, "-I", "-S", str(self.keeper)]
        return [*own, sys.executable, "-S", str(self.folder / "program.py"), str(self.folder)]

    def pid(self, name: str) -> int:
        """The pid that a process of the tree noted, once it has."""
        path = self.folder / f"{name}.pid"
        assert until(path.is_file), f"no {path}"
        return int(path.read_text(encoding="utf-8"))

    def tree(self) -> list[int]:
        return [self.pid(name) for name in ("first", "core", "worker", "daemon")]

    def close(self) -> None:
        for path in self.folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(path.read_text(encoding="utf-8")), signal.SIGKILL)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start a keeper; all of it is gone after the test, also after one that failed."""
    runs: list[Run] = []

    def start(program: str, **options: float | int) -> Run:
        runs.append(Run(tmp_path / str(len(runs)), program, **options))  # type: ignore[arg-type]
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def keeper_with(folder: Path, **constants: object) -> Path:
    """A copy of the keeper with other constants."""
    text = KEEPER.read_text(encoding="utf-8")
    for name, value in constants.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name} = "))
        text = text.replace(line, f"{name} = {value!r}")
    path = folder / "keeper.py"
    path.write_text(text, encoding="utf-8")
    return path


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENT
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its reaper does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def gone(pids: list[int]) -> bool:
    return until(lambda: not any(alive(pid) for pid in pids))


def below(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            head, _, tail = path.read_text(encoding="utf-8").rpartition(")")
            if int(tail.split()[1]) == pid:
                found.append(int(head.split()[0]))
    return found


@pytest.mark.parametrize(
    ("end", "code"),
    [("os._exit(0)", 0), ("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137), ("os.kill(os.getpid(), 15)", 143)],
)
def test_the_programs_exit_code_is_passed_on(keep: Callable[..., Run], end: str, code: int) -> None:
    assert keep(end).process.wait(PATIENT) == code


def test_the_pipes_are_the_programs(keep: Callable[..., Run]) -> None:
    program = "sys.stdout.write(sys.stdin.read().upper()); sys.stderr.write('log')"
    out, log = keep(program).process.communicate("a \u00fc\n".encode(), timeout=PATIENT)
    assert (out.decode(), log) == ("A \u00dc\n", b"log")


def test_a_closed_pipe_is_seen_while_the_rest_is_still_being_ended(keep: Callable[..., Run]) -> None:
    run = keep("child(lambda: (os.close(0), os.close(1), stubborn(), note('core'), stay()))\nstay()", grace=5.0)
    run.pid("core")
    assert run.process.stdout is not None
    os.kill(next(pid for keeper in below(run.process.pid) for pid in below(keeper)), signal.SIGKILL)
    assert run.process.stdout.read() == b""
    assert run.process.poll() is None


def test_a_program_that_cannot_be_started_is_named_in_the_log(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(KEEPER), str(tmp_path / "no_python"), "x.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENT)
    assert done.returncode == 127
    assert f"cannot start {tmp_path / 'no_python'}: No such file" in done.stderr
    assert done.stdout == ""


def test_a_program_alone_ends_at_once(keep: Callable[..., Run]) -> None:
    run = keep("note('first'); sys.stdin.read()", grace=30.0)
    run.pid("first")
    began = time.monotonic()
    run.process.communicate(timeout=PATIENT)
    assert time.monotonic() - began < 2.0
    assert run.process.returncode == 0


def test_sigterm_leaves_nothing(keep: Callable[..., Run]) -> None:
    run = keep(TREE + "stay()")
    pids = run.tree()
    run.process.terminate()
    assert run.process.wait(PATIENT) == 143  # how the first process ended
    assert not any(alive(pid) for pid in pids), "something outlived the keeper"


def test_what_ends_by_itself_is_given_time_and_told_once(keep: Callable[..., Run]) -> None:
    program = """
def tidy(number, frame):
    global told
    told += 1
    if told > 1:
        os._exit(9)  # a second SIGTERM broke off the tidying
told = 0
def core():
    signal.signal(signal.SIGTERM, tidy); note("core")
    while not told:
        time.sleep(0.01)
    time.sleep(0.5); note("tidied"); os._exit(0)
child(core); note("first"); stay()
"""
    run = keep(program, grace=8.0)
    run.pid("core")
    run.process.terminate()
    run.process.wait(PATIENT)
    assert (run.folder / "tidied.pid").is_file()


def test_a_program_that_ends_does_not_leave_the_rest(keep: Callable[..., Run]) -> None:
    run = keep(TREE + "[time.sleep(0.01) for _ in iter(lambda: os.path.exists(f'{folder}/go'), True)]\nsys.exit(4)")
    pids = run.tree()
    (run.folder / "go").touch()
    assert run.process.wait(PATIENT) == 4
    assert not any(alive(pid) for pid in pids)


def test_a_program_that_is_killed_does_not_leave_the_rest(keep: Callable[..., Run]) -> None:
    run = keep(TREE + "stay()")
    pids = run.tree()
    os.kill(pids[0], signal.SIGKILL)
    assert run.process.wait(PATIENT) == 137
    assert not any(alive(pid) for pid in pids)


@LINUX
@pytest.mark.parametrize("which", ["upper", "lower"])
def test_a_keeper_that_is_killed_leaves_nothing(keep: Callable[..., Run], which: str) -> None:
    run = keep(TREE + "stay()")
    pids = run.tree()
    (lower,) = below(run.process.pid)
    os.kill(run.process.pid if which == "upper" else lower, signal.SIGKILL)
    assert gone([*pids, lower])
    assert run.process.wait(PATIENT) == (-signal.SIGKILL if which == "upper" else 137)


@LINUX
def test_a_program_dies_when_both_keepers_are_killed(keep: Callable[..., Run]) -> None:
    run = keep("stubborn(); note('first'); stay()")
    first = run.pid("first")
    (lower,) = below(run.process.pid)
    os.kill(lower, signal.SIGSTOP)  # it can clean up no more
    os.kill(run.process.pid, signal.SIGKILL)
    os.kill(lower, signal.SIGKILL)
    assert gone([first, lower])


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_parent_that_is_killed_leaves_nothing(tmp_path: Path, in_thread: bool) -> None:
    """The second time the thread that started the keeper ends before: that alone must change nothing."""
    folder = tmp_path / "run"
    run = Run(folder, "pass")
    run.close()
    (folder / "program.py").write_text(PRELUDE + TREE + "stay()", encoding="utf-8")
    stage = (
        "import os, subprocess, sys, threading, time\n"
        "start = lambda: subprocess.Popen(sys.argv[1:], env={**os.environ, 'ITS_PARENT': str(os.getpid())})\n"
        + ("t = threading.Thread(target=start); t.start(); t.join()\n" if in_thread else "start()\n")
        + "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", stage, *run.command()]) as parent:
        pids = run.tree()
        time.sleep(0.3)
        assert all(alive(pid) for pid in pids)
        parent.kill()
        parent.wait()
    assert gone(pids)


def test_a_parent_that_is_gone_before_the_start_is_noticed(keep: Callable[..., Run]) -> None:
    run = keep("note('first')", parent=1)
    assert run.process.wait(PATIENT) == 143
    assert not (run.folder / "first.pid").exists()


def test_ctrl_c_is_for_the_parent_to_decide(keep: Callable[..., Run]) -> None:
    run = keep("signal.signal(signal.SIGINT, signal.SIG_DFL); note('first'); stay()")
    first = run.pid("first")
    assert os.getpgid(first) != os.getpgid(0)
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert alive(first)
    assert run.process.poll() is None


def test_processes_that_start_while_all_are_ended_are_ended(keep: Callable[..., Run]) -> None:
    program = """
stubborn()
def spread():
    stubborn()
    for number in range(20):
        child(lambda: (note(f"late{number}"), stay()))
        time.sleep(0.02)
    stay()
child(spread); note("first"); stay()
"""
    run = keep(program)
    run.pid("late3")
    run.process.terminate()
    run.process.wait(PATIENT)
    left = [int(path.read_text(encoding="utf-8")) for path in run.folder.glob("late*.pid")]
    assert len(left) > 4
    assert not any(alive(pid) for pid in left)


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
@pytest.mark.parametrize("parent_dies", [False, True])
def test_elsewhere_the_process_group_is_ended(tmp_path: Path, parent_dies: bool) -> None:
    folder = tmp_path / "run"
    run = Run(folder, "pass")
    run.close()
    tree = "child(lambda: (stubborn(), note('core'), stay())); note('first'); stay()"
    (folder / "program.py").write_text(PRELUDE + tree, encoding="utf-8")
    keeper_with(folder, GRACE_SECONDS=0.3, LINUX=False)
    stage = "import subprocess, sys, time, os; os.environ['ITS_PARENT'] = str(os.getpid())\n"
    stage += "print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)\n"
    python = [sys.executable, "-W", "ignore", "-c", stage]
    with subprocess.Popen([*python, *run.command()], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        keeper = int(parent.stdout.readline())
        pids = [run.pid("first"), run.pid("core")]
        if parent_dies:
            parent.kill()
        else:
            os.kill(keeper, signal.SIGTERM)
        assert gone([*pids, keeper])
        parent.kill()


SEGMENT = """
import mmap
def segment(name):
    fd = os.open(f"/dev/shm/{name}", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.ftruncate(fd, 4096)
    kept.append(mmap.mmap(fd, 4096))
    os.close(fd)
kept = []
"""


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Names for shared memory; whatever has one of them is removed after the test."""
    found = [f"its-test-{secrets.token_hex(6)}" for _ in range(3)]
    yield found
    for name in found:
        Path("/dev/shm", name).unlink(missing_ok=True)


def in_shm(name: str) -> bool:
    return Path("/dev/shm", name).exists()


@LINUX
@pytest.mark.parametrize("how", ["told", "killed", "lower keeper killed", "upper keeper killed"])
def test_shared_memory_of_the_engine_is_removed(keep: Callable[..., Run], names: list[str], how: str) -> None:
    program = f"child(lambda: (segment({names[0]!r}), note('core'), stay()))\nsegment({names[1]!r}); note('first')\n"
    run = keep(SEGMENT + program + "stay()")
    pids = [run.pid("first"), run.pid("core")]
    assert in_shm(names[0])
    (lower,) = below(run.process.pid)
    time.sleep(0.6)  # two looks
    victim = {"told": 0, "killed": pids[0], "lower keeper killed": lower, "upper keeper killed": run.process.pid}[how]
    if victim:
        os.kill(victim, signal.SIGKILL)
    else:
        run.process.terminate()
    assert gone([*pids, lower])
    assert until(lambda: not in_shm(names[0]) and not in_shm(names[1]))


@LINUX
def test_shared_memory_of_the_standard_library_is_removed(keep: Callable[..., Run]) -> None:
    """Its resource tracker ignores SIGTERM and removes segments when the others are gone: it is given the time."""
    program = (
        "from multiprocessing import shared_memory\n"
        "made = shared_memory.SharedMemory(create=True, size=4096)\n"
        "print(made.name, flush=True)\nstay()\n"
    )
    run = keep(program, grace=5.0)
    assert run.process.stdout is not None
    name = run.process.stdout.readline().decode().strip()
    assert in_shm(name)
    began = time.monotonic()
    run.process.terminate()
    run.process.wait(PATIENT)
    assert time.monotonic() - began < 4.0
    assert not in_shm(name)


@LINUX
def test_shared_memory_of_others_stays(keep: Callable[..., Run], names: list[str]) -> None:
    """What was there before, what nobody below us used, and what another still uses."""
    before, foreign, shared = names
    for name in (before, foreign):
        Path("/dev/shm", name).write_bytes(b"x" * 4096)
    Path("/dev/shm", foreign).unlink()
    program = f"segment({shared!r}); kept.append(open('/dev/shm/{before}', 'rb')); note('first'); stay()"
    run = keep(SEGMENT + program)
    run.pid("first")
    Path("/dev/shm", foreign).write_bytes(b"x" * 4096)
    other = shared_memory.SharedMemory(shared)
    try:
        resource_tracker.unregister(f"/{shared}", "shared_memory")
        time.sleep(0.6)
        run.process.terminate()
        run.process.wait(PATIENT)
        assert [in_shm(name) for name in (before, foreign, shared)] == [True, True, True]
    finally:
        other.close()


@LINUX
def test_two_engines_do_not_disturb_each_other(keep: Callable[..., Run], names: list[str]) -> None:
    first, second = (
        keep(SEGMENT + TREE.replace('note("first")', f'segment({name!r}); note("first")') + "stay()")
        for name in names[:2]
    )
    ended, kept = first.tree(), second.tree()
    time.sleep(0.6)
    first.process.terminate()
    first.process.wait(PATIENT)
    assert not any(alive(pid) for pid in ended)
    assert all(alive(pid) for pid in kept)
    assert [in_shm(name) for name in names[:2]] == [False, True]
    second.process.terminate()
    second.process.wait(PATIENT)
    assert not any(alive(pid) for pid in kept)
    assert not in_shm(names[1])
