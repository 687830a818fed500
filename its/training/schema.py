"""Check Axolotl configurations against Axolotl's own schema; needs no model and no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from its.environments import Environment, environment_variables, run_checker
from its.errors import SettingFault

CHECKER = Path(__file__).parent / "workers" / "axolotl_schema.py"
CHECK_SECONDS = 300.0
"""Importing Axolotl takes 20 s on two busy cores; a cold disk several times that."""


def schema_faults(
    environment: Environment, configs: Sequence[tuple[dict[str, Any], bool, int]], log: Path, *, checker: Path = CHECKER
) -> list[list[SettingFault]]:
    """The faults of each configuration; one process in Axolotl's environment checks all of them.

    Axolotl reports all faults of single settings, and the first one of a combination. What it learns only from the
    model or the machine is not checked.

    Args:
        environment: of Axolotl.
        configs: (configuration, whether it is for a GPU, how many devices).
        log: receives Axolotl's output.
        checker: the program to run.

    Raises:
        RunError: if the check itself fails.
    """
    if not configs:
        return []
    items = [{"config": config, "gpu": gpu, "devices": devices} for config, gpu, devices in configs]
    return run_checker(
        environment,
        checker,
        items,
        lambda faults: [SettingFault(tuple(path), str(message)) for path, message in faults],
        variables={**environment_variables("axolotl", environment), "HF_HUB_OFFLINE": "1"},
        seconds=CHECK_SECONDS,
        log=log,
        what="Axolotl's schema could not be checked",
        of="configurations",
    )
