"""Where the workers of a recipe with `engine.replicas` run: each on its own GPUs, or on its own cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from its.devices import CORES, GPUS, core_ranges, listed_cores, usable_cores, visible_gpus
from its.errors import MissingError

THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Place:
    """The GPUs or cores of one worker, counted from 0; `variables` are added to its environment, and are in no key."""

    index: int
    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    cores: Sequence[int] = ()


def gpu_places(count: int, size: int, environment: Mapping[str, str]) -> list[Place]:
    """Places of `size` GPUs each, of those that the recipe's environment names, else the machine's, in their order.

    Raises:
        MissingError: if there are too few.
    """
    gpus = visible_gpus(environment.get(GPUS))
    if len(gpus) < count * size:
        raise MissingError(
            f"`engine.replicas: {count}` needs {count * size} GPUs, {size} for each worker: {len(gpus)} visible",
            _fewer(len(gpus) // size, f"{GPUS} says which are visible"),
        )
    parts = [gpus[at * size : (at + 1) * size] for at in range(count)]
    return [Place(at, f"GPU {','.join(part)}", {GPUS: ",".join(part)}) for at, part in enumerate(parts)]


def core_places(count: int, size: int, environment: Mapping[str, str], *, vllm: bool) -> list[Place]:
    """Places of equally many cores each; cores that are left over stay idle, so that all workers sum alike.

    Args:
        size: processes of a worker that calculate, each on its own cores.
        environment: of the recipe; its binding of vLLM's threads says which cores.
        vllm: bind vLLM's threads; otherwise give the number of threads, unless the recipe does.

    Raises:
        MissingError: if there are fewer cores than processes.
    """
    bound = environment.get(CORES) if vllm else None
    cores = (listed_cores(bound) if bound is not None else None) or usable_cores()
    each = len(cores) // (count * size)
    if not each:
        raise MissingError(
            f"`engine.replicas: {count}` needs {count * size} cores, {size} for each worker: {len(cores)} available",
            _fewer(len(cores) // size, "each worker calculates on its own cores"),
        )
    places = []
    for at in range(count):
        own = cores[at * size * each : (at + 1) * size * each]
        if vllm:
            ranks = (own[rank * each : (rank + 1) * each] for rank in range(size))
            variables = {CORES: "|".join(map(core_ranges, ranks))}
        else:
            variables = {THREADS: environment.get(THREADS, str(each))}
        places.append(Place(at, f"core {core_ranges(own)}", variables, tuple(own)))
    return places


def _fewer(fit: int, otherwise: str) -> str:
    return f"`replicas: {fit}`; {otherwise}" if fit else otherwise
