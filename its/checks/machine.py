"""What this machine has, what is missing for a study, and the state of each engine environment: `its doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from its.environments import (
    ENGINE_NAMES,
    WANTED_BYTES,
    find_environment,
    has_nvidia_gpu,
    read_record,
    spec_of,
    superseded_folders,
)
from its.errors import ItsError, MissingError
from its.files import free_bytes
from its.home import find_above, is_study, its_home
from its.installed.files import installed_root

GIB = 2**30


@dataclass(frozen=True)
class MachineCheck:
    """`facts` as `its doctor --json` prints them, the `environment_states`, and a fault for each missing thing."""

    facts: dict[str, Any]
    environments: list[dict[str, Any]]
    faults: list[ItsError]


def check_machine() -> MachineCheck:
    """Check that git and DVC are installed, the ITS home is known and the engine environments are complete."""
    faults: list[ItsError] = []
    facts = _facts()
    for tool, hint in (("git", "install it: https://git-scm.com"), ("dvc", "`pip install dvc`")):
        if facts[tool] is None:
            faults.append(MissingError(f"`{tool}` is not installed", hint))
    home: Path | None = None
    states: list[dict[str, Any]] = []
    try:
        home = its_home()
        states = environment_states(locks_project(), home)
    except ItsError as error:
        faults.append(error)
    place = home or Path.cwd()
    free = free_bytes(place)
    for state in states:
        if state["state"] == "installed":
            continue
        faults.append(MissingError(state["message"], state["hint"]))
        wanted = WANTED_BYTES[state["build"]]
        if free < wanted:
            what = f"{home} has {free / GIB:.1f} GiB free, `{state['build']}` needs {wanted / GIB:.0f} GiB"
            faults.append(MissingError(what, "free some space, or set `ITS_HOME` to a folder on another disk"))
    facts |= {"home": None if home is None else str(home), "disk_free_bytes": free}
    return MachineCheck(facts, states, faults)


def locks_project() -> Path:
    """The folder whose locks count: the nearest at or above this one with `envs/` and `dvc.yaml`, or the installed one.

    Raises:
        MissingError: outside a study, if this installation has none.
    """
    found = find_above(Path.cwd(), lambda folder: is_study(folder) and (folder / "envs").is_dir())
    return found or installed_root()


def environment_states(project: Path, home: Path) -> list[dict[str, Any]]:
    """The state of each engine environment: `installed`, `outdated` or `missing`, as `its env list --json` prints it.

    Raises:
        MissingError: if a lock is not in the project.
    """
    gpu = has_nvidia_gpu()
    states: list[dict[str, Any]] = []
    for name in ENGINE_NAMES:
        spec = spec_of(name, project, gpu)
        superseded = [str(folder) for folder in superseded_folders(spec, home)]
        state: dict[str, Any] = {"name": name, "build": spec.build, "lock": str(spec.lock), "superseded": superseded}
        try:
            found = find_environment(name, project, home, gpu)
        except MissingError as error:
            state |= {"state": "outdated" if superseded else "missing", "message": error.message, "hint": error.hint}
        else:
            record = read_record(found.path) or {}
            state |= {"state": "installed", "path": str(found.path), "lock_sha256": found.lock_sha256}
            state |= {key: record.get(key) for key in ("python", "made", "seconds", "healed")}
            state["versions"] = found.versions
        states.append(state)
    return states


def _facts() -> dict[str, Any]:
    git = None
    if found := shutil.which("git"):
        printed = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        git = printed.strip().removeprefix("git version ") or None
    try:
        dvc = importlib.metadata.version("dvc")
    except importlib.metadata.PackageNotFoundError:
        dvc = None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        memory = None
    return {
        "python": platform.python_version(),
        "git": git,
        "dvc": dvc,
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": cores,
        "memory_bytes": memory,
        "gpu": has_nvidia_gpu(),
    }
