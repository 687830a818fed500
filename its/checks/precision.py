"""Whether what computes knows the number format of a model: a CPU bfloat16, vLLM on a GPU that of an adapter."""

from __future__ import annotations

from pathlib import Path

from its.checks.train import sample_config
from its.engines.vllm import ADAPTER_DTYPES, ADAPTER_REMEDY, adapter_refusal
from its.errors import Fault
from its.prompts.render import read_template
from its.recipe.document import Document
from its.recipe.schema import Recipe
from its.recipe.trainings import recipe_trainings

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


def adapter_faults(document: Document, recipe: Recipe, project: Path) -> list[Fault]:
    """The models whose adapters vLLM would refuse after they are trained: `generate` starts it on the same GPUs.

    A training on a CPU is left to the start of the engine: whether that machine has a GPU is not in the recipe.
    """
    if recipe.engine.kind != "vllm":
        return []
    faults = []
    for _, model, train in recipe_trainings(recipe):
        dtype = str(recipe.engine.options.get("dtype", recipe.models[model].dtype) or "auto")
        if train.hardware != "gpu" or dtype in ADAPTER_DTYPES:
            continue
        template = read_template(project / "recipes" / train.template)
        if sample_config(recipe, model, train, template).get("adapter"):
            where = ("engine", "options", "dtype") if "dtype" in recipe.engine.options else ("models", model, "dtype")
            named = ".".join(where)
            faults.append(Fault(document.where(where), f"`{named}`: {adapter_refusal(dtype)}", ADAPTER_REMEDY))
    return list(dict.fromkeys(faults))


def has_bf16(cpu_info: Path) -> bool | None:
    """Whether a CPU has instructions for bfloat16; None if its flags cannot be read."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    flags = [line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))]
    return None if not flags else all(not _NATIVE.isdisjoint(row) for row in flags)
