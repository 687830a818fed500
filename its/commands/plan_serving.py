"""The engines of a plan on GPUs: whether each model fits, with what it would, and the hours of its requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from its.commands.plan_requests import Requested
from its.plan.architecture import Architecture
from its.plan.compute import generated_per_second
from its.plan.engine import Engine, engine_settings
from its.plan.gpus import Gpus
from its.plan.serving import Formats, Served, served, split_fault
from its.recipe.schema import Recipe


@dataclass(frozen=True)
class ServingPlan:
    """One model in an engine.

    Args:
        split: GPUs of one engine.
        tensor: those that share each layer.
        replicas: engines side by side.
        memory: of a GPU; None if the architecture is not known, or an option of the engine is not counted.
        fits: whether it does, on the GPUs that there are, and vLLM takes the split; None if `memory` is.
        fits_with: the smallest `tensor` with which one engine fits; None if none of one machine's does.
        replicas_with: how many such engines fit on a machine, at most as many as there are now.
        requests: to the model and its checkpoints, by kind.
        kind_hours: GPU hours of each kind; None if they are not known.
        hours: their sum; None if any is not known.
    """

    model: str
    split: int
    tensor: int
    replicas: int
    memory: Served | None
    fits: bool | None
    fits_with: int | None
    replicas_with: int | None
    requests: list[Requested]
    kind_hours: dict[str, float | None]
    hours: float | None
    unknown: list[str]

    @property
    def partly(self) -> bool:
        """Whether some requests are of sets of unknown size."""
        return any(item.count.per_problem for item in self.requests)


def serving_plans(
    recipe: Recipe,
    gpus: Gpus,
    requests: Mapping[str, list[Requested]],
    found: Mapping[str, Architecture | str],
    use: float,
) -> list[ServingPlan]:
    """One for each model that a vLLM of this machine generates with.

    Args:
        use: share of the memory's bandwidth that generation reaches, in (0, 1].
    """
    engine, unknown = engine_settings(recipe.engine.options)
    return [_serving(recipe, gpus, name, asked, engine, unknown, found[name], use) for name, asked in requests.items()]


def _serving(
    recipe: Recipe,
    gpus: Gpus,
    name: str,
    requests: list[Requested],
    engine: Engine,
    unknown: Sequence[str],
    model: Architecture | str,
    use: float,
) -> ServingPlan:
    replicas, notes = recipe.engine.replicas, list(unknown)
    placed = _placed(engine, replicas, gpus)
    memory, least, beside = None, None, None
    fits: bool | None = None if placed is None else False
    hours: dict[str, float | None] = {item.kind: None for item in requests}
    if isinstance(model, Architecture) and not unknown:
        formats = engine.formats(4 if recipe.models[name].dtype == "float32" else 2)
        window = engine.window or recipe.models[name].context_length
        memory = _held(model, engine, engine.tensor, window, formats, gpus)
        refused = split_fault(model, engine.tensor, engine.pipeline)
        fits = memory.fits and refused is None and placed is None
        notes += [f"vLLM refuses it: {refused}"] if refused is not None else []
        sizes = range(1, gpus.each // engine.pipeline + 1)
        taken = (size for size in sizes if split_fault(model, size, engine.pipeline) is None)
        least = next((size for size in taken if _held(model, engine, size, window, formats, gpus).fits), None)
        beside = None if least is None else min(replicas, gpus.each // (least * engine.pipeline))
        if fits and gpus.terabytes is not None:
            hours = {item.kind: _hours(item, model, engine, memory, formats, gpus.terabytes, use) for item in requests}
    notes += [note for note in (placed, _idle(engine, replicas, gpus) if fits else None) if note is not None]
    known = [each for each in hours.values() if each is not None]
    return ServingPlan(
        model=name,
        split=engine.split,
        tensor=engine.tensor,
        replicas=replicas,
        memory=memory,
        fits=fits,
        fits_with=least,
        replicas_with=beside,
        requests=requests,
        kind_hours=hours,
        hours=sum(known) if len(known) == len(hours) else None,
        unknown=notes,
    )


def _held(model: Architecture, engine: Engine, tensor: int, window: int, formats: Formats, gpus: Gpus) -> Served:
    """The engine with another `tensor_parallel_size`."""
    return served(
        model,
        gpu_bytes=gpus.bytes,
        window=window,
        tensor=tensor,
        pipeline=engine.pipeline,
        formats=formats,
        used=engine.used,
    )


def _hours(
    item: Requested,
    model: Architecture,
    engine: Engine,
    memory: Served,
    formats: Formats,
    terabytes: float,
    use: float,
) -> float | None:
    """GPU hours of requests of sets of known size; None if there are others alone."""
    if not item.count.known:
        return None
    held = int(memory.cache // (memory.token * max(1.0, item.each)))
    rate = generated_per_second(
        model,
        split=engine.split,
        terabytes=terabytes,
        sequences=max(1, min(engine.sequences, held)),
        context=item.each / 2,
        use=use,
        formats=formats,
    )
    return item.tokens / rate / 3600 * engine.split


def _placed(engine: Engine, replicas: int, gpus: Gpus) -> str | None:
    """Why the engines do not have their GPUs, as a note; None if they do.

    Engines side by side are on one machine, and so is one engine without Ray.
    """
    needed = engine.split * replicas
    if needed > gpus.count:
        return f"the recipe's engine takes {needed} GPUs, of {gpus.count}"
    if needed > gpus.each and replicas > 1:
        return f"the recipe's engines take {needed} GPUs of one machine, which has {gpus.each}: docs/scale.md"
    if needed > gpus.each and not engine.ray:
        ray = "`engine.options.distributed_executor_backend: ray`"
        return f"the recipe's engine takes {needed} GPUs, and a machine has {gpus.each}: {ray}, docs/scale.md"
    return None


def _idle(engine: Engine, replicas: int, gpus: Gpus) -> str | None:
    """Which GPUs engines leave idle, and what would use them, as a note."""
    used, more = engine.split * replicas, gpus.each // engine.split
    if used >= gpus.count:
        return None
    how = [f"`engine.replicas: {more}` uses {more * engine.split}"] if more > replicas else []
    how += ["servers (`engine.kind: openai`, docs/scale.md) use those of several machines"] if gpus.machines > 1 else []
    return f"the engine leaves {gpus.count - used} of {gpus.count} GPUs idle" + (f": {'; '.join(how)}" if how else "")
