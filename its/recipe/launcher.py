"""How many processes a launcher starts, and on how many machines, as far as its arguments say."""

from __future__ import annotations

import re
from collections.abc import Sequence

from its.shown import listed, quoted

LAUNCH = frozenset(
    [
        *("rdzv_backend", "rdzv_endpoint", "rdzv_id", "rdzv_conf", "node_rank", "master_addr", "master_port"),
        *("local_addr", "machine_rank", "main_process_ip", "main_process_port", "same_network"),
    ]
)
"""Options that say where the processes of one run meet, which differs from run to run and between its machines."""
SEVERAL_MACHINES = "`launcher: torchrun` and `launcher_args: [--nnodes=N, --nproc_per_node=M]`"
"""How a recipe states that a training takes several machines."""


def started_processes(launcher: str, arguments: Sequence[str]) -> int | None:
    """The processes of a training on all its machines; None if it depends on the machine.

    torchrun starts `nproc_per_node` on each of `nnodes`, both 1 by default; `accelerate launch` starts `num_processes`
    in all, by default one per GPU, or what its own configuration says. `python` starts one. The trainer checks the
    number again before its first step.
    """
    if launcher == "python":
        return 1
    given = _options(arguments)
    if launcher == "accelerate":
        return _count(given.get("num_processes"))
    low, colon, high = given.get("nnodes", "1").partition(":")
    nodes = _count(low) if not colon or low == high else None  # `1:4`: as many as join
    here = _count(given.get("nproc_per_node", "1"))  # `gpu`, `cpu`, `auto`: what the machine has
    return None if nodes is None or here is None else nodes * here


def machines(launcher: str, arguments: Sequence[str]) -> int | None:
    """The machines of a training; None if their number depends on how many join."""
    if launcher == "python":
        return 1
    given = _options(arguments)
    if launcher == "accelerate":
        return _count(given.get("num_machines", "1"))
    low, colon, high = given.get("nnodes", "1").partition(":")
    return _count(low) if not colon or low == high else None


def says_where(argument: str) -> bool:
    """Whether an argument is one of `LAUNCH`; a word without dashes is none: a launcher runs it as a program."""
    return argument.startswith("--") and argument[2:].partition("=")[0].replace("-", "_") in LAUNCH


def launch_fault(arguments: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with arguments that belong to one run and not to a recipe, behind the field's name, and a hint."""
    found = [argument.partition("=")[0] for argument in arguments if says_where(argument)]
    if not found:
        return None
    what = listed([f"`{item}`" for item in found])
    return (
        f"has {what}: where processes meet is not part of a recipe",
        "take it out; `its train CHECKPOINT --node RANK --nodes N --rendezvous HOST:PORT` says it",
    )


def machines_fault(launcher: str, arguments: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with how arguments state the machines, behind the names of the fields, and a hint."""
    count, given = machines(launcher, arguments), _options(arguments)
    if launcher == "accelerate" and count != 1:
        return "has `--num_machines`: several machines need torchrun", SEVERAL_MACHINES
    if count is None:
        stated = quoted(given.get("nnodes", ""), 40)
        return f"has `--nnodes={stated}`: the number of machines is not stated", SEVERAL_MACHINES
    if count > 1 and "standalone" in given:
        # torchrun would replace the rendezvous by an address of each machine itself.
        return f"has `--standalone` and `--nnodes={count}`: a standalone run is on one machine", "take one of them out"
    return None


def _options(arguments: Sequence[str]) -> dict[str, str]:
    """Options with their values, `_` for `-` in their names; the last of several values counts."""
    out: dict[str, str] = {}
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            following = arguments[index + 1] if index + 1 < len(arguments) else ""
            out[name[2:].replace("-", "_")] = value if equals else following
    return out


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,6}", text) else None
