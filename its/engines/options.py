"""Hold a recipe's settings of vLLM against vLLM's own argument classes, before a model is loaded or a GPU is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from its.engines.pipe import WORKERS
from its.environments import Environment, ask_program, environment_variables
from its.errors import SettingFault

CHECKER = WORKERS / "check_vllm_options.py"
CHECK_SECONDS = 300.0  # importing vLLM takes 8 s on an idle machine; a cold disk or a busy machine several times that


@dataclass(frozen=True)
class VllmSettings:
    """What is handed to vLLM: the arguments of `vllm.LLM` without the model, and variables of its process.

    The whole of what a worker gets shows more than the recipe's own table does: whether `max_num_batched_tokens` goes
    with the model's context length is seen only where both are here.
    """

    options: Mapping[str, Any]
    variables: Mapping[str, str] = field(default_factory=dict)


def option_faults(
    environment: Environment, settings: Sequence[VllmSettings], log: Path, *, checker: Path = CHECKER
) -> list[list[SettingFault]]:
    """The faults of each of the settings, all at once; starts one process, in vLLM's environment, for all of them.

    A path begins with `options` or `environment`, as under `engine` in a recipe: ("options", "kv_cache_dtype"). A
    combination that vLLM refuses is a fault of `options`.

    Names, types, listed choices, bounds and combinations are vLLM's own. What depends on a model (whether its
    attention heads can be divided by `tensor_parallel_size`) or on the machine (whether memory is enough) is not seen,
    and a GPU backend that a CPU cannot run passes here, since the recipe may be for another machine.

    Args:
        environment: of vLLM.
        log: receives what vLLM prints.
        checker: the program that is run.

    Raises:
        RunError: if the check itself fails.
    """
    if not settings:
        return []
    asked = [{"options": dict(item.options), "environment": dict(item.variables)} for item in settings]
    # Variables of the shell are no part of what is checked, and could change what vLLM says.
    ours = environment_variables("vllm", environment)
    process = {name: value for name, value in ours.items() if not name.startswith("VLLM_")}
    process |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    return ask_program(
        environment,
        checker,
        asked,
        lambda faults: [SettingFault(tuple(str(key).split(".")), message, hint) for key, message, hint in faults],
        variables=process,
        seconds=CHECK_SECONDS,
        log=log,
        what="vLLM's arguments could not be checked",
    )
