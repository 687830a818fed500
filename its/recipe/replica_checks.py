"""Faults of `engine.replicas` that need no machine: workers that cannot share what the recipe itself names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from its.devices import CORES, GPUS, listed_cores, parallel, visible_gpus
from its.recipe.values import Found, seen, table_at

HERE = ("engine", "replicas")
ON_CORES = (None, "cpu")
ON_GPU = ("cuda", "cuda:0", "auto", "balanced", "balanced_low_0", "sequential")
"""Values of `device_map` with which a worker of transformers runs on the one GPU that it sees."""


def replica_faults(values: Mapping[str, Any]) -> Iterator[Found]:
    """Every fault of a recipe's workers, as (location, message, hint)."""
    engine = table_at(values, "engine")
    count, kind, options = engine.get("replicas", 1), engine.get("kind"), table_at(engine, "options")
    if type(count) is not int or count < 2:
        return
    named = f"`engine.replicas: {count}`"
    if kind == "openai":
        yield HERE, f"{named}: `openai` starts no workers", "name more `servers`, or take it out"
    if kind not in ("vllm", "transformers"):
        return
    environment = table_at(engine, "environment")
    size = parallel(options) if kind == "vllm" else 1
    each = f"{size} for each worker" if size > 1 else "one for each worker"
    gpus, cores = environment.get(GPUS), environment.get(CORES) if kind == "vllm" else None
    if isinstance(gpus, str) and len(visible_gpus(gpus)) < count * size:
        here = ("engine", "environment", GPUS)
        yield here, f"`{GPUS}` names {len(visible_gpus(gpus))} GPUs, {named} needs {count * size}, {each}", "name more"
    if isinstance(cores, str):
        here, listed = ("engine", "environment", CORES), listed_cores(cores)
        if listed is None:
            wrong = f"`{CORES}` is {seen(cores)}, of which {named} can make no parts"
            yield (
                here,
                wrong,
                "list cores, for example `0-15`, or take it out: each worker then has its part of all",
            )
        elif len(listed) < count * size:
            yield here, f"`{CORES}` names {len(listed)} cores, {named} needs {count * size}, {each}", "name more"
    backend, device = options.get("distributed_executor_backend"), options.get("device_map")
    if kind == "vllm" and backend == "ray":
        yield (
            ("engine", "options", "distributed_executor_backend"),
            f"{named} divides the GPUs of this machine, and `ray` places a worker on any machine",
            "take one of them out; several servers of `kind: openai` may each use Ray",
        )
    if kind == "transformers" and not (device is None or (isinstance(device, str) and device in (*ON_CORES, *ON_GPU))):
        yield (
            ("engine", "options", "device_map"),
            f"`device_map` is {seen(device)}: each worker of {named} sees one GPU",
            "`device_map: cuda`",
        )
