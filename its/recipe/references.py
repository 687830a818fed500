"""What a recipe refers to: names within it, templates and files beside it, numbers that must fit each other.

Works on plain values, not on the validated model, so that a file with a misspelt key still gets all its other faults.
What is there has the type that the schema says, is None, or is `its.recipe.plain.REFUSED`, which `its.recipe.load`
puts in place of what the schema refuses.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from its.data_files import PATH_HINT, ending_of, named_files
from its.errors import ItsError, did_you_mean, nearest
from its.files import file_sha256, open_regular
from its.foreign_files import START_BYTES, foreign_start
from its.recipe.axolotl import sharing
from its.recipe.axolotl_keys import key_faults
from its.recipe.launcher import started_processes
from its.recipe.parts import parts_of
from its.recipe.plain import REFUSED, Found, Location
from its.recipe.presets import PRESETS
from its.recipe.scalars import quoted
from its.recipe.templates import DERIVED, Templates, template_reference_faults
from its.recipe.trust import code_faults
from its.secrets import secrets_in

MAX_CHECKPOINTS = 10_000
"""Trained in one study; lists of a thousand names each would fill the memory with their product."""
MAX_MADE = 200_000
"""Rows of all procedural sources; `its recipe check` makes those of benchmarks, 25,000 in a second."""
LISTED = 100
"""Declared names that a hint lists."""
MAX_PARTS = 1_000
"""Of one source, each subset counted."""


def reference_faults(
    values: Mapping[str, Any], project: Path, unwritten: Mapping[Path, str] | None = None
) -> Iterator[Found]:
    """Every fault beyond the schema, as (location, message, hint).

    Args:
        unwritten: texts of templates that are not written yet, by their path.
    """
    for check in (_names, _strategies, _train, _sources, _numbers, _engine, _secrets):
        yield from check(values, project)
    unfit = list(key_faults(_section(_section(values, "train"), "axolotl"), ("train", "axolotl")))
    yield from unfit
    yield from _two_templates(values)
    told = {location for location, _, _ in unfit}  # what is not to be there at all needs no allowance
    yield from (fault for fault in code_faults(values, project) if fault[0] not in told)
    yield from template_reference_faults(values, Templates(project, unwritten or {}))


def _two_templates(values: Mapping[str, Any]) -> Iterator[Found]:
    """A fault where training is told two chat templates; that of a wheel's model is written into the model."""
    settings = _section(_section(values, "train"), "axolotl")
    models = _section(values, "models")
    for name in models:
        declared = _section(models, name)
        if declared.get("chat_template") is not None and _section(declared, "source").get("kind") != "wheel":
            for key in settings.keys() & {"chat_template", "chat_template_jinja"}:
                yield ("train", "axolotl", key), f"`models.{name}.chat_template` says it", "take one of them out"


def _section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = values.get(name)
    return {str(key): value for key, value in section.items()} if isinstance(section, Mapping) else {}


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    found = values.get(name)
    return found if isinstance(found, list) else []


def _known(name: Any, location: Location, registry: Mapping[str, Any], word: str) -> Iterator[Found]:
    if isinstance(name, str) and name not in registry:
        listed = list(islice(registry, LISTED))  # whoever declares more is not searched: it would take seconds
        known = ", ".join(f"`{item}`" for item in listed) or "none"
        known += f" and {len(registry) - LISTED} more" if len(registry) > LISTED else ""
        hint = did_you_mean(nearest(name, listed), f"declared: {known}")
        yield location, f"`{'.'.join(map(str, location))}`: {word} `{name}` is not declared", hint


def _names(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    design = _section(values, "design")
    for key, registry, word in (
        ("models", "models", "model"),
        ("datasets", "datasets", "dataset"),
        ("benchmarks", "benchmarks", "benchmark"),
        ("train", "strategies", "strategy"),
        ("test", "strategies", "strategy"),
    ):
        declared, before = _section(values, registry), set()
        for index, name in enumerate(_list(design, key)):
            if values.get(registry) is not REFUSED:
                yield from _known(name, ("design", key, index), declared, word)
            if name in before and isinstance(name, str):
                yield ("design", key, index), f"`design.{key}` names `{name}` twice", "remove one"
            before.add(name)
    if "base" in _section(values, "strategies"):
        yield ("strategies", "base"), "`base` is what tables call the untrained model", "give the strategy another name"
    seeds = [seed for seed in _list(design, "seeds") if seed is not REFUSED]
    if len(set(seeds)) < len(seeds):
        yield ("design", "seeds"), "`design.seeds` names a seed twice", "remove one"
    judge = _section(_section(values, "grading"), "judge")
    yield from _known(_section(values, "writer").get("model"), ("writer", "model"), _section(values, "models"), "model")
    yield from _known(judge.get("model"), ("grading", "judge", "model"), _section(values, "models"), "model")
    for name, dataset in _section(values, "datasets").items():
        if name in _section(values, "benchmarks"):
            yield ("benchmarks", name), f"`{name}` is a dataset and a benchmark", "files are named by it: rename one"
        decontamination = _section(dataset, "decontamination") if isinstance(dataset, Mapping) else {}
        for index, item in enumerate(_list(decontamination, "against")):
            location = ("datasets", name, "decontamination", "against", index)
            yield from _known(item, location, _section(values, "benchmarks"), "benchmark")
    for section in ("datasets", "benchmarks"):
        for name, entry in _section(values, section).items():
            for index, step in enumerate(_list(entry, "filters") if isinstance(entry, Mapping) else ()):
                yield from _filter(step, (section, name, "filters", index), entry, values)


def _filter(step: Any, here: Location, entry: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Found]:
    section, name = here[:2]
    if step == "answer_agrees" and not _maps(entry, "reference"):
        yield here, f"`{section}.{name}` filters by `answer_agrees` and maps no `reference`", "add it to `fields`"
    if not isinstance(step, Mapping):
        return
    if "model" in step:
        yield from _known(step["model"], (*here, "model"), _section(values, "models"), "model")
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
            said = f"has {' and '.join(f'`{way}`' for way in ways)}" if ways else "says nothing of what it keeps"
            yield here, f"the filter `column` {said}", "one of `keep`, `drop`, or `at_least` and `at_most`"
        if "{{" in str(step.get("of")):
            hint = "keep it under a name, `fields: {meta: {mine: '{{ ... }}'}}`, and filter by that: `of: mine`"
            yield (*here, "of"), "a filter names a column or a path, and no expression", hint
    numbers = all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in (least, most))
    if numbers and least > most:  # type: ignore[operator]
        yield (*here, "at_least"), f"`at_least` is {least}, above `at_most`, {most}", "swap them"


def _maps(entry: Mapping[str, Any], field: str) -> bool:
    """Whether the rows of a set get a field; the procedural source gives all of them."""
    preset = entry.get("preset")
    if isinstance(preset, str) and preset in PRESETS:
        fields = PRESETS[preset].fields
        return getattr(fields, field) is not None or (field == "reference" and fields.choices is not None)
    declared = _section(entry, "fields")
    return _section(entry, "source").get("kind") == "procedural" or bool(
        declared.get(field) or (field == "reference" and declared.get("choices"))
    )


def _strategies(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    strategies = _section(values, "strategies")
    bases = {name: _basis(strategy) for name, strategy in strategies.items()}
    for name, strategy in strategies.items():
        if not isinstance(strategy, Mapping):
            continue
        here = ("strategies", name)
        yield from _derived(name, strategy, strategies, bases)
        persona = strategy.get("persona")
        if not isinstance(persona, Mapping):
            continue
        if strategy.get("domains"):
            for index, example in enumerate(_list(persona, "examples")):
                if isinstance(example, Mapping) and not example.get("domain"):
                    location = (*here, "persona", "examples", index)
                    yield location, f"`{'.'.join(map(str, location))}` needs a `domain`", "the strategy draws domains"
        sampling = _section(_section(values, "writer"), "sampling")
        if type(persona.get("count")) is int and sampling.get("temperature") == 0 and not strategy.get("domains"):
            yield (
                (*here, "persona", "count"),
                f"`strategies.{name}` asks for {persona['count']} personas at temperature 0: all the same",
                "a temperature above 0, or `domains`",
            )
        limits = strategy.get("limits")
        if not limits:
            yield (
                here,
                f"`strategies.{name}` writes personas but has no `limits`",
                "add `limits: {max_words: 40, checks: [empty, overlong]}`",
            )
        elif isinstance(limits, Mapping):
            for check, field in (("brief", "min_words"), ("language", "language")):
                if check in _list(limits, "checks") and limits.get(field) is None:
                    yield (
                        (*here, "limits"),
                        f"`strategies.{name}.limits` checks `{check}` and has no `{field}`",
                        f"add `{field}:`, or take `{check}` out of `checks`",
                    )


def _derived(
    name: str, strategy: Mapping[str, Any], strategies: Mapping[str, Any], bases: Mapping[str, str]
) -> Iterator[Found]:
    """Faults of what a strategy stands on: one way to a persona, another strategy that is declared, no circle.

    Args:
        bases: by strategy, the one on which it stands; empty if on none.
    """
    here = ("strategies", name)
    ways = [key for key in ("persona", *DERIVED) if strategy.get(key) is not None]
    if len(ways) > 1:
        yield here, f"`strategies.{name}` has {' and '.join(f'`{way}`' for way in ways)}", "keep one of them"
        return
    for key, field in DERIVED.items():
        other = _section(strategy, key).get(field)
        location = (*here, key, field)
        yield from _known(other, location, strategies, "strategy")
        if not isinstance(other, str) or other not in strategies:
            continue
        source = strategies[other]
        if isinstance(source, Mapping) and not any(source.get(way) for way in ("persona", *DERIVED)):
            yield location, f"`strategies.{name}`: `{other}` has no personas", "name a strategy that has some"
        path, step = {name: None}, other
        while step and step not in path:
            path[step] = None
            step = bases.get(step, "")
        if step == name:
            yield location, f"`strategies.{name}` stands on itself: {' -> '.join([*path, name])}", "break the circle"


def _basis(strategy: Any) -> str:
    """The strategy on which another one stands; empty if on none."""
    found = (
        [_section(strategy, key).get(field) for key, field in DERIVED.items()] if isinstance(strategy, Mapping) else []
    )
    return next((item for item in found if isinstance(item, str)), "")


def _train(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    train = _section(values, "train")
    sizes = [train.get(key) for key in ("global_batch_size", "micro_batch_size", "devices")]
    if all(type(size) is int and size > 0 for size in sizes):
        whole, micro, devices = (int(str(size)) for size in sizes)
        shared = sharing(_section(train, "axolotl"))
        if devices % shared:
            yield (
                ("train", "devices"),
                f"`train.devices` is `{devices}`: not a multiple of the {shared} that share a sequence",
                "mend `context_parallel_size` and `tensor_parallel_size` under `train.axolotl`",
            )
        elif whole % (least := micro * devices // shared):
            over = f" / {shared} that share a sequence" if shared > 1 else ""
            yield (
                ("train", "global_batch_size"),
                f"`train.global_batch_size` is `{whole}`: not a multiple of micro x devices{over} = {least}",
                f"for example {max(1, whole // least) * least}",
            )
    wanted = train.get("devices")
    if type(wanted) is int and wanted > 0:
        yield from _devices(train, wanted)


def _devices(train: Mapping[str, Any], devices: int) -> Iterator[Found]:
    """A fault if the launcher starts another number of processes than there are devices."""
    launcher, arguments = train.get("launcher"), _list(train, "launcher_args")
    if not isinstance(launcher, str) or not all(isinstance(item, str) for item in arguments):
        return
    found = started_processes(launcher, arguments)
    if found is not None and found != devices:
        told = f"`launcher: {launcher}`{' with these `launcher_args`' if launcher != 'python' and arguments else ''}"
        option = "--num_processes" if launcher == "accelerate" else "--nproc_per_node"
        several = f"`launcher: torchrun` and `launcher_args: [{option}={devices}]`"
        yield (
            ("train", "devices"),
            f"`train.devices` is `{devices}`: {told} starts {found} process{'es' if found != 1 else ''}",
            f"`devices: {found}`, or {several if launcher == 'python' else f'`{option}={devices}`'}",
        )


def _sources(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    made = 0
    for section in ("datasets", "benchmarks"):
        for name, entry in _section(values, section).items():
            source = entry.get("source") if isinstance(entry, Mapping) else None
            if not isinstance(source, Mapping | list):
                continue
            here = (section, name, "source")
            if isinstance(source, Mapping) and source.get("kind") == "procedural":
                yield from _procedural(source, here)
                size = source.get("size")
                made += size if type(size) is int else 0
                if made > MAX_MADE:
                    yield (*here, "size"), f"the study has {made} rows of procedural sources", f"at most {MAX_MADE}"
                for key in ("preset", "fields"):
                    if entry.get(key) is not None:
                        yield (
                            (section, name, key),
                            f"`{section}.{name}` is made here: no rows to map",
                            f"remove `{key}`",
                        )
                continue
            if isinstance(source, list) or source.get("kind") in ("files", "hub"):
                yield from _mapping(entry, (section, name))
            yield from _parts(source, here, project)
    for name, model in _section(values, "models").items():
        if isinstance(model, Mapping):
            yield from _hub(_section(model, "source"), ("models", name, "source"), project)


def _parts(source: Any, here: Location, project: Path) -> Iterator[Found]:
    """Faults of each part of a source, of two that are called alike, and of a file that several of them read."""
    called: dict[str, str] = {}
    read: dict[str, str] = {}
    several = parts_of(source)
    if len(several) > MAX_PARTS:
        yield here, f"`{'.'.join(map(str, here))}` has {len(several)} parts", f"at most {MAX_PARTS}"
        return
    for part in several:
        at = (*here, *part.at)
        place = ".".join(map(str, at))
        hub = [part.entry.get(key) for key in ("id", "subset", "split", "revision")]
        if part.entry.get("kind") == "hub" and (first := read.setdefault(repr(hub), place)) != place:
            yield at, f"`{place}` reads what `{first}` reads: its rows would come twice", "keep one of them"
        elif part.name and _is_named(part.entry) and (first := called.setdefault(part.name, place)) != place:
            own = f"give one of them a name of its own: `name: {part.name[:50]}_2`"
            yield at, f"`{place}` is called `{part.name}`, as `{first}` is: problems are named by their part", own
        if "subset" not in part.at or part.at[-1] == 0:
            yield from _hub(part.entry, (*here, *part.at[:1]) if isinstance(source, list) else here, project)
        if part.entry.get("kind") == "files" and isinstance(part.entry.get("path"), str):
            yield from _files(part.entry, at, project, read)


def _is_named(entry: Mapping[str, Any]) -> bool:
    """Whether the schema left that by which a part is called."""
    return isinstance(entry.get("path"), str) or isinstance(entry.get("id"), str)


def _hub(source: Mapping[str, Any], here: Location, project: Path) -> Iterator[Found]:
    """A fault if the libraries that load `id` would find a folder of that name before they ask the hub."""
    name = source.get("id")
    if isinstance(name, str) and os.path.lexists(project / name):
        yield (*here, "id"), f"`{name}` is a path of this project, which would be loaded in its place", "rename it"


def _mapping(entry: Mapping[str, Any], here: tuple[str, str]) -> Iterator[Found]:
    """Faults of `preset`, `fields` and what leans on them."""
    dotted, preset, fields = ".".join(here), entry.get("preset"), entry.get("fields")
    if preset is None and not fields:
        yield (
            here,
            f"`{dotted}` has no `fields` and no `preset`",
            f"say where rows keep the problem: `fields: {{problem: question}}`; presets: {', '.join(PRESETS)}",
        )
    elif preset is not None and fields:
        yield here, f"`{dotted}` has a `preset` and `fields`", "keep one; `its recipe fields` shows what they hold"
    elif isinstance(preset, str) and preset not in PRESETS:
        hint = did_you_mean(nearest(preset, PRESETS), f"known: {', '.join(PRESETS)}")
        yield (*here, "preset"), f"`{dotted}.preset`: `{preset}` is no preset", hint
    stratum = _section(entry, "sample").get("stratify_by")
    kept = set(_section(fields, "meta")) if isinstance(fields, Mapping) else set()
    if "overlaps" in kept:
        yield (*here, "fields", "meta", "overlaps"), "`overlaps` is what decontamination writes", "take another name"
    if isinstance(preset, str) and preset in PRESETS:
        kept |= set(PRESETS[preset].fields.meta)
    kept |= {str(step.get("of")) for step in _list(entry, "filters") if isinstance(step, Mapping)}
    if isinstance(stratum, str) and stratum not in kept | {"source"}:
        yield (
            (*here, "sample", "stratify_by"),
            f"`{dotted}.sample.stratify_by` is `{stratum}`, which `fields.meta` does not keep",
            f"keep it: `meta: {{{stratum}: {stratum}}}`, or `source`",
        )


def _procedural(source: Mapping[str, Any], here: tuple[str | int, ...]) -> Iterator[Found]:
    steps = source.get("steps")
    whole = isinstance(steps, list) and len(steps) == 2 and all(type(step) is int for step in steps)
    if isinstance(steps, list) and whole and not 2 <= steps[0] <= steps[1] <= 4:
        yield (
            (*here, "steps"),
            f"`steps` is `{steps}`: wanted fewest and most, within 2 to 4",
            "for example `[2, 4]`",
        )


def _files(source: Mapping[str, Any], here: Location, project: Path, read: dict[str, str]) -> Iterator[Found]:
    """Faults of the files that a path names.

    Args:
        read: by real path, where the recipe names a file; those of this path are added.
    """
    location, path = (*here, "path"), source["path"]
    try:
        files = named_files(project, path, quoted)
        for name in files.names:
            label = quoted(name) if files.tells else f"a file of {quoted(path)}"
            with open_regular(project / name, label, PATH_HINT) as opened:
                start = opened.read(START_BYTES)
            ending_of(name if files.tells else f"{path}{PurePosixPath(name).suffix}", quoted)
            if found := foreign_start(start, name):
                yield location, f"{label}: {found[0]}", found[1] if files.tells else None
                return
    except ItsError as error:
        yield location, error.message, error.hint
        return
    real = {os.path.realpath(project / name): name for name in files.names}
    for file, name in real.items():
        first = read.setdefault(file, ".".join(map(str, location)))
        if first != ".".join(map(str, location)):
            yield (
                location,
                f"{quoted(name)} is read by `{first}` already: its rows would come twice",
                "keep one of them",
            )
            return
    watched = os.path.realpath(project / "data" / "sources")
    outside = [name for file, name in real.items() if not Path(file).is_relative_to(watched)]
    pinned = source.get("sha256")
    if not outside and not pinned:
        return
    digest = files.pin([file_sha256(project / name) for name in files.names])
    if not pinned:
        what = f"{quoted(outside[0])} of {quoted(path)}" if files.base is not None and files.tells else quoted(path)
        yield location, f"{what} is outside `data/sources/` and has no `sha256`", f"add `sha256: {digest}`"
    elif isinstance(pinned, str) and pinned != digest:
        yield (
            (*here, "sha256"),
            f"{quoted(path)} has changed: its sha256 is `{digest}`",
            "pin the new one if you mean it",
        )


def _numbers(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    design = _section(values, "design")
    checkpoints = math.prod(len(_list(design, key)) for key in ("models", "datasets", "train", "seeds"))
    if checkpoints > MAX_CHECKPOINTS:
        yield (
            ("design",),
            f"`design` has {checkpoints} checkpoints to train: models x datasets x train strategies x seeds",
            f"at most {MAX_CHECKPOINTS}; each takes minutes to hours",
        )
    generation = _section(values, "generation")
    n = generation.get("n")
    if type(n) is int:
        for metric in ("maj", "pass", "all"):
            for index, k in enumerate(_list(_section(values, "measure"), f"{metric}_k")):
                if type(k) is int and k > n:
                    yield (
                        ("measure", f"{metric}_k", index),
                        f"{metric}@{k} needs at least {k} responses per problem; `generation.n` is {n}",
                        f"set `generation.n: {k}`, or ask for k <= {n}",
                    )
        if n > 1 and generation.get("temperature") == 0:
            yield (
                ("generation", "n"),
                f"`generation.n` is {n} at temperature 0: the same response {n} times",
                "set `n: 1`, or a temperature above 0",
            )
    for name in _list(_section(values, "design"), "models"):
        model = _section(values, "models").get(str(name))
        length = model.get("context_length") if isinstance(model, Mapping) else None
        tokens = generation.get("max_tokens")
        if type(length) is int and type(tokens) is int and tokens >= length:
            yield (
                ("generation", "max_tokens"),
                f"`generation.max_tokens` is {tokens}: `{name}` has a context of {length}",
                "leave room for the prompt",
            )


def _engine(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    engine = _section(values, "engine")
    if engine.get("kind") == "openai" and not engine.get("openai"):
        yield ("engine",), "`engine.kind` is `openai` and there is no `engine.openai`", "name its `servers`"
    openai = engine.get("openai")
    served = openai.get("served") if isinstance(openai, Mapping) else None
    design = _section(values, "design")
    known = {str(_section(values, "writer").get("model")), *map(str, _list(design, "models"))}
    for name in served if isinstance(served, Mapping) else ():
        if str(name).split("-")[0] not in known:
            yield (
                ("engine", "openai", "served", name),
                f"`engine.openai.served` names `{name}`, which is no model or checkpoint of the design",
                "for example `MODEL-base` or `MODEL-DATASET-STRATEGY-SEED`",
            )


def _secrets(values: Mapping[str, Any], project: Path) -> Iterator[Found]:
    for section, content in values.items():
        # Elsewhere names are the recipe's own (a dataset, a field that rows have), and values are texts of problems.
        for location, why in secrets_in(content, (section,), names=section in ("engine", "train")):
            yield (
                location,
                f"`{'.'.join(map(str, location))}` {why}: recipes are committed, settings kept with responses",
                "leave it in the environment of the shell; a server's is named by `key_variable`",
            )
