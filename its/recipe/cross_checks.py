"""Checks beyond the schema: names that must be declared, files that must exist, numbers that must fit each other.

They work on plain values, not on the validated model, so that a file with a misspelt key still gets all its other
faults. A value is of the type that the schema demands, None, or `its.recipe.values.REFUSED`, which `its.recipe.load`
puts in place of what the schema refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from its.recipe.axolotl import sharing
from its.recipe.axolotl_keys import key_faults
from its.recipe.context_checks import context_faults
from its.recipe.contrast_checks import contrast_faults, pool_faults
from its.recipe.design_checks import design_faults, laid_out
from its.recipe.filter_checks import contradicting_filters
from its.recipe.launcher import launch_fault, machines_fault, started_processes
from its.recipe.names import undeclared
from its.recipe.overlay_checks import overlay_faults
from its.recipe.presets import PRESETS
from its.recipe.replica_checks import replica_faults
from its.recipe.sampling_checks import extra_secrets, sampling_faults
from its.recipe.schema import BASE
from its.recipe.solution_checks import solution_faults, teacher_of
from its.recipe.source_checks import source_faults
from its.recipe.strategy_checks import strategy_faults
from its.recipe.template_checks import Templates, named_template_faults
from its.recipe.trainings import OVERLAYS, Training, overlays, trainings
from its.recipe.trust import code_faults
from its.recipe.values import REFUSED, Found, Location, dotted, list_at, table_at
from its.recipe.vote_checks import vote_faults
from its.secrets import secrets_in

UNSEEN_KEYS = ("size", "nfiles")
"""Keys that DVC 3.67 leaves out of the key of its run cache, at any depth (`dvc/stage/cache.py`)."""


def cross_check_faults(
    values: Mapping[str, Any], project: Path, unwritten: Mapping[Path, str] | None = None
) -> Iterator[Found]:
    """Every fault beyond the schema, as (location, message, hint).

    Args:
        unwritten: texts of templates that are not written yet, by their path.
    """
    for check in (_names, strategy_faults, _train):
        yield from check(values)
    yield from source_faults(values, project)
    yield from solution_faults(values, _maps)
    layout = laid_out(values)
    for of_design in (design_faults, overlay_faults, pool_faults, contrast_faults, vote_faults):
        yield from of_design(values, layout)
    for check in (sampling_faults, _engine, replica_faults, _unseen, _secrets):
        yield from check(values)
    yield from context_faults(values, project)
    unfit = [
        fault
        for here, table in [(("train",), table_at(values, "train")), *overlays(values)]
        for fault in key_faults(table_at(table, "axolotl"), (*here, "axolotl"))
    ]
    yield from unfit
    yield from _two_templates(values)
    named = {location for location, _, _ in unfit}  # what has to be taken out anyway needs no allowance
    yield from (fault for fault in code_faults(values) if fault[0] not in named)
    yield from named_template_faults(values, Templates(project, unwritten or {}))


def _two_templates(values: Mapping[str, Any]) -> Iterator[Found]:
    """A fault if training receives two chat templates, also where the recipe writes values or a date into one."""
    found = (fault for training in trainings(values) for fault in _template_settings(values, training))
    yield from dict.fromkeys(found)


def _template_settings(values: Mapping[str, Any], training: Training) -> Iterator[Found]:
    models = table_at(values, "models")
    for name in models:
        if name not in training.models:
            continue
        settings = table_at(training.values, "axolotl")
        keys = sorted(settings.keys() & {"chat_template", "chat_template_jinja"})
        declared = table_at(models, name)
        given = [
            field for field in ("chat_template", "template_kwargs", "date") if declared.get(field) not in (None, {})
        ]
        # What is written into a wheel's model is its own template then.
        kind = table_at(declared, "source").get("kind")
        wheel = given and declared.get("chat_template") is not None and kind in ("wheel", "wheels")
        for key in keys if given else ():
            if not (wheel and settings[key] == "tokenizer_default"):
                yield training.setting(key), f"`models.{name}.{given[0]}` sets it", "take one of them out"


def _names(values: Mapping[str, Any]) -> Iterator[Found]:
    design = table_at(values, "design")
    for key, registry, word in (
        ("models", "models", "model"),
        ("datasets", "datasets", "dataset"),
        ("benchmarks", "benchmarks", "benchmark"),
        ("train", "strategies", "strategy"),
        ("test", "strategies", "strategy"),
    ):
        declared, before = table_at(values, registry), set()
        for index, name in enumerate(list_at(design, key)):
            if name == BASE and registry == "strategies":
                also = ", and set `base: true`" if design.get("base") is False else ""
                wrong = f"`design.{key}.{index}`: `{BASE}` is the untrained model, which `design.base` evaluates"
                yield ("design", key, index), wrong, f"take it out of `{key}`{also}"
            elif values.get(registry) is not REFUSED:
                yield from undeclared(name, ("design", key, index), declared, word)
            if name in before and isinstance(name, str):
                yield ("design", key, index), f"`design.{key}` names `{name}` twice", "remove one"
            before.add(name)
    seeds = [seed for seed in list_at(design, "seeds") if seed is not REFUSED]
    if len(set(seeds)) < len(seeds):
        yield ("design", "seeds"), "`design.seeds` names a seed twice", "remove one"
    judge = table_at(table_at(values, "grading"), "judge")
    yield from undeclared(
        table_at(values, "writer").get("model"), ("writer", "model"), table_at(values, "models"), "model"
    )
    yield from undeclared(judge.get("model"), ("grading", "judge", "model"), table_at(values, "models"), "model")
    for name, dataset in table_at(values, "datasets").items():
        if name in table_at(values, "benchmarks"):
            yield ("benchmarks", name), f"`{name}` is a dataset and a benchmark", "files are named after it: rename one"
        for index, item in enumerate(list_at(table_at(dataset, "decontamination"), "against")):
            location = ("datasets", name, "decontamination", "against", index)
            yield from undeclared(item, location, table_at(values, "benchmarks"), "benchmark")
    for section in ("datasets", "benchmarks"):
        for name, entry in table_at(values, section).items():
            for index, step in enumerate(list_at(entry, "filters")):
                yield from _filter(step, (section, name, "filters", index), entry, values)
            yield from contradicting_filters(list_at(entry, "filters"), (section, name, "filters"))


def _filter(step: Any, here: Location, entry: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Found]:
    section, name = here[:2]
    if step == "answer_agrees" and not _maps(entry, "reference"):
        yield here, f"`{section}.{name}` filters by `answer_agrees` and maps no `reference`", "add it to `fields`"
    if not isinstance(step, Mapping):
        return
    if "model" in step:
        yield from undeclared(step["model"], (*here, "model"), table_at(values, "models"), "model")
    kind, least, most = step.get("name"), step.get("at_least"), step.get("at_most")
    if kind == "tokens":
        if least is None and most is None:
            yield here, "`tokens` has no `at_least` and no `at_most`: it keeps everything", "give one of them"
        if section == "benchmarks" and step.get("of") == "solution":
            yield (*here, "of"), "a benchmark is filtered by its problems alone, not by solutions", "`of: problem`"
    if kind == "column":
        ways = [way for way in ("keep", "drop") if step.get(way) is not None]
        ways += ["bounds"] if least is not None or most is not None else []
        if len(ways) != 1:
            wrong = f"has {' and '.join(f'`{way}`' for way in ways)}" if ways else "has no condition"
            yield here, f"the filter `column` {wrong}", "one of `keep`, `drop`, or `at_least` and `at_most`"
        if "{{" in str(step.get("of")):
            hint = "keep it under a name, `fields: {meta: {mine: '{{ ... }}'}}`, and filter by that: `of: mine`"
            yield (*here, "of"), "a filter names a column or a path, not an expression", hint
    numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in (least, most))
    if numbers and least > most:  # type: ignore[operator]
        yield (*here, "at_least"), f"`at_least` is {least}, above `at_most`, {most}", "swap them"


def _maps(entry: Mapping[str, Any], field: str) -> bool:
    """Whether the rows of a set have a field; those of a procedural source have all of them."""
    preset = entry.get("preset")
    if isinstance(preset, str) and preset in PRESETS:
        fields = PRESETS[preset].fields
        return getattr(fields, field) is not None or (field == "reference" and fields.choices is not None)
    declared = table_at(entry, "fields")
    return table_at(entry, "source").get("kind") == "procedural" or bool(
        declared.get(field) or (field == "reference" and declared.get("choices"))
    )


def _train(values: Mapping[str, Any]) -> Iterator[Found]:
    """Numbers of a training that do not fit each other, once for all trainings with the same fault."""
    found = (fault for training in trainings(values) for fault in _sizes(training))
    yield from dict.fromkeys(found)


def _sizes(training: Training) -> Iterator[Found]:
    train = training.values
    sizes = [train.get(key) for key in ("global_batch_size", "micro_batch_size", "devices")]
    if all(type(size) is int and size > 0 for size in sizes):
        whole, micro, devices = (int(str(size)) for size in sizes)
        shared = sharing(table_at(train, "axolotl"))
        if devices % shared:
            yield (
                training.place("devices"),
                f"`{training.named('devices')}` is `{devices}`: not a multiple of the {shared} that share a sequence",
                "fix `context_parallel_size` and `tensor_parallel_size` under `train.axolotl`",
            )
        elif whole % (least := micro * devices // shared):
            over = f" / {shared} that share a sequence" if shared > 1 else ""
            fields = ("global_batch_size", "micro_batch_size", "devices")
            yield (
                training.place(*fields),
                f"`{training.named(*fields)}` is `{whole}`: not a multiple of micro x devices{over} = {least}",
                f"for example {max(1, whole // least) * least}",
            )
    wanted = train.get("devices")
    if type(wanted) is int and wanted > 0:
        yield from _devices(training, wanted)


def _devices(training: Training, devices: int) -> Iterator[Found]:
    """A fault if the launcher starts more or fewer processes than there are devices."""
    train = training.values
    launcher, arguments = train.get("launcher"), list_at(train, "launcher_args")
    if not isinstance(launcher, str) or not all(isinstance(item, str) for item in arguments):
        return
    if fault := launch_fault(arguments):
        wrong, hint = fault
        yield training.place("launcher_args"), f"`{training.named('launcher_args')}` {wrong}", hint
    elif fault := machines_fault(launcher, arguments):
        wrong, hint = fault
        names = ("launcher_args", "launcher")
        yield training.place(*names), f"`{training.named(*names)}` {wrong}", hint
    found = started_processes(launcher, arguments)
    if found is not None and found != devices:
        setting = f"`launcher: {launcher}`{' with these `launcher_args`' if launcher != 'python' and arguments else ''}"
        option = "--num_processes" if launcher == "accelerate" else "--nproc_per_node"
        several = f"`launcher: torchrun` and `launcher_args: [{option}={devices}]`"
        fields = ("devices", "launcher", "launcher_args")
        yield (
            training.place(*fields),
            f"`{training.named(*fields)}` is `{devices}`: {setting} starts {found} process{'es' if found != 1 else ''}",
            f"`devices: {found}`, or {several if launcher == 'python' else f'`{option}={devices}`'}",
        )


def _engine(values: Mapping[str, Any]) -> Iterator[Found]:
    engine = table_at(values, "engine")
    if engine.get("kind") == "openai" and not engine.get("openai"):
        yield ("engine",), "`engine.kind` is `openai` and there is no `engine.openai`", "name its `servers`"
    openai = engine.get("openai")
    served = openai.get("served") if isinstance(openai, Mapping) else None
    sent = table_at(table_at(engine, "options"), "chat_template_kwargs")
    for name in table_at(values, "models") if engine.get("kind") == "openai" else ():
        own = table_at(table_at(table_at(values, "models"), name), "template_kwargs")
        for key in sorted(own.keys() & sent.keys()):
            if own[key] != sent[key]:
                yield (
                    ("models", name, "template_kwargs", key),
                    f"`models.{name}.template_kwargs.{key}` and `engine.options.chat_template_kwargs.{key}` differ",
                    "keep that of the model: it is also written into the template that is trained",
                )
    design = table_at(values, "design")
    writers = {str(table_at(values, "writer").get("model")), str(teacher_of(values))}
    known = writers | set(map(str, list_at(design, "models")))
    for name in served if isinstance(served, Mapping) else ():
        if str(name).split("-")[0] not in known:
            yield (
                ("engine", "openai", "served", name),
                f"`engine.openai.served` names `{name}`, which is not a model or checkpoint of the design",
                "for example `MODEL-base` or `MODEL-DATASET-STRATEGY-SEED`, with `-VARIANT` or `-1of3` behind it for a"
                " variant or an earlier checkpoint",
            )


def _unseen(values: Mapping[str, Any]) -> Iterator[Found]:
    """Keys that DVC's run cache does not see. `prepare`, which reads the sizes of sets, has no run cache."""
    waiting: list[tuple[Location, Any]] = [((), values)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, list):
            waiting += [((*where, index), item) for index, item in enumerate(value)]
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if key in UNSEEN_KEYS and item is not REFUSED:
                    wrong = "DVC's run cache does not see keys of that name, and would restore results of another value"
                    yield (*where, key), f"`{dotted((*where, key))}`: {wrong}", "choose another name"
                if len(where) != 1 or where[0] not in ("datasets", "benchmarks"):
                    waiting.append(((*where, key), item))


def _secrets(values: Mapping[str, Any]) -> Iterator[Found]:
    found: dict[Location, str] = {}
    for section, content in values.items():
        # Elsewhere names are chosen by the recipe (a dataset, a field of rows), and values are texts of problems.
        plain = content
        if section == "train" and isinstance(content, Mapping):
            plain = {key: item for key, item in content.items() if key not in OVERLAYS}
        found |= dict(secrets_in(plain, (section,), names=section in ("engine", "train")))
    for here, overlay in overlays(values):
        found |= dict(secrets_in({here[-1]: {}}, here[:-1], names=False)) | dict(secrets_in(overlay, here))
    for location, why in (found | dict(extra_secrets(values))).items():
        yield (
            location,
            f"`{dotted(location)}` {why}: recipes are committed, settings stored with responses",
            "leave it in the environment of the shell; `key_variable` names a server's",
        )
