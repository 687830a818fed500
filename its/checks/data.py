"""Checks of the rows that a recipe names: field expressions, and the benchmarks that are local files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from its.cards.denominator import denominator
from its.checks.filters import filtered
from its.checks.precision import adapter_faults
from its.checks.sizes import set_sizes
from its.checks.steps import step_faults
from its.curation.curate import StepCount, curate
from its.curation.thin import remedy, thin_steps
from its.errors import Fault, FaultsError, ItsError, SettingFault
from its.grading.grade import Grader
from its.recipe.document import Document
from its.recipe.presets import PRESETS
from its.recipe.schema import Benchmark, Dataset, HubSource, Recipe, TokensFilter
from its.sources.declared import mapping_faults
from its.study.problem_sets import as_text_note, compared_as_text, grading_tools, read_set
from its.study.study import checked_recipe
from its.types import Problem


@dataclass
class DataCheck:
    """What the rows of recipes are found to be.

    `denominators` are those of the benchmarks that were read and of which rules took rows out, by file of the recipe
    and name; `notes` are of filters that leave nearly nothing, and of references that answers are compared with as
    text; `sizes` are the numbers of problems of benchmarks that were read and curated, by file and name.
    """

    faults: list[Fault] = field(default_factory=list)
    denominators: dict[Path, dict[str, Any]] = field(default_factory=dict)
    notes: dict[Path, list[str]] = field(default_factory=dict)
    sizes: dict[Path, dict[str, int]] = field(default_factory=dict)


def data_checked(document: Document, project: Path, unwritten: Mapping[Path, str]) -> Recipe:
    """The recipe of a document that has passed every check of `its recipe check`; arguments as of `validate`.

    Raises:
        FaultsError: with every fault; of the rows only if the recipe itself has none.
    """
    recipe = checked_recipe(document, project, unwritten)
    if faults := check_data(project, [(document, recipe)]).faults:
        raise FaultsError(faults)
    return recipe


def check_data(project: Path, recipes: Sequence[tuple[Document, Recipe]]) -> DataCheck:
    """The faults of `fields`, of benchmarks in local files what stage `prepare` would refuse, and of datasets in local
    files the filters that leave nothing, of trainings of known size checkpoints without a step, and adapters that
    vLLM would not serve.

    Nothing is fetched: rows on the hub are checked by stage `prepare`, before any response is drawn, and so is what a
    tokenizer decides: behind a filter by tokens only rows that cannot be read are faults here.
    """
    out = DataCheck()
    for document, recipe in recipes:
        for section, sets in (("datasets", recipe.datasets), ("benchmarks", recipe.benchmarks)):
            for name, declared in sets.items():
                found = _set_checked(document, recipe, section, name, declared, project)
                out.faults += found.faults
                out.notes.setdefault(document.path, []).extend(found.notes)
                if found.size is not None:
                    out.sizes.setdefault(document.path, {})[name] = found.size
                if found.denominator is not None:
                    out.denominators.setdefault(document.path, {})[name] = found.denominator
        sizes = set_sizes(project, recipe, out.sizes.get(document.path))
        out.faults += step_faults(document, recipe, sizes, project)
        out.faults += adapter_faults(document, recipe, project)
    return out


def preset_notes(recipe: Recipe) -> list[str]:
    """What is known of published rows that were not read here: faults, for sets that tolerate none, and filters that
    leave nearly nothing of them."""
    out = []
    for section, sets in (("datasets", recipe.datasets), ("benchmarks", recipe.benchmarks)):
        for name, declared in sets.items():
            preset = PRESETS.get(declared.preset or "")
            if preset is None:
                continue
            known = f"{section}.{name}: known of the preset `{declared.preset}`"
            if preset.faulty and declared.tolerate is None:
                out.append(
                    f"{known}: {preset.faulty}; stage `prepare` stops at such rows and counts them:"
                    " `tolerate: {rows: N}` with that number sets them aside"
                )
            away = any(isinstance(part, HubSource) for part in declared.sources)
            out += [
                f"{known}: the filter `{step}` leaves none or nearly none of its rows: {remedy(f'filter {step}')}"
                for step in declared.filters
                if away and step in preset.emptied_by
            ]
    return out


@dataclass(frozen=True)
class _SetCheck:
    """What the rows of one set are found to be; see `DataCheck`."""

    faults: Sequence[Fault] = ()
    denominator: dict[str, Any] | None = None
    notes: Sequence[str] = ()
    size: int | None = None


def _set_checked(
    document: Document, recipe: Recipe, section: str, name: str, declared: Dataset | Benchmark, project: Path
) -> _SetCheck:
    found: Sequence[SettingFault] = mapping_faults(section, name, declared)
    notes: Sequence[str] = ()
    if not found and isinstance(declared, Dataset):
        left = filtered(recipe, name, declared, project)
        found, notes = left.faults, left.notes
    if found or any(isinstance(part, HubSource) for part in declared.sources) or not isinstance(declared, Benchmark):
        return _SetCheck([Fault(document.where(here), message, hint) for here, message, hint in found], notes=notes)
    rows = read_set(name, declared, recipe.seed, project)
    steps: Sequence[StepCount] = ()
    with Grader(recipe.grading.timeout_seconds, recipe.grading.workers) as grader:
        try:
            if any(isinstance(step, TokensFilter) for step in declared.filters):
                problems = [row for row in rows if isinstance(row, Problem)]
            else:
                curating = curate(rows, declared, {}, grading_tools(grader, _untold), name)
                problems = list(curating)
                steps = curating.result.steps
        except FaultsError as error:
            return _SetCheck(error.faults)
        except ItsError as error:
            return _SetCheck([Fault(document.where([section, name, "source"]), error.message, error.hint)])
    as_text = compared_as_text(problems, declared.answer)
    told = thin_steps(steps) + ([as_text_note(as_text)] if as_text else [])
    counted = denominator([asdict(step) for step in steps]) if steps else {}
    size = len(problems) if steps else None
    return _SetCheck(
        denominator=counted if counted.get("out") else None,
        notes=[f"{section}.{name}: {one}" for one in told],
        size=size,
    )


def _untold(model: str, text: str) -> int:
    raise AssertionError("a filter by tokens is not tried here")
