"""Create an engine environment from its lock: install, probe, repair, record."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from its.child_process import die_with_parent
from its.environments.find import (
    RAY,
    RECORD,
    RECORD_VERSION,
    EngineName,
    Environment,
    EnvironmentSpec,
    complete_environment,
    environment_variables,
    has_ray,
    lock_digest,
    place_of,
    python_minor,
    ray_lock,
    read_record,
    spec_of,
)
from its.errors import ItsError, MissingError, RunError
from its.home import key_lock, remove
from its.rows import write_json

PROGRESS_SECONDS = 15.0
TORCH_CPU_PAGE = "https://download.pytorch.org/whl/cpu/torch/"
# Text models need none of them, and a build that does not match torch breaks every import of transformers.
UNNEEDED = ("torchvision", "torchaudio", "torchcodec")

_GIB = 2**30
# Space for an environment, pip's cache and unpacking. Measured: vllm_cpu 3.4 GiB, axolotl_cpu 4.3 GiB, vllm
# 8.1 GiB, axolotl 6.7 GiB on disk, of the latter two 4.0 and 3.3 GB of wheels.
WANTED_BYTES = {"vllm_cpu": 5 * _GIB, "axolotl_cpu": 5 * _GIB, "vllm": 15 * _GIB, "axolotl": 15 * _GIB}
RAY_BYTES = _GIB
"""The same for Ray, 0.2 GiB on disk."""

_OFFLINE = re.compile(
    r"Temporary failure in name resolution|Name or service not known|nodename nor servname|NewConnectionError|"
    r"Connection (?:refused|reset|aborted)|Network is unreachable|ConnectTimeoutError|ReadTimeoutError|ProxyError|"
    r"Max retries exceeded|No route to host"
)
_NOT_FOUND = re.compile(r"(?:No matching distribution found for|satisfies the requirement) ([^\s;(]+)")
_BROKEN_URL = re.compile(r"(?:/simple/([\w.-]+)/|url: \S*/([\w.-]+?)-\d[^/\s]*\.(?:whl|tar\.gz))")
_NO_SPACE = re.compile(r"No space left on device|\[Errno 28\]")


@dataclass(frozen=True)
class SyncResult:
    """An environment after a sync: whether it was created now, the packages removed to make it work, the time."""

    environment: Environment
    changed: bool
    healed: list[str]
    seconds: float


# run(command, log, variables, beat): run a command with its output appended to `log`, call `beat` now and then, return
# the exit code. The boundary that tests replace.
Run = Callable[[Sequence[str], Path, Mapping[str, str], Callable[[], None]], int]


def sync_environment(
    name: EngineName,
    project: Path,
    home: Path,
    say: Callable[[str], None],
    *,
    gpu: bool | None = None,
    ray: bool = False,
    run: Run | None = None,
    wanted_bytes: int | None = None,
) -> SyncResult:
    """Create the environment that the project's lock requires, unless it is complete already.

    Concurrent calls for one environment wait for each other. The remains of an interrupted sync are removed first. pip
    runs as it is configured on this machine; its output goes to `home/logs/env-BUILD.log`.

    Args:
        say: receives each step, and every 15 s the time since the start.
        gpu: whether to take the build for an NVIDIA GPU; None detects one.
        ray: whether to add Ray, from a lock of its own, `envs/ray.txt`. The packages of the environment's lock stay as
            they are, and so does its place: Ray is part of no key.
        run: how a command is run; None starts the process.
        wanted_bytes: the free space required; None is what the build is known to need.

    Raises:
        MissingError: if the lock is not for this kind of machine or this Python, or pip did not reach or find a
            package.
        RunError: if the disk is full, or the installed environment does not work.
    """
    spec = spec_of(name, project, gpu)
    path, lock_sha256 = place_of(spec, home)
    began = time.monotonic()

    def complete() -> SyncResult | None:
        found = complete_environment(spec, path, lock_sha256)
        return None if found is None else SyncResult(found, False, [], time.monotonic() - began)

    found = complete()
    if found is not None and (not ray or has_ray(found.environment, project)):
        return found
    with key_lock(home, "env", path.name, lambda message: say(f"{spec.build}: {message}")):
        sync = _Sync(spec, home, path, lock_sha256, say, run or run_logged, wanted_bytes)
        found = complete() or sync.create()
        if ray and not has_ray(found.environment, project):
            return sync.add_ray()
        return found


class _Sync:
    """One creation of an environment; the caller holds its lock."""

    def __init__(
        self,
        spec: EnvironmentSpec,
        home: Path,
        path: Path,
        lock_sha256: str,
        say: Callable[[str], None],
        run: Run,
        wanted_bytes: int | None,
    ) -> None:
        self._spec, self._path, self._lock_sha256, self._run_command = spec, path, lock_sha256, run
        self._python = path / "bin" / "python"
        self._log = home / "logs" / f"env-{spec.build}.log"
        self._wanted = WANTED_BYTES[spec.build] if wanted_bytes is None else wanted_bytes
        self._say_line = say
        self._began = self._beaten = time.monotonic()
        self._step = ""

    def create(self) -> SyncResult:
        """Remove an incomplete folder, install, probe, repair, record."""
        self._check_platform()
        self._check_python()
        if self._path.exists():
            self._say(f"removing the remains of an interrupted sync in {self._path}")
            remove(self._path)
        if _free_bytes(self._path) < self._wanted:
            raise self._full("too little disk space")
        self._log.unlink(missing_ok=True)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._install()
        healed = self._heal_and_probe()
        made = {
            "version": RECORD_VERSION,
            "name": self._spec.name,
            "build": self._spec.build,
            "lock_sha256": self._lock_sha256,
            "python": platform.python_version(),
            "healed": healed,
            "seconds": round(time.monotonic() - self._began, 1),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return self._recorded(made, healed)

    def add_ray(self) -> SyncResult:
        """Add the packages of `envs/ray.txt` to a complete environment."""
        lock = ray_lock(self._spec.lock.parent.parent)
        if _free_bytes(self._path) < RAY_BYTES:
            raise self._full("too little disk space", RAY_BYTES)
        self._say(f"adding {lock} to {self._path}")
        if (output := self._pip_lock(lock)) is not None:
            raise self._explain(output, lock)
        self._check_probe(self._probe("import ray\n"))
        return self._recorded((read_record(self._path) or {}) | {RAY: lock_digest(lock)}, [])

    def _recorded(self, record: Mapping[str, Any], healed: list[str]) -> SyncResult:
        """Write the record, which makes the environment complete."""
        write_json(self._path / RECORD, {**record, "versions": _versions(self._path)})
        environment = complete_environment(self._spec, self._path, self._lock_sha256)
        if environment is None:
            raise RunError(f"{self._path}: no `bin/python`", f"see {self._log}")
        return SyncResult(environment, True, healed, time.monotonic() - self._began)

    def _say(self, message: str) -> None:
        self._say_line(f"{self._spec.build}: {message}")

    def _beat(self) -> None:
        """Print a line of progress if the last one is old enough."""
        now = time.monotonic()
        if now - self._beaten >= PROGRESS_SECONDS:
            self._beaten = now
            self._say(f"{self._step}, {now - self._began:.0f} s")

    def _run(self, step: str, arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> str | None:
        """Run a command: None if it succeeded, else its output."""
        self._step = step
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as log:
            print(f"$ {' '.join(arguments)}", file=log)
        start = self._log.stat().st_size
        settings = environment_variables(self._spec.name) | dict(variables or {})
        if self._run_command(arguments, self._log, settings, self._beat) == 0:
            return None
        with self._log.open("rb") as log_bytes:
            log_bytes.seek(start)
            output = log_bytes.read().decode("utf-8", errors="replace")
        if _NO_SPACE.search(output):
            if not (self._path / RECORD).exists():
                shutil.rmtree(self._path, ignore_errors=True)
            raise self._full("the disk is full")
        return output

    def _pip(self, step: str, *arguments: str) -> str | None:
        # -P: a folder named `pip` in the current directory must not be imported.
        quiet = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
        command, *rest = arguments
        options = quiet if command == "install" else quiet[:2]
        return self._run(step, [str(self._python), "-P", "-m", "pip", command, *options, *rest])

    def _pip_lock(self, lock: Path, *more: str) -> str | None:
        """Install exactly what a lock lists: None if pip succeeded, else its output."""
        return self._pip("installing packages", "install", "--no-deps", "--no-compile", "-r", str(lock), *more)

    def _install(self) -> None:
        spec = self._spec
        if (made_for := _lock_header(spec.lock, "python")) not in (None, python_minor()):
            self._say(f"note: {spec.lock} is for Python {made_for}, this is {python_minor()}")
        self._say(f"installing {spec.lock} into {self._path}")
        output = self._run("creating the environment", [sys.executable, "-P", "-m", "venv", str(self._path)])
        if output is not None:
            hint = "on Debian and Ubuntu: `apt-get install python3-venv`" if "ensurepip" in output else None
            raise RunError(f"creating a virtual environment failed: {_last_line(output)} (log: {self._log})", hint)
        output = self._pip_lock(spec.lock)
        if output is not None and "+cpu" in (_package_missed(output) or ""):
            self._say(f"pip as configured does not find `{_package_missed(output)}`: trying {TORCH_CPU_PAGE}")
            output = self._pip_lock(spec.lock, "--find-links", TORCH_CPU_PAGE)
        if output is not None:
            raise self._explain(output, spec.lock)

    def _explain(self, output: str, lock: Path) -> ItsError:
        """The error for a failed `pip install` of a lock."""
        package = _package_missed(output)
        if _OFFLINE.search(output):
            return MissingError(
                f"pip could not reach the package index for {f'`{package}`' if package else 'a package'} "
                f"of {lock} (log: {self._log})",
                "connect to the network, or configure a mirror (`pip config list` shows the settings), and sync again",
            )
        if package:
            return MissingError(
                f"pip found no `{package}` of {lock} for this machine (log: {self._log})",
                f"Python {python_minor()} on {platform.system()} {platform.machine()}; see `pip config list`",
            )
        return RunError(f"pip failed: {_last_line(output)} (log: {self._log})")

    def _heal_and_probe(self) -> list[str]:
        """Import what the workers need; returns the distributions that had to be removed for it."""
        output = self._probe()
        healed: list[str] = []
        if output is not None and any(module in output for module in UNNEEDED):
            healed = sorted(set(UNNEEDED) & set(_versions(self._path)))
            if healed:
                self._say(f"removing {', '.join(healed)}: they break the import of transformers")
                self._pip("removing packages", "uninstall", "--yes", *healed)
                output = self._probe()
        self._check_probe(output)
        return healed

    def _check_probe(self, output: str | None) -> None:
        if output is not None:
            tail = " | ".join([line.strip() for line in output.splitlines() if line.strip()][-3:])
            raise RunError(
                f"the engine environment `{self._spec.name}` was installed but does not work: {tail}",
                f"its log: {self._log}",
            )

    def _probe(self, more: str = "") -> str | None:
        variables = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        return self._run("checking its imports", [str(self._python), "-P", "-c", self._spec.probe + more], variables)

    def _check_platform(self) -> None:
        wanted = _lock_header(self._spec.lock, "platform")
        here = f"{platform.system()} {platform.machine()}".lower()
        if wanted and wanted != here:
            raise MissingError(
                f"{self._spec.lock} is for {wanted}, this machine is {here}",
                "write a lock for it (envs/README.md), or use `engine.kind: openai` with a server elsewhere",
            )

    def _check_python(self) -> None:
        """Refuse a Python that the lock cannot be complete for: pip installs it without resolving.

        Of the locks for 3.11, several packages exclude 3.10 in their metadata; from 3.13 on `gradio`, in
        Axolotl's, also requires `audioop-lts`, which they lack. One minor version above the lock's own is left to pip
        and the probe (envs/README.md says what is known of it).
        """
        made_for = _lock_header(self._spec.lock, "python")
        if made_for is None or not re.fullmatch(r"3\.\d+", made_for):
            return
        first = int(made_for.removeprefix("3."))
        if not first <= int(python_minor().removeprefix("3.")) <= first + 1:
            raise MissingError(
                f"{self._spec.lock} needs Python 3.{first} (3.{first + 1} is tried), this is {python_minor()}",
                f"install ITS with that Python; in a clone: `make clean`, then `make PYTHON=python3.{first} engines`",
            )

    def _full(self, what: str, wanted: int | None = None) -> RunError:
        free = _free_bytes(self._path) / _GIB
        return RunError(
            f"{what} for the engine environment `{self._spec.name}`: {free:.1f} GiB are free at {self._path.parent}, "
            f"{(wanted or self._wanted) / _GIB:.1f} GiB are needed",
            "free some space, or set `ITS_HOME` to a folder on another disk",
        )


def run_logged(command: Sequence[str], log: Path, variables: Mapping[str, str], beat: Callable[[], None]) -> int:
    """Run a command with its output appended to `log`; returns its exit code. It dies with this process (on Linux)."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=dict(variables),
            preexec_fn=die_with_parent,
        )
    try:
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                beat()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _lock_header(lock: Path, word: str) -> str | None:
    """The value in a lock's header line `# WORD VALUE`, None if there is none."""
    found = re.search(rf"^# {word} (.+?)\s*$", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1).lower() if found else None


def _versions(path: Path) -> dict[str, str]:
    """Every distribution of an environment, read without starting its Python."""
    folders = [str(folder) for folder in path.glob("lib/python*/site-packages")]
    found = importlib.metadata.distributions(path=folders)
    return dict(sorted((re.sub(r"[-_.]+", "-", dist.metadata["Name"]).lower(), dist.version) for dist in found))


def _package_missed(output: str) -> str | None:
    """The package that pip failed on, as its messages name it."""
    if named := _NOT_FOUND.search(output):
        return named.group(1)
    if broken := _BROKEN_URL.search(output):
        return broken.group(1) or broken.group(2)
    return None


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR:", "error:"))]
    return (errors or lines or ["it printed nothing"])[-1]


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(next(folder for folder in path.parents if folder.exists())).free
