"""Check a recipe's vLLM settings against vLLM's own argument classes; needs no model and no GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from its.engines.pipe import WORKERS
from its.environments import Environment, environment_variables, run_checker
from its.errors import SettingFault

CHECKER = WORKERS / "check_vllm_options.py"
CHECK_SECONDS = 300.0  # importing vLLM takes 8 s on an idle machine; a cold disk or a busy machine several times that


@dataclass(frozen=True)
class VllmSettings:
    """What vLLM receives: the arguments of `vllm.LLM` without the model, and the variables of its process.

    All arguments of the worker, not just the recipe's table: whether `max_num_batched_tokens` fits the model's context
    length is visible only with both.

    Args:
        sampling: settings of a request, as `Request.sampling`; None: none is checked.
    """

    options: Mapping[str, Any]
    variables: Mapping[str, str] = field(default_factory=dict)
    sampling: Mapping[str, Any] | None = None


def option_faults(
    environment: Environment, settings: Sequence[VllmSettings], log: Path, *, checker: Path = CHECKER
) -> list[list[SettingFault]]:
    """The faults of each of the settings; one process in vLLM's environment checks all of them.

    A path begins with `options` or `environment`, as under `engine` in a recipe: ("options", "kv_cache_dtype"); or with
    `sampling`: ("sampling", "extra", "min_tokens"). A combination that vLLM refuses is a fault of the table.

    Names, types, listed choices, bounds and combinations are checked as vLLM does it. What depends on a model (whether
    `tensor_parallel_size` divides its attention heads) or on the machine (whether memory is enough) is not checked, and
    a GPU backend passes on a CPU, since the recipe may be for another machine.

    Args:
        environment: of vLLM.
        log: receives vLLM's output.
        checker: the program to run.

    Raises:
        RunError: if the check itself fails.
    """
    if not settings:
        return []
    items = [
        {"options": dict(item.options), "environment": dict(item.variables)}
        | ({} if item.sampling is None else {"sampling": dict(item.sampling)})
        for item in settings
    ]
    # The shell's variables are not what is checked, and could change what vLLM reports.
    ours = environment_variables("vllm", environment)
    process = {name: value for name, value in ours.items() if not name.startswith("VLLM_")}
    process |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    return run_checker(
        environment,
        checker,
        items,
        lambda faults: [SettingFault(tuple(str(key).split(".")), message, hint) for key, message, hint in faults],
        variables=process,
        seconds=CHECK_SECONDS,
        log=log,
        what="vLLM's arguments could not be checked",
    )
