"""The GPUs and cores of this machine, and those that variables name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

GPUS = "CUDA_VISIBLE_DEVICES"
CORES = "VLLM_CPU_OMP_THREADS_BIND"
"""Variables that name the GPUs of a process, and the cores of each process of vLLM's CPU build."""
SPLITS = ("tensor_parallel_size", "pipeline_parallel_size")
"""Options of vLLM: the processes that hold one copy of a model."""
MOST_CORES = 4096
"""Highest core that a list may name; a range beyond is refused and not written out."""


def visible_gpus(given: str | None = None) -> list[str]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES names, else the shell's, else those that `nvidia-smi` lists."""
    given = os.environ.get(GPUS) if given is None else given
    if given is not None:
        # CUDA ignores an invalid entry and all after it; `-1` hides all.
        names = [name.strip() for name in given.split(",")]
        end = next((at for at, name in enumerate(names) if not name or name.startswith("-")), len(names))
        return names[:end]
    found = shutil.which("nvidia-smi")
    if found is None:
        return []
    try:
        listed = subprocess.run([found, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^GPU (\d+):", listed.stdout, re.MULTILINE) if listed.returncode == 0 else []


def usable_cores() -> list[int]:
    """The cores that this process may run on, in ascending order."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def listed_cores(text: str) -> list[int] | None:
    """The cores of a list such as `0-3,8`, or of several joined with `|`, each once; None if it is not such a list."""
    out: list[int] = []
    for part in text.replace("|", ",").split(","):
        found = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", part)
        if found is None:
            return None
        first = int(found[1])
        last = int(found[2] or first)
        if last < first or last > MOST_CORES:
            return None
        out += range(first, last + 1)
    return list(dict.fromkeys(out))


def core_ranges(cores: Sequence[int]) -> str:
    """Ascending cores as a list: `0-3,8`."""
    out: list[list[int]] = []
    for core in cores:
        if out and core == out[-1][-1] + 1:
            out[-1].append(core)
        else:
            out.append([core])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in out)


def parallel(options: Mapping[str, Any], names: Sequence[str] = SPLITS) -> int:
    """The product of sizes among vLLM's options; one that is absent or no number counts as 1."""
    out = 1
    for name in names:
        value = options.get(name, 1)
        out *= value if type(value) is int and value > 0 else 1
    return out
