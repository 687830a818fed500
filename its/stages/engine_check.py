"""Whether an engine would take what a recipe tells it: vLLM's own argument classes are asked, no model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from its.engines.options import VllmSettings, option_faults
from its.engines.protocol import EngineModel
from its.engines.vllm import worker_settings
from its.environments import find_environment
from its.errors import Fault
from its.home import its_home
from its.recipe.load import Document
from its.recipe.schema import Recipe


def engine_faults(project: Path, recipes: Sequence[tuple[Document, Recipe]]) -> list[Fault]:
    """The faults of `engine.options` and `engine.environment` of those recipes whose engine is vLLM.

    Settings are checked as those of a GPU's build, with each model of the design: a recipe is written on a laptop, and
    what this machine adds for its CPU is no part of it.

    Raises:
        MissingError: if vLLM's environment is not installed.
        RunError: if the check itself fails.
    """
    home = its_home(project)
    asked = [
        (document, VllmSettings(*worker_settings(_unloaded(recipe, name), *_declared(recipe), build="vllm")))
        for document, recipe in recipes
        if recipe.engine.kind == "vllm"
        for name in dict.fromkeys([recipe.writer.model, *recipe.design.models])
    ]
    if not asked:
        return []
    environment = find_environment("vllm", project, home)
    found = option_faults(environment, [settings for _, settings in asked], home / "logs" / "check-vllm.log")
    faults = [
        Fault(
            document.where(["engine", *fault.path]),
            f"`engine.{'.'.join(map(str, fault.path))}`: {fault.message}",
            fault.hint,
        )
        for (document, _), several in zip(asked, found, strict=True)
        for fault in several
    ]
    return list(dict.fromkeys(faults))


def _unloaded(recipe: Recipe, name: str) -> EngineModel:
    declared = recipe.models[name]
    return EngineModel(name, name, "", declared.dtype, declared.context_length)


def _declared(recipe: Recipe) -> tuple[dict[str, object], dict[str, str]]:
    return dict(recipe.engine.options), dict(recipe.engine.environment)
