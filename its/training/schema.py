"""Hold configurations of Axolotl against Axolotl's own schema, before a model is loaded or a GPU is there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from its.environments import Environment, environment_variables
from its.errors import RunError

CHECKER = Path(__file__).parent / "workers" / "axolotl_schema.py"
CHECK_SECONDS = 300.0
"""Importing Axolotl takes 20 s on two busy cores; a cold disk several times that."""


class SchemaFault(NamedTuple):
    """`path` leads to the setting in the configuration; () is a fault of several settings together."""

    path: tuple[str | int, ...]
    message: str


def schema_faults(
    environment: Environment, configs: Sequence[tuple[dict[str, Any], bool, int]], log: Path, *, checker: Path = CHECKER
) -> list[list[SchemaFault]]:
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
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        try:
            done = subprocess.run(
                [str(environment.python), str(checker)],
                input=json.dumps(asked).encode(),
                stdout=subprocess.PIPE,
                stderr=sink,
                env={**environment_variables("axolotl", environment), "HF_HUB_OFFLINE": "1"},
                timeout=CHECK_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(f"no answer in {CHECK_SECONDS:.0f} s", log) from error
    if done.returncode:
        how = f"exit code {done.returncode}" if done.returncode > 0 else f"killed by signal {-done.returncode}"
        raise _failed(how, log)
    try:
        told = [[SchemaFault(tuple(path), str(said)) for path, said in item] for item in json.loads(done.stdout)]
    except (ValueError, TypeError) as error:
        raise _failed(f"the answer is {done.stdout[:80]!r}", log) from error
    if len(told) != len(configs):
        raise _failed(f"{len(told)} answers for {len(configs)} configurations", log)
    return told


def _failed(why: str, log: Path) -> RunError:
    return RunError(f"Axolotl's schema could not be asked: {why}", f"its log: {log}")
