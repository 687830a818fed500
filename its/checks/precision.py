"""Whether this machine's CPU computes in bfloat16, or only imitates it."""

from __future__ import annotations

from pathlib import Path

from its.recipe.schema import Recipe

CPU_INFO = Path("/proc/cpuinfo")
_NATIVE = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of x86 (Linux 5.10, `arch/x86/include/asm/cpufeatures.h`) and of arm64 (`bf16`)."""


def precision_notes(recipe: Recipe) -> list[str]:
    """Names the models in bfloat16 that a recipe trains on a CPU without instructions for it.

    Nothing is said where the kernel lists no flags, as on macOS.
    """
    if recipe.train.hardware != "cpu" or has_bf16(CPU_INFO) is not False:
        return []
    slow = [name for name in recipe.design.models if recipe.models[name].dtype == "bfloat16"]
    if not slow:
        return []
    named = ", ".join(f"`models.{name}.dtype`" for name in slow)
    return [
        f"this CPU has no bfloat16 instructions: a step of training takes some twenty times as long as in float32, a"
        f" response five times; set {named} to `float32`"
    ]


def has_bf16(cpu_info: Path) -> bool | None:
    """Whether a CPU has instructions for bfloat16; None if its flags cannot be read."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    flags = [line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))]
    return None if not flags else all(not _NATIVE.isdisjoint(row) for row in flags)
