"""Create, find and check the engine environments: one virtual environment for vLLM, one for Axolotl.

Each is created from a lock in `envs/` with `pip install --no-deps`, below `home/envs/`, in a folder named after the
lock's content and the Python version. A record, written last, marks it complete; a folder without one is an
interrupted sync.
"""

from its.environments.checker import run_checker
from its.environments.find import (
    ENGINE_NAMES,
    EngineName,
    Environment,
    EnvironmentSpec,
    environment_variables,
    find_environment,
    has_nvidia_gpu,
    read_record,
    spec_of,
    superseded_folders,
)
from its.environments.sync import WANTED_BYTES, Run, SyncResult, sync_environment

__all__ = [
    "ENGINE_NAMES",
    "WANTED_BYTES",
    "EngineName",
    "Environment",
    "EnvironmentSpec",
    "Run",
    "SyncResult",
    "environment_variables",
    "find_environment",
    "has_nvidia_gpu",
    "read_record",
    "run_checker",
    "spec_of",
    "superseded_folders",
    "sync_environment",
]
