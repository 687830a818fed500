"""The plan of a recipe: what would run, what is here, and the memory, hours and disk that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from its.checks.sizes import set_sizes
from its.commands.plan_here import StageState, finished_trainings, stage_states, stored_responses
from its.commands.plan_models import find_architecture, given_architecture
from its.commands.plan_requests import Requested, study_requests
from its.commands.plan_serving import ServingPlan, serving_plans
from its.errors import DataError, ItsError
from its.plan.architecture import Architecture
from its.plan.compute import GENERATION_USE, TRAINING_USE, gpu_hours, training_operations
from its.plan.costs import Costs, costs
from its.plan.cpu import CpuTime, generation_minutes, measured_gflops, repeated, training_minutes
from its.plan.fit import ROOMY, Fit, fewest_gpus, fitting, longest, tight
from its.plan.gpus import Gpus, parse_gpus
from its.plan.published import published_rows
from its.plan.settings import Memory, memory_settings
from its.plan.training import Parts, adapter_parameters, optimizer_bytes, training_memory
from its.prompts.render import read_template
from its.recipe.apply import recipe_path
from its.recipe.axolotl import SAMPLE_ROWS, sharing
from its.recipe.load import load_recipe
from its.recipe.schema import LAST, HubSource, Recipe, Train
from its.rows import count_lines, read_json
from its.shown import listed, quoted
from its.study.counts import Counts, Size, study_counts
from its.study.study import Checkpoint, Study
from its.training.config import axolotl_config
from its.training.steps import expected_steps

COPIES = 3
"""Copies of a checkpoint: in the ITS home, in models/, in DVC's cache; fewer where the file system shares blocks."""


@dataclass(frozen=True)
class Options:
    """What a person says of the plan.

    Args:
        gpus: as `parse_gpus` reads it; None is what the recipe says, of 80 GB each.
        use: share of the GPUs' peak that a training reaches, in (0, 1].
        generation_use: share of the memory's bandwidth that generation reaches, in (0, 1].
        price: of one GPU hour, in any currency; None for no sum.
        row_tokens: mean tokens of a row to train on; None is what is known, else an assumption.
        response_tokens: mean tokens of a response; None is an assumption.
        rows: problem set -> its rows, where they are not known before it is prepared.
        configs: model -> a `config.json`.
        tflops, terabytes: as in `parse_gpus`.
    """

    gpus: str | None = None
    use: float = TRAINING_USE
    generation_use: float = GENERATION_USE
    price: float | None = None
    row_tokens: int | None = None
    response_tokens: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    configs: Mapping[str, Path] = field(default_factory=dict)
    tflops: float | None = None
    terabytes: float | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """Equal trainings: of one model on one dataset with one variant's settings.

    Args:
        trainings: how many, over strategies and seeds.
        rows: of one training; None if the set's size is not known. The largest where strategies differ.
        row_tokens: mean tokens of a row.
        row_source: where that number is from.
        tokens: of all passes of all of these trainings; None as `rows`.
        steps: of one training; None as `rows`.
        memory: None if the model's architecture is not known.
        fits: whether it does with the recipe's settings, and the recipe is one for that many GPUs.
        tight: whether it fits with less than 5 % to spare.
        fit: what makes it fit; None if it does, or nothing does.
        roomy: what makes it fit with 5 % to spare; None if `fit` does, or nothing does.
        longest: tokens of the longest row that fits with the settings as they are and 5 % to spare; None if all do.
        gpus_needed: the fewest GPUs of that size on which it fits as it is; None if up to 64 are not enough.
        gpus_needed_bytes: of one of them.
        hours: GPU hours of all of these trainings; None if not known.
        operations: floating point operations of all of these trainings; None if not known.
        host: bytes of host memory that one machine's processes need for what is offloaded.
        unknown: what is not known, or is counted as something else.
    """

    model: str
    dataset: str
    variant: str
    template: str
    trainings: int
    rows: int | None
    row_tokens: float
    row_source: str
    tokens: float | None
    steps: int | None
    settings: Memory
    memory: Parts | None
    fits: bool | None
    tight: bool
    fit: Fit | None
    roomy: Fit | None
    longest: int | None
    gpus_needed: int | None
    gpus_needed_bytes: int | None
    hours: float | None
    operations: float | None
    host: int
    unknown: list[str]


@dataclass(frozen=True)
class Disk:
    """Bytes of what is known.

    Args:
        checkpoints: of all, once; None if no trained model is known.
        copies: of each checkpoint.
        states: of saved states while a training runs.
        models: of the models; None if none is known.
        unknown: models that are in none of these.
    """

    checkpoints: int | None
    copies: int
    states: int
    models: int | None
    unknown: list[str]

    @property
    def total(self) -> int | None:
        """All of it; None if nothing is known."""
        if self.checkpoints is None and self.models is None:
            return None
        return (self.checkpoints or 0) * self.copies + self.states + (self.models or 0)


@dataclass(frozen=True)
class Plan:
    """The whole plan.

    `gpus` and `costs` are None for a study on a CPU, `cpu` for one on GPUs; `serving` is None where the engine is not
    planned, and on a CPU; `assumed` are rows of sets as published, before they are prepared; `unknown` names what is
    not known, and how to give it.
    """

    recipe: str
    engine: str
    gpus: Gpus | None
    cpu: CpuTime | None
    counts: Counts
    stages: list[StageState]
    stored: int
    finished: int
    architectures: dict[str, Architecture | str]
    trainings: list[TrainingPlan]
    serving: list[ServingPlan] | None
    costs: Costs | None
    disk: Disk
    options: Options
    assumed: dict[str, int]
    unknown: list[str]

    @property
    def fits(self) -> bool | None:
        """Whether all trainings and engines fit; None if that is not known of one, or the engine is not planned, and
        none is too large."""
        found = [item.fits for item in self.trainings]
        found += [None] if self.serving is None else [item.fits for item in self.serving]
        return False if False in found else None if None in found else True

    @property
    def tight(self) -> bool:
        """Whether a training fits with less than 5 % to spare."""
        return any(item.tight for item in self.trainings)


def plan_study(project: Path, name: str | None, options: Options) -> Plan:
    """The plan of a recipe, or of params.yaml; nothing is fetched, started or written.

    Raises:
        MissingError, DataError: if there is no such recipe, it is not valid, or an option is not, contradicts the
            recipe, or changes nothing.
    """
    path = project / "params.yaml" if name is None else recipe_path(project, name)
    recipe = load_recipe(path, project)
    study = Study(project, recipe)
    gpus = _gpus(recipe, options)
    _require_effect(study, gpus, options)
    sizes = dict(set_sizes(project, recipe))
    _require_named(options.rows, [*recipe.design.datasets, *recipe.design.benchmarks], "--rows")
    _require_named(options.configs, list(recipe.models), "--config")
    sizes |= {set_name: Size(count) for set_name, count in options.rows.items()}
    assumed = _assumed(recipe, sizes)
    sizes |= {set_name: Size(count, at_most=True) for set_name, count in assumed.items()}
    models = list(dict.fromkeys([*recipe.design.models, recipe.writer.model, recipe.writer.teacher, *_judge(recipe)]))
    found = {
        each: given_architecture(each, options.configs[each])
        if each in options.configs
        else find_architecture(study, each)
        for each in models
    }
    counts = study_counts(study, sizes)
    trainings = _trainings(study, gpus, sizes, found, options)
    requests = study_requests(study, counts, sizes, options.response_tokens)
    serving = None
    if gpus is not None and recipe.engine.kind == "vllm":
        serving = serving_plans(recipe, gpus, requests, found, options.generation_use)
    unknown = [
        f"the architecture of `{each}`: {why}; give it with `--config {each}=config.json`"
        for each, why in found.items()
        if isinstance(why, str)
    ]
    unsized = [each for each in (*recipe.design.datasets, *recipe.design.benchmarks) if each not in sizes]
    unknown += [f"the rows of `{each}` before it is prepared; give them with `--rows {each}=N`" for each in unsized]
    return Plan(
        recipe=recipe.recipe,
        engine=recipe.engine.kind,
        gpus=gpus,
        cpu=None if gpus is not None else _cpu_time(recipe, counts, requests, found, trainings),
        counts=counts,
        stages=stage_states(study),
        stored=stored_responses(study),
        finished=finished_trainings(study),
        architectures=found,
        trainings=trainings,
        serving=serving,
        costs=None if gpus is None else _costs(gpus, trainings, serving, options.price),
        disk=_disk(study, found, trainings),
        options=options,
        assumed=assumed,
        unknown=unknown,
    )


def _judge(recipe: Recipe) -> list[str]:
    return [] if recipe.grading.judge is None else [recipe.grading.judge.model]


def _assumed(recipe: Recipe, sizes: Mapping[str, Size]) -> dict[str, int]:
    """Rows of sets of unknown size whose sources are all published ones."""
    out = {}
    for name in (*recipe.design.datasets, *recipe.design.benchmarks):
        declared = recipe.datasets.get(name) or recipe.benchmarks[name]
        rows = [
            published_rows(source.id, source.subset, source.split, source.revision)
            if isinstance(source, HubSource)
            else None
            for source in declared.sources
        ]
        known = [count for count in rows if count is not None]
        if name not in sizes and len(known) == len(rows):
            out[name] = sum(known)
    return out


def _require_named(given: Mapping[str, Any], known: list[str], option: str) -> None:
    """Raises: DataError if an option names what the recipe does not have."""
    for name in given:
        if name not in known:
            raise DataError(f"{option}: the study has no `{quoted(name)}`", f"it has {', '.join(known)}")


def _require_effect(study: Study, gpus: Gpus | None, options: Options) -> None:
    """Raises: DataError if an option is of GPUs in the plan of a CPU, or is a mean above the recipe's limit."""
    given = {
        "--mfu": None if options.use == TRAINING_USE else options.use,
        "--mbu": None if options.generation_use == GENERATION_USE else options.generation_use,
        "--price": options.price,
        "--tflops": options.tflops,
        "--bandwidth": options.terabytes,
    }
    of_gpus = [f"`{option} {value:g}`" for option, value in given.items() if value is not None]
    if gpus is None and of_gpus:
        raise DataError(
            f"{listed(of_gpus)}: the recipe trains on a CPU, and this is of GPUs", "`--gpus 8x80` names them"
        )
    generation, train = study.recipe.generation, study.recipe.train
    trained = [item for item in study.checkpoints() if item.train is not None]
    rows = [train.of(item.model, str(item.dataset), item.variant).sequence_length for item in trained]
    responses = [generation.of(item.model, benchmark).max_tokens for item, benchmark, _ in study.cells()]
    for option, value, where, limits in (
        ("--row-tokens", options.row_tokens, "train.sequence_length", rows),
        ("--response-tokens", options.response_tokens, "generation.max_tokens", responses),
    ):
        if value is not None and limits and value > max(limits):
            raise DataError(f"`{option} {value}`: `{where}` is {max(limits)}", f"at most `{option} {max(limits)}`")


def _gpus(recipe: Recipe, options: Options) -> Gpus | None:
    if options.gpus is not None:
        return parse_gpus(options.gpus, options.tflops, options.terabytes)
    if recipe.train.hardware == "cpu":
        return None
    return parse_gpus(f"{recipe.train.devices}x80", options.tflops, options.terabytes)


def _trainings(
    study: Study,
    gpus: Gpus | None,
    sizes: Mapping[str, Size],
    found: Mapping[str, Architecture | str],
    options: Options,
) -> list[TrainingPlan]:
    groups: dict[tuple[str, str, str], list[Checkpoint]] = {}
    for item in dict.fromkeys(item.last for item in study.checkpoints() if item.train is not None):
        groups.setdefault((item.model, str(item.dataset), item.variant), []).append(item)
    lengths = _lengths(study)
    return [
        _training(study, place, members, gpus, sizes, found[place[0]], lengths, options)
        for place, members in groups.items()
    ]


def _training(
    study: Study,
    place: tuple[str, str, str],
    members: list[Checkpoint],
    gpus: Gpus | None,
    sizes: Mapping[str, Size],
    model: Architecture | str,
    lengths: Mapping[tuple[str, str], float],
    options: Options,
) -> TrainingPlan:
    name, dataset, variant = place
    train = study.recipe.train.of(name, dataset, variant)
    config = _config(study, train, name)
    devices = train.devices if gpus is None else gpus.count
    shared = max(1, sharing(config))
    settings, notes = memory_settings(
        config, devices=devices, batch=train.global_batch_size, hardware=train.hardware, shared=shared
    )
    if gpus is not None and devices != train.devices:
        notes.append(f"the recipe has `train.devices: {train.devices}`; the plan counts {devices}")
    if not settings.divides:
        product = f"{settings.rows} x {devices}" + (f" / {shared}" if shared > 1 else "")
        notes.append(
            f"`train.global_batch_size: {train.global_batch_size}` is not a multiple of {product}: it is refused"
        )
    row_tokens, row_source = _row_tokens(train, lengths.get((name, dataset)), options)
    each = [_rows(study, item, sizes) for item in members]
    rows = None if None in each else max(count for count in each if count is not None)
    tokens = None if None in each else sum(count for count in each if count is not None) * train.epochs * row_tokens
    memory, hours, operations = None, None, None
    verdict = _Verdict(None)
    if isinstance(model, Architecture):
        memory = training_memory(model, settings, gpu=gpus is not None)
        if tokens is not None:
            operations = training_operations(
                model,
                tokens,
                row_tokens,
                checkpointing=settings.checkpointing,
                adapter=settings.adapter is not None,
            )
        if gpus is not None:
            verdict = _verdict(model, settings, memory, gpus.bytes)
            if operations is not None and gpus.tflops is not None:
                hours = gpu_hours(operations, gpus.tflops, options.use)
    return TrainingPlan(
        model=name,
        dataset=dataset,
        variant=variant,
        template=train.template,
        trainings=len(members),
        rows=rows,
        row_tokens=row_tokens,
        row_source=row_source,
        tokens=tokens,
        steps=None if rows is None else expected_steps(rows, train.global_batch_size, train.epochs),
        settings=settings,
        memory=memory,
        **vars(verdict),
        hours=hours,
        operations=operations,
        host=0 if memory is None else memory.host * (gpus.each if gpus is not None else 1),
        unknown=notes,
    )


def _config(study: Study, train: Train, model: str) -> dict[str, Any]:
    return axolotl_config(
        template=read_template(study.template_path(train.template)),
        train=train,
        tokens=study.recipe.models[model].special_tokens,
        base_model=model,
        revision=None,
        rows=SAMPLE_ROWS,
        work="training",
        seed=1,
    )


@dataclass(frozen=True)
class _Verdict:
    """The fields of `TrainingPlan` that say whether it fits, and what would."""

    fits: bool | None
    tight: bool = False
    fit: Fit | None = None
    roomy: Fit | None = None
    longest: int | None = None
    gpus_needed: int | None = None
    gpus_needed_bytes: int | None = None


def _verdict(model: Architecture, settings: Memory, memory: Parts, room: int) -> _Verdict:
    """Whether a training fits in `room` bytes of each GPU, and what would if it does not."""
    if settings.divides and memory.total <= room:
        return _Verdict(True, tight(memory.total, room))
    roomy = int(room * ROOMY)
    fit = fitting(model, settings, room)
    close = fit is not None and tight(fit.parts.total, room)
    count, needed = fewest_gpus(model, settings, room) or (None, None)
    return _Verdict(
        fits=False,
        fit=fit,
        roomy=fitting(model, settings, roomy) if close else None,
        longest=longest(model, settings, roomy) if memory.total > room else None,
        gpus_needed=count,
        gpus_needed_bytes=needed,
    )


def _rows(study: Study, item: Checkpoint, sizes: Mapping[str, Size]) -> int | None:
    """Rows of one training: of its queries if they are written, else of its set; a union has those of its members."""
    dataset, strategy = str(item.dataset), str(item.train)
    path = study.queries_path("train", dataset, strategy)
    if path.is_file() and study.lengths_path().is_file():
        return count_lines(path)
    declared, size = study.recipe.strategies[strategy], sizes.get(dataset)
    times = 1 if declared.union is None else len(declared.members)
    return None if size is None else size.problems * times


class _Row(BaseModel):
    """A row of `data/queries/lengths.json`, as far as it is read."""

    model_config = ConfigDict(strict=True)
    model: str
    dataset: str
    rows: int = 0
    median: float | None = None


class _Lengths(BaseModel):
    model_config = ConfigDict(strict=True)
    rows: list[_Row]


def _lengths(study: Study) -> dict[tuple[str, str], float]:
    """(model, dataset) -> tokens of a row, the median of each strategy averaged over its rows; {} if not counted."""
    path = study.lengths_path()
    try:
        found = _Lengths.model_validate(read_json(path)).rows if path.is_file() else []
    except (ValidationError, ItsError):
        return {}  # `query` replaces it
    sums: dict[tuple[str, str], tuple[float, int]] = {}
    for row in found:
        if row.median is not None and 0 < row.median < 1e9 and row.rows > 0:  # not a NaN
            total, rows = sums.get((row.model, row.dataset), (0.0, 0))
            sums[row.model, row.dataset] = (total + row.median * row.rows, rows + row.rows)
    return {pair: total / rows for pair, (total, rows) in sums.items()}


def _row_tokens(train: Train, counted: float | None, options: Options) -> tuple[float, str]:
    if options.row_tokens is not None:
        if options.row_tokens > train.sequence_length:
            return float(train.sequence_length), "train.sequence_length: less than the mean given"
        return float(options.row_tokens), "given"
    if counted is not None:
        return counted, "median of data/queries/lengths.json"
    return train.sequence_length / 2, "assumed: half of train.sequence_length; `--row-tokens` gives it"


def _costs(gpus: Gpus, trainings: list[TrainingPlan], serving: list[ServingPlan] | None, price: float | None) -> Costs:
    hours = None if serving is None else [each for item in serving for each in item.kind_hours.values()]
    return costs(
        [item.hours for item in trainings],
        hours,
        gpus=gpus.count,
        training_gpus=max((item.settings.devices for item in trainings), default=gpus.count),
        generation_gpus=max((item.split * item.replicas for item in serving or []), default=gpus.count),
        complete=not any(item.partly for item in serving or []),
        price=price,
    )


def _cpu_time(
    recipe: Recipe,
    counts: Counts,
    requests: Mapping[str, list[Requested]],
    found: Mapping[str, Architecture | str],
    trainings: list[TrainingPlan],
) -> CpuTime:
    """Minutes on this machine, each kind of request as `study_requests` counts it."""
    rates, share = repeated(measured_gflops)
    gflops, slowest, engine = max(rates), min(rates), recipe.engine.kind
    operations = [item.operations for item in trainings]
    known = [each for each in operations if each is not None]
    once = counts.trainings / max(1, counts.named_trainings)  # equal ones are trained once
    training = training_minutes(sum(known) * once, gflops) if len(known) == len(operations) else None

    def minutes(kind: str) -> float | None:
        total = 0.0
        for name, several in requests.items():
            model = found[name]
            for item in (each for each in several if each.kind == kind):
                if engine not in ("vllm", "transformers") or isinstance(model, str) or item.count.per_problem:
                    return None
                total += generation_minutes(model, item.tokens, gflops, engine)
        return total

    generation = minutes("responses")
    if generation is not None:  # equal trainings share their requests
        generation *= counts.requests.known / max(1, counts.responses.known)
    written = {kind: minutes(kind) for kind in ("personas", "solutions", "judge")}
    return CpuTime(gflops, slowest, share, training, **written, generation=generation)


def _disk(study: Study, found: Mapping[str, Architecture | str], trainings: list[TrainingPlan]) -> Disk:
    """The disk of what is known; a model without an architecture adds nothing."""
    checkpoints = states = 0
    rank = {(item.model, str(item.dataset), item.variant): item for item in trainings}
    for item in study.checkpoints():
        model = found[item.model]
        if item.train is None or not isinstance(model, Architecture):
            continue
        plan = rank[item.model, str(item.dataset), item.variant]
        adapter = plan.settings.adapter
        number = 4 if study.recipe.models[item.model].dtype == "float32" else 2
        size = model.parameters * number if adapter is None else adapter_parameters(model, adapter) * 4
        checkpoints += size
        train = study.recipe.train.of(item.model, str(item.dataset), item.variant)
        if train.save_every_steps is not None and item.saved_at == LAST:
            states = max(states, size + (optimizer_bytes(model, plan.settings) if adapter is None else 2 * size))
    models = sum(
        model.parameters * (4 if study.recipe.models[name].dtype == "float32" else 2)
        for name, model in found.items()
        if isinstance(model, Architecture)
    )
    unknown = [name for name, model in found.items() if not isinstance(model, Architecture)]
    trained = {item.model for item in study.checkpoints() if item.train is not None}
    return Disk(
        checkpoints=None if trained and trained <= set(unknown) else checkpoints,
        copies=COPIES,
        states=states,
        models=None if len(unknown) == len(found) else models,
        unknown=unknown,
    )
