"""Whether vLLM accepts the options of a recipe: checked by its own argument classes, without loading a model."""

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
    what this machine adds for its CPU is not part of it.

    Raises:
        MissingError: if vLLM's environment is not installed.
        RunError: if the check itself fails.
    """
    home = its_home(project)
    checked: list[tuple[Document, VllmSettings]] = []
    for document, recipe in recipes:
        if recipe.engine.kind != "vllm":
            continue
        options, variables = dict(recipe.engine.options), dict(recipe.engine.environment)
        for name in dict.fromkeys([recipe.writer.model, *recipe.design.models]):
            declared = recipe.models[name]
            model = EngineModel(name, name, "", declared.dtype, declared.context_length)
            settings = worker_settings(model, options, variables, build="vllm")
            checked.append((document, VllmSettings(*settings)))
    if not checked:
        return []
    environment = find_environment("vllm", project, home)
    found = option_faults(environment, [settings for _, settings in checked], home / "logs" / "check-vllm.log")
    faults = [
        Fault(
            document.where(["engine", *fault.path]),
            f"`engine.{'.'.join(map(str, fault.path))}`: {fault.message}",
            fault.hint,
        )
        for (document, _), several in zip(checked, found, strict=True)
        for fault in several
    ]
    return list(dict.fromkeys(faults))
