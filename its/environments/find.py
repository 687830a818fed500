"""Specify and find engine environments, and prepare the variables of their processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from its.errors import MissingError

EngineName = Literal["vllm", "axolotl"]
ENGINE_NAMES: tuple[EngineName, ...] = get_args(EngineName)
RECORD = "its-environment.json"
RECORD_VERSION = 1
RAY = "ray_lock_sha256"
"""In a record: the lock from which Ray was added."""

_PROBES: dict[EngineName, str] = {
    "vllm": "import torch, transformers, vllm\nfrom vllm import LLM, SamplingParams\n",
    "axolotl": "import torch, transformers, axolotl, gguf\nfrom axolotl.integrations.base import BasePlugin\n",
}
_WITH_CUDA = (
    "if torch.version.cuda is None:\n"
    "    raise SystemExit(f'torch {torch.__version__} was built without CUDA: pip as configured prefers it "
    "(`find-links`, or an index of CPU builds, in `pip config list`); sync without that setting')\n"
)
_CUDA_PROBES: dict[EngineName, str] = {"vllm": _WITH_CUDA, "axolotl": _WITH_CUDA + "import deepspeed\n"}
"""What the builds for an NVIDIA GPU have in addition. Without `+`, a version of a lock takes a build for a CPU too."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """The engine environment required on this machine; `probe` is code that imports what the workers need."""

    name: EngineName
    build: str
    lock: Path
    probe: str


@dataclass(frozen=True)
class Environment:
    """A complete environment. `versions` lists every distribution in it; `lock_sha256` is of the lock file's bytes."""

    name: EngineName
    build: str
    path: Path
    python: Path
    lock_sha256: str
    versions: dict[str, str]


def has_nvidia_gpu(nvidia_smi: str = "nvidia-smi", driver: Path = Path("/proc/driver/nvidia/version")) -> bool:
    """Whether there is an NVIDIA GPU: the driver is loaded, or `nvidia-smi -L` lists one."""
    if driver.exists():
        return True
    found = shutil.which(nvidia_smi)
    if found is None:
        return False
    try:
        listed = subprocess.run([found, "-L"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and b"GPU" in listed.stdout


def spec_of(name: EngineName, project: Path, gpu: bool | None = None) -> EnvironmentSpec:
    """The environment required on this machine.

    Args:
        project: the checkout whose `envs/` contains the locks.
        gpu: whether to take the build for an NVIDIA GPU; None detects one.

    Raises:
        MissingError: if the lock is not in the project.
    """
    if name not in ENGINE_NAMES:
        raise ValueError(f"no engine environment {name!r}; known: {', '.join(ENGINE_NAMES)}")
    cuda = has_nvidia_gpu() if gpu is None else gpu
    build = name if cuda else f"{name}_cpu"
    lock = project / "envs" / f"{build}.txt"
    if not lock.is_file():
        raise MissingError(f"{lock}: the lock of the engine environment `{name}` is missing", "`git checkout envs`")
    return EnvironmentSpec(name, build, lock, _PROBES[name] + (_CUDA_PROBES[name] if cuda else ""))


def find_environment(name: EngineName, project: Path, home: Path, gpu: bool | None = None) -> Environment:
    """The complete environment that the project's lock requires. Starts no process if no `nvidia-smi` is installed.

    Raises:
        MissingError: if it is not installed, or only from an older lock.
    """
    spec = spec_of(name, project, gpu)
    path, lock_sha256 = place_of(spec, home)
    if environment := complete_environment(spec, path, lock_sha256):
        return environment
    if superseded_folders(spec, home):
        message = f"the engine environment `{name}` is out of date: {spec.lock} has changed since it was created"
        raise MissingError(message, f"`its env sync {name}`")
    raise MissingError(f"the engine environment `{name}` is not installed", f"`its env sync {name}`")


def ray_lock(project: Path) -> Path:
    """The lock of what `its env sync vllm --ray` adds.

    Raises:
        MissingError: if it is not in the project.
    """
    lock = project / "envs" / "ray.txt"
    if not lock.is_file():
        raise MissingError(f"{lock}: the lock of Ray is missing", "`git checkout envs`")
    return lock


def has_ray(environment: Environment, project: Path) -> bool:
    """Whether the environment has Ray as the project's lock says."""
    record = read_record(environment.path) or {}
    return record.get(RAY) == lock_digest(ray_lock(project))


def lock_digest(lock: Path) -> str:
    """The SHA-256 of a lock's bytes."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def superseded_folders(spec: EnvironmentSpec, home: Path) -> list[Path]:
    """Complete environments of this build from another lock or Python; another checkout may use them."""
    path, _ = place_of(spec, home)
    found = sorted(record.parent for record in (home / "envs").glob(f"{spec.build}-*/{RECORD}"))
    return [folder for folder in found if folder != path]


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of the environment in `path`; None if it is missing, damaged or of another version of ITS."""
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("version") == RECORD_VERSION else None


def environment_variables(name: EngineName, environment: Environment | None = None) -> dict[str, str]:
    """The variables for a process of an engine environment: ours without those of another Python, and no telemetry.

    Compiled modules are kept, whatever PYTHONDONTWRITEBYTECODE says (images of containers set it): pip does not compile
    these packages, and vLLM's imports take 28 s without and 14 s with them (2 cores of 2021).

    `HF_HUB_OFFLINE` is unchanged: the caller knows whether a model is on this machine.

    Args:
        environment: its `bin` comes first on `PATH` (it contains ninja and the like); on a CPU, idle threads sleep.
    """
    variables = dict(os.environ)
    others = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH")  # DVC sets or passes on three
    for variable in (*others, "PYTHONDONTWRITEBYTECODE"):
        variables.pop(variable, None)
    if environment is not None:
        variables["PATH"] = os.pathsep.join([str(environment.python.parent), variables.get("PATH", os.defpath)])
        if environment.build.endswith("_cpu"):
            # The threads of torch spin while they wait for each other. Beside one busy process a training made 8 steps
            # in the time of 20, with threads that sleep 12; alone it takes as long either way (232 and 224 s).
            variables.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    variables |= {"DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}
    return variables | {"vllm": {"VLLM_NO_USAGE_STATS": "1"}, "axolotl": {"AXOLOTL_DO_NOT_TRACK": "1"}}[name]


def python_minor() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def place_of(spec: EnvironmentSpec, home: Path) -> tuple[Path, str]:
    """(the folder of the environment, the SHA-256 of its lock)."""
    content = spec.lock.read_bytes()
    key = hashlib.sha256(content + python_minor().encode()).hexdigest()[:12]
    return home / "envs" / f"{spec.build}-{key}", hashlib.sha256(content).hexdigest()


def complete_environment(spec: EnvironmentSpec, path: Path, lock_sha256: str) -> Environment | None:
    """The environment in `path` if its record is there and matches, and its interpreter still exists."""
    record = read_record(path)
    python = path / "bin" / "python"
    if record is None or record.get("lock_sha256") != lock_sha256 or not python.exists():
        return None
    if not spec.build.endswith("_cpu") and str(record["versions"].get("torch", "")).endswith("+cpu"):
        return None  # made before the probe looked for CUDA
    return Environment(spec.name, spec.build, path, python, lock_sha256, record["versions"])
