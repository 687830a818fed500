"""How many processes a launcher starts, as far as its arguments say."""

from __future__ import annotations

import re
from collections.abc import Sequence


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
