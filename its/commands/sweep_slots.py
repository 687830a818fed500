"""How many points of a sweep run at once, and on which GPUs: by what the machine has and a point needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from its.devices import SPLITS, parallel, visible_gpus
from its.errors import MissingError
from its.recipe.schema import Recipe

Slot = tuple[str, ...]
"""The GPUs of one job, as CUDA_VISIBLE_DEVICES names them; () leaves the variable as it is."""
GIB = 2**30
_PARALLEL = (*SPLITS, "data_parallel_size")
_CACHE = "VLLM_CPU_KVCACHE_SPACE"


@dataclass(frozen=True)
class Machine:
    """GPUs that this process sees, and bytes of memory that are available; None if unknown."""

    gpus: Sequence[str]
    memory: int | None


def this_machine() -> Machine:
    """The GPUs that CUDA_VISIBLE_DEVICES names, else those that `nvidia-smi` lists."""
    return Machine(visible_gpus(), _available_memory())


def slots(recipes: Sequence[Recipe], jobs: int | None, machine: Machine) -> list[Slot]:
    """The places in which points run at once, one for each job.

    Args:
        recipes: of the points, at least one; the one that needs most decides.
        jobs: None is one on a CPU, and as many as there are GPUs for otherwise.

    Raises:
        MissingError: if the machine has too few GPUs or too little memory for that many jobs.
    """
    need = max(map(gpus_of, recipes))
    if not machine.gpus or not need:
        wanted = max(map(_cache_bytes, recipes))
        if machine.memory is not None and jobs is not None and jobs > 1 and jobs * wanted > machine.memory:
            raise MissingError(
                f"`--jobs {jobs}` needs {jobs * wanted / GIB:.1f} GiB for {_CACHE} alone,"
                f" {machine.memory / GIB:.1f} GiB are available",
                f"`--jobs {max(1, machine.memory // wanted)}`, or a smaller {_CACHE} under `engine.environment`",
            )
        return [()] * (jobs or 1)
    fit = len(machine.gpus) // need
    if jobs is None and not fit:  # over several machines, or an error that the engine explains
        return [()]
    count = fit if jobs is None else jobs
    if count > max(fit, 1):
        raise MissingError(
            f"`--jobs {jobs}` needs {count * need} GPUs, {need} for each point: {len(machine.gpus)} visible",
            f"`--jobs {max(fit, 1)}`; CUDA_VISIBLE_DEVICES says which are visible",
        )
    if not fit:
        return [()]
    return [tuple(machine.gpus[at * need : (at + 1) * need]) for at in range(count)]


def gpus_of(recipe: Recipe) -> int:
    """GPUs that a study uses at once on one machine: its engine's or its training's, whichever are more."""
    engine = {"vllm": 1, "transformers": 1}.get(recipe.engine.kind, 0)
    if recipe.engine.kind == "vllm":
        engine = parallel(recipe.engine.options, _PARALLEL)
    engine *= recipe.engine.replicas
    return max(engine, recipe.train.devices if recipe.train.hardware == "gpu" else 0)


def _cache_bytes(recipe: Recipe) -> int:
    text = recipe.engine.environment.get(_CACHE, "0") if recipe.engine.kind == "vllm" else "0"
    return int(float(text) * GIB) * recipe.engine.replicas if re.fullmatch(r"[0-9]{1,6}(\.[0-9]*)?", text) else 0


def _available_memory() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
