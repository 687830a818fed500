"""Hold configurations of Axolotl against Axolotl's own schema, before a model is loaded or a GPU is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from its.environments import Environment, ask_program, environment_variables
from its.errors import SettingFault

CHECKER = Path(__file__).parent / "workers" / "axolotl_schema.py"
CHECK_SECONDS = 300.0
"""Importing Axolotl takes 20 s on two busy cores; a cold disk several times that."""


def schema_faults(
    environment: Environment, configs: Sequence[tuple[dict[str, Any], bool, int]], log: Path, *, checker: Path = CHECKER
) -> list[list[SettingFault]]:
    """The faults of each configuration; starts one process, in Axolotl's environment, for all of them.

    Axolotl names all faults of single settings at once, and of settings that do not go together the first. What it
    finds out only from the model or the machine is not seen.

    Args:
        environment: of Axolotl.
        configs: (configuration, whether it is for a GPU, how many devices).
        log: receives what Axolotl prints.
        checker: the program that is run.

    Raises:
        RunError: if the check itself fails.
    """
    if not configs:
        return []
    asked = [{"config": config, "gpu": gpu, "devices": devices} for config, gpu, devices in configs]
    return ask_program(
        environment,
        checker,
        asked,
        lambda faults: [SettingFault(tuple(path), str(said)) for path, said in faults],
        variables={**environment_variables("axolotl", environment), "HF_HUB_OFFLINE": "1"},
        seconds=CHECK_SECONDS,
        log=log,
        what="Axolotl's schema could not be asked",
        of="configurations",
    )
