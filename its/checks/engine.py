"""Whether vLLM accepts the options of a recipe: checked by its own argument classes, without loading a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from its.devices import GPUS, parallel, usable_cores, visible_gpus
from its.engines.options import VllmSettings, option_faults
from its.engines.protocol import EngineModel
from its.engines.vllm import worker_settings
from its.environments import find_environment
from its.errors import Fault
from its.home import its_home
from its.recipe.load import Document
from its.recipe.replica_checks import HERE, ON_CORES
from its.recipe.sampling_checks import all_sampled
from its.recipe.schema import Recipe
from its.recipe.values import Location, dotted


def engine_faults(project: Path, recipes: Sequence[tuple[Document, Recipe]]) -> list[Fault]:
    """The faults of `engine.options`, `engine.environment` and all sampling of those recipes whose engine is vLLM.

    Settings are checked as those of a GPU's build, with each model of the design: a recipe is written on a laptop, and
    what this machine adds for its CPU is not part of it.

    Raises:
        MissingError: if vLLM's environment is not installed.
        RunError: if the check itself fails.
    """
    home = its_home(project)
    checked: list[tuple[Document, Mapping[str, Location], VllmSettings]] = []
    for document, recipe in recipes:
        if recipe.engine.kind != "vllm":
            continue
        options, variables = dict(recipe.engine.options), dict(recipe.engine.environment)
        teacher = recipe.writer.solutions.model if recipe.writer.solutions is not None else None
        for name in dict.fromkeys([recipe.writer.model, teacher or recipe.writer.model, *recipe.design.models]):
            declared = recipe.models[name]
            model = EngineModel(name, name, "", declared.dtype, declared.context_length)
            settings = worker_settings(model, options, variables, build="vllm")
            checked.append((document, {}, VllmSettings(*settings)))
        for sampled in all_sampled(document.values):
            values = {name: value for name, value in sampled.values.items() if name != "n"}
            if values:
                checked.append((document, sampled.places, VllmSettings({}, {}, values)))
    if not checked:
        return []
    environment = find_environment("vllm", project, home)
    found = option_faults(environment, [settings for _, _, settings in checked], home / "logs" / "check-vllm.log")
    faults = []
    for (document, places, _), several in zip(checked, found, strict=True):
        for fault in several:
            where = _where(fault.path, places)
            faults.append(Fault(document.where(where), f"`{dotted(where)}`: {fault.message}", fault.hint))
    return list(dict.fromkeys(faults))


def machine_faults(recipes: Sequence[tuple[Document, Recipe]]) -> list[Fault]:
    """The faults of recipes whose workers (`engine.replicas`) need more GPUs or cores than this machine has.

    Without a GPU here cores count for a recipe that is written for a CPU: transformers without a `device_map`, or vLLM
    with a variable of its CPU build. Any other may be for another machine.
    """
    faults = []
    for document, recipe in recipes:
        engine = recipe.engine
        if engine.replicas == 1 or engine.kind not in ("vllm", "transformers"):
            continue
        named = f"`engine.replicas: {engine.replicas}`"
        size = parallel(engine.options) if engine.kind == "vllm" else 1
        on_cores = engine.kind == "transformers" and engine.options.get("device_map") in ON_CORES
        gpus = [] if on_cores else visible_gpus(engine.environment.get(GPUS))
        if not gpus and not on_cores and not any(name.startswith("VLLM_CPU_") for name in engine.environment):
            continue
        have, what = (len(gpus), "GPUs") if gpus else (len(usable_cores()), "cores")
        if engine.replicas * size > have:
            wrong = f"{named} needs {engine.replicas * size} {what}: this machine has {have}"
            hint = f"`replicas: {have // size}`" if have >= size else None
            faults.append(Fault(document.where(HERE), wrong, hint))
    return faults


def _where(path: Sequence[str | int], places: Mapping[str, Location]) -> Location:
    """The place in a recipe of a fault of its engine, or of a request's settings, which overlays may give."""
    if path[0] != "sampling":
        return ("engine", *path)
    if len(path) > 1 and path[1] in places:
        return (*places[str(path[1])], *path[2:])
    return next(iter(places.values()))[:-1]
