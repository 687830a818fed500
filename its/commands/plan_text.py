"""The plan of a recipe as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

from its.commands.plan import Disk, Plan, TrainingPlan
from its.commands.plan_requests import Requested
from its.commands.plan_serving import ServingPlan
from its.plan.costs import Costs
from its.plan.cpu import CpuTime
from its.plan.fit import Fit, tight
from its.plan.gpus import Gpus
from its.plan.training import Parts
from its.shown import counted

LEFT_OUT = "not counted: start-up, prompts"
PARTS = ("states", "gathered", "activations", "working", "loss", "context")

BLOCKS = {"deepspeed": "deepspeed", "plugin": "plugins"}
"""Word of a suggestion -> the setting that it is a part of: `train.axolotl` replaces a setting as a whole."""


def plan_lines(plan: Plan) -> Iterator[str]:
    """The plan, section by section."""
    yield f"{plan.recipe}: {_machine(plan)}"
    for line in plan.counts.lines():
        yield f"  {line}"
    yield ""
    yield "stage       outputs   here"
    for stage in plan.stages:
        yield f"{stage.stage:10} {stage.outputs:8} {stage.here:6}"
    yield (
        "  `dvc status` tells which of them are up to date;"
        f" store: {counted(plan.stored, 'response')} of these checkpoints;"
        f" home: {counted(plan.finished, 'finished training')} of any study"
    )
    shown: list[TrainingPlan] = []
    for item in plan.trainings:
        yield ""
        same = next((one for one in shown if _same(one, item)), None)
        yield from _training(item, plan.gpus, same)
        shown.append(item)
    for served in plan.serving or []:
        yield ""
        yield from _serving(served, plan)
    yield ""
    if plan.gpus is not None and plan.serving is None:
        yield f"generation: not planned: `engine.kind: {plan.engine}` is not vLLM on these GPUs"
    yield from _costs(plan)
    for name, model in plan.architectures.items():
        if not isinstance(model, str):
            yield f"sizes of {name}: from {model.source}"
    if plan.assumed:
        rows = ", ".join(f"{name} {count}" for name, count in plan.assumed.items())
        yield f"assumed: rows as published, before any filter: {rows}; `--rows SET=N` gives others"
    for line in plan.unknown:
        yield f"unknown: {line}"
    if plan.gpus is not None:
        yield _whole(plan)


def _whole(plan: Plan) -> str:
    if plan.fits and plan.tight:
        return "fits, but tight: less than 5% of a GPU to spare in a training"
    if plan.fits is None and plan.serving is None:
        return "not known whether it fits: the engine is not planned"
    return {True: "fits", False: "does not fit", None: "not known whether it fits"}[plan.fits]


def _machine(plan: Plan) -> str:
    gpus = plan.gpus
    if gpus is None:
        return "on a CPU; `--gpus 8x80` plans it for GPUs"
    machines = "1 machine" if gpus.machines == 1 else f"{gpus.machines} machines"
    head = f"{_gpus(gpus.count)} of {gpus.gigabytes} GB on {machines}"
    options = plan.options
    if gpus.model is not None and options.tflops is options.terabytes is None:
        return f"{head}, as fast as {gpus.model} ({gpus.tflops:g} TFLOP/s, {gpus.terabytes:g} TB/s; assumed)"
    speed = _speed(gpus.tflops, options.tflops, "TFLOP/s", "--tflops", gpus.model)
    return f"{head}: {speed}, {_speed(gpus.terabytes, options.terabytes, 'TB/s', '--bandwidth', gpus.model)}"


def _speed(value: float | None, given: float | None, unit: str, option: str, model: str | None) -> str:
    if value is None:
        return f"unknown {unit}, which `{option}` gives"
    return f"{value:g} {unit} ({'given' if given is not None else f'as of {model}, assumed'})"


def _same(one: TrainingPlan, other: TrainingPlan) -> bool:
    """Whether two trainings need the same memory for the same reasons."""
    return (one.settings, one.memory, one.fit, one.unknown) == (other.settings, other.memory, other.fit, other.unknown)


def _training(item: TrainingPlan, gpus: Gpus | None, same: TrainingPlan | None) -> Iterator[str]:
    variant = "" if item.variant == "default" else f", {item.variant}"
    count = "1 training" if item.trainings == 1 else f"{item.trainings} trainings"
    yield f"train {item.model} on {item.dataset}{variant}: {count}, {item.template}"
    rows = "unknown rows" if item.rows is None else f"{item.rows:,} rows"
    steps = "" if item.steps is None else f", {item.steps:,} steps"
    tokens = "" if item.tokens is None else f", {_count(item.tokens)} tokens in all"
    yield f"  {rows} of {item.row_tokens:,.0f} tokens ({item.row_source}){steps}{tokens}"
    if item.memory is None:
        yield "  memory: unknown, see the end"
    elif same is not None:
        verdict = {True: ": fits", False: ": does not fit", None: ""}[item.fits]
        yield f"  memory: as {same.model} on {same.dataset}{verdict}"
        return
    else:
        where = "a process" if gpus is None else "a GPU"
        room = "" if gpus is None else f" of {gpus.gigabytes}: {_verdict(item.memory.total, gpus.bytes)}"
        row = f"the longest row of {item.settings.length:,} tokens"
        yield f"  memory of {where} with {row}: {_gb(item.memory.total)} GB{room}"
        yield f"    {_parts(item.memory)}"
        if item.host:
            yield f"    host memory of a machine for what is offloaded: {_gb(item.host)} GB"
        if item.fits is False:
            yield from _remedies(item, gpus)
    yield from (f"  note: {note}" for note in item.unknown)


def _verdict(needed: int, room: int) -> str:
    if needed > room:
        return "does not fit"
    spare = 1 - needed / room
    return f"fits, {spare:.1%} to spare: tight" if tight(needed, room) else f"fits, {spare:.0%} to spare"


def _remedies(item: TrainingPlan, gpus: Gpus | None) -> Iterator[str]:
    if item.fit is None:
        yield "  fits with: none of the settings that are known here"
    else:
        yield f"  fits with: {_fit(item.fit, gpus)}"
        yield from _replaced(item.fit)
    if item.roomy is not None:
        yield f"  fits with 5% to spare with: {_fit(item.roomy, gpus)}"
        yield from _replaced(item.roomy)
    if item.gpus_needed is not None and item.gpus_needed_bytes is not None:
        yield (
            f"  fits as it is: on {_gpus(item.gpus_needed)} (`train.devices: {item.gpus_needed}`):"
            f" {_gb(item.gpus_needed_bytes)} GB of one{_tight(item.gpus_needed_bytes, gpus)}"
        )
    if item.longest:
        yield f"  fits as it is: with rows of up to {item.longest:,} tokens, 5% to spare"


def _fit(fit: Fit, gpus: Gpus | None) -> str:
    host = f", and {_gb(fit.parts.host)} GB of the host for each GPU" if fit.parts.host else ""
    return f"{' + '.join(fit.changes)}: {_gb(fit.parts.total)} GB{_tight(fit.parts.total, gpus)}{host}"


def _replaced(fit: Fit) -> Iterator[str]:
    """Which settings of the template `train.axolotl` would replace as a whole."""
    blocks = [name for name in ("deepspeed", "plugin") if any(name in change for change in fit.changes)]
    if blocks:
        whole = " and ".join(f"`{BLOCKS[name]}`" for name in blocks)
        yield f"    in a copy of the template; `train.axolotl` replaces all of {whole}: repeat there what stays"


def _tight(needed: int, gpus: Gpus | None) -> str:
    if gpus is None or not tight(needed, gpus.bytes):
        return ""
    return f", {1 - needed / gpus.bytes:.1%} to spare: tight"


def _parts(parts: Parts) -> str:
    shown = [f"{name} {_gb(getattr(parts, name))}" for name in PARTS if getattr(parts, name)]
    return f"{', '.join(shown)} (the peak is in the {parts.moment})"


def _serving(item: ServingPlan, plan: Plan) -> Iterator[str]:
    gpus = plan.gpus
    engines = "an engine" if item.replicas == 1 else f"{item.replicas} engines, each"
    yield f"serve {item.model}: {engines} on {_gpus(item.split)}"
    if item.memory is None or gpus is None:
        yield "  memory: unknown, see below"
    else:
        memory = item.memory
        verdict = "fits" if item.fits else "does not fit"
        yield (
            f"  of a GPU: weights {_gb(memory.weights)} GB, left for the cache {_gb(max(0, memory.cache))} GB:"
            f" {memory.sequences} sequences of {memory.window:,} tokens at once: {verdict}"
        )
        yield from _sizes(item)
    given = plan.options.response_tokens
    yield from (f"  {_requests(each, given)}" for each in item.requests)
    yield from (f"  note: {note}" for note in item.unknown)


def _sizes(item: ServingPlan) -> Iterator[str]:
    """The setting with which one engine fits, or fits on fewer GPUs."""
    if item.fits_with is None:
        if not item.fits:
            yield "  fits with: no number of the GPUs of a machine; several machines: docs/scale.md"
    elif not item.fits or item.fits_with < item.tensor:
        how = "the fewest GPUs that it fits on" if item.fits else "fits with"
        beside = "" if item.replicas_with == item.replicas else f" and `engine.replicas: {item.replicas_with}`"
        yield f"  {how}: `engine.options.tensor_parallel_size: {item.fits_with}`{'' if item.fits else beside}"


def _requests(item: Requested, given: int | None) -> str:
    """`personas: at most 600, each in at most 3 requests of at most 48 tokens`."""
    what = "given" if given is not None else "assumed; `--response-tokens` gives it"
    if given is not None and item.each < given:
        what = f"given: {given:,}, at most `max_tokens`"
    each = "" if item.attempts == 1 else f", each in at most {item.attempts} requests"
    mean = "" if not item.requests else f" of {'' if item.mean else 'at most '}{item.each:,.0f} tokens"
    return f"{item.kind}: {item.count.text()}{each}{mean}{f' ({what})' if item.mean else ''}"


def _costs(plan: Plan) -> Iterator[str]:
    """Hours, money and disk; sums of what is known, with how much of it is not."""
    if plan.gpus is not None and plan.costs is not None:
        yield from _hours(plan, plan.costs, plan.gpus)
    if plan.cpu is not None:
        yield _cpu(plan, plan.cpu)
        if plan.cpu.busy:
            rates = f"{plan.cpu.slowest_gflops:,.0f} to {plan.cpu.gflops:,.0f} GFLOP/s"
            yield (
                f"  the machine is busy, so these are too many: the measurements gave {rates} and had a core"
                f" {plan.cpu.core_share:.0%} of the time; plan again when it is idle"
            )
    yield _disk(plan.disk)


def _disk(disk: Disk) -> str:
    if disk.total is None:
        return f"disk: unknown: that of {_names(disk.unknown)}"
    states = f" + a saved state {_gb(disk.states)}" if disk.states else ""
    known, rest = (" known", f"; unknown: that of {_names(disk.unknown)}") if disk.unknown else ("", "")
    checkpoints, models = ("unknown" if size is None else _gb(size) for size in (disk.checkpoints, disk.models))
    return (
        f"disk: {_gb(disk.total)} GB{known} = {disk.copies} x checkpoints {checkpoints} (home, models/, DVC's cache)"
        f"{states} + models {models}{rest}"
    )


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _hours(plan: Plan, costs: Costs, gpus: Gpus) -> Iterator[str]:
    """GPU hours of each kind of work, then the hours that pass on the GPUs that each uses, and what all GPUs cost."""
    options = plan.options
    training = f"{_sum([item.hours for item in plan.trainings])} at {options.use:.0%} of the peak"
    share = "" if plan.serving is None else f" at {options.generation_use:.0%} of the bandwidth"
    yield f"GPU hours: training {training}, generation {_generation(plan)}{share}; {LEFT_OUT}"
    if costs.elapsed is None:
        return
    known = "" if costs.complete else " known"
    where = [_elapsed("training", costs.training, costs.training_gpus)]
    if costs.generation_gpus is not None:
        where.append(_elapsed("generation", costs.generation, costs.generation_gpus))
    yield f"  {costs.gpu_hours:,.1f}{known} in all; elapsed {costs.elapsed:,.1f}{known} hours = {' + '.join(where)}"
    if costs.price is not None:
        rented = f"{_gpus(gpus.count)} x {costs.elapsed:,.1f} hours x {options.price:g}"
        yield f"  price of all GPUs: {costs.price:,.0f}{known} = {rented}"


def _elapsed(work: str, hours: float | None, gpus: int) -> str:
    return f"{work} {'unknown' if hours is None else f'{hours / gpus:,.1f}'} on {_gpus(gpus)}"


def _generation(plan: Plan) -> str:
    """GPU hours of generation, with those of each kind of request if there is more than one."""
    if plan.serving is None:
        return "not planned"
    kinds: dict[str, list[float | None]] = {}
    for item in plan.serving:
        for kind, hours in item.kind_hours.items():
            kinds.setdefault(kind, []).append(hours)
    whole = _sum([hours for several in kinds.values() for hours in several], any(item.partly for item in plan.serving))
    parts = [f"{'' if kind == 'responses' else 'at most '}{_sum(hours)} {kind}" for kind, hours in kinds.items()]
    return whole if len(kinds) < 2 or whole == "unknown" else f"{whole} ({', '.join(parts)})"


def _sum(hours: list[float | None], partly: bool = False) -> str:
    known = [value for value in hours if value is not None]
    if hours and not known:
        return "unknown"
    return f"{sum(known):,.1f}{' and an unknown rest' if partly or len(known) < len(hours) else ''}"


def _cpu(plan: Plan, cpu: CpuTime) -> str:
    parts = [f"training {_minutes(cpu.training)}", f"personas {_minutes(cpu.personas, 'at most')}"]
    parts += [f"solutions {_minutes(cpu.solutions, 'at most')}"] if plan.counts.solutions else []
    parts += [f"judge {_minutes(cpu.judge, 'at most')}"] if plan.counts.judged else []
    parts.append(f"generation {_minutes(cpu.generation)}")
    return (
        f"minutes on this CPU ({cpu.gflops:,.0f} GFLOP/s in float32, measured now; rough, for an idle machine):"
        f" {', '.join(parts)}; {LEFT_OUT} (docs/plan.md)"
    )


def _minutes(value: float | None, bound: str = "about") -> str:
    return "unknown" if value is None else "none" if value == 0 else f"{bound} {max(1, round(value)):,}"


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _gb(count: float) -> str:
    return f"{count / 1e9:,.1f}" if count >= 5e7 else f"{count / 1e9:.3f}"


def _count(tokens: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= size:
            return f"{tokens / size:.3g}{letter}"
    return f"{tokens:.0f}"
