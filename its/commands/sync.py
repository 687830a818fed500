"""Install the engine environments at the same time: `its env sync`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from its.checks.machine import locks_project
from its.environments import ENGINE_NAMES, EngineName, SyncResult, sync_environment
from its.errors import ItsError
from its.home import its_home


def sync_environments(
    names: Collection[EngineName], say: Callable[[str], None], gpu: bool | None = None, *, ray: bool = False
) -> Iterator[SyncResult | ItsError]:
    """Install the environments from their locks; yield each result, or the error that stopped it. No name: all.

    Args:
        say: receives a line for each step.
        gpu: whether to take the builds for an NVIDIA GPU; None detects one.
        ray: whether to add Ray to that of vLLM.

    Raises:
        MissingError: if the ITS home is not known.
    """
    project, home = locks_project(), its_home()
    chosen = [name for name in ENGINE_NAMES if name in names or not names]
    with ThreadPoolExecutor(len(chosen)) as pool:
        pending = [
            pool.submit(sync_environment, name, project, home, say, gpu=gpu, ray=ray and name == "vllm")
            for name in chosen
        ]
        for future in pending:
            try:
                yield future.result()
            except ItsError as error:
                yield error
