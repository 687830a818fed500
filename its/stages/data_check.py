"""Whether the rows that a recipe names can be what it says: field expressions, and every reference within reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from its.errors import Fault, FaultsError, ItsError
from its.grading.references import reference_faults
from its.recipe.load import Document
from its.recipe.schema import Benchmark, Dataset, HubSource, ProceduralSource, Recipe
from its.sources.fields import field_faults
from its.sources.load import declared_fields, load_problems


def data_faults(project: Path, recipes: Sequence[tuple[Document, Recipe]]) -> list[Fault]:
    """The faults of `fields`, of rows in local files, and of references that no answer could be graded against.

    Nothing is fetched: rows on the hub are checked by stage `prepare`, before any response is drawn.
    """
    return [
        fault
        for document, recipe in recipes
        for section, sets in (("datasets", recipe.datasets), ("benchmarks", recipe.benchmarks))
        for name, declared in sets.items()
        for fault in _faults(document, recipe, section, name, declared, project)
    ]


def _faults(
    document: Document, recipe: Recipe, section: str, name: str, declared: Dataset | Benchmark, project: Path
) -> Iterator[Fault]:
    required = ("reference",) if isinstance(declared, Benchmark) else ("solution",)
    if not isinstance(declared.source, ProceduralSource):
        found = field_faults(declared_fields(declared), required)
        for field, fault in found:
            here = [section, name, *(["fields", *field.split(".")] if declared.fields else ["preset"])]
            dotted = ".".join(here)
            yield Fault(document.where(here), f"`{dotted}`: {fault.message}", fault.hint)
        if found:
            return
    if isinstance(declared.source, HubSource) or not isinstance(declared, Benchmark):
        return
    rows = load_problems(name, declared, seed=recipe.seed, project=project, required=required, origin={}, rejected=[])
    places: list[tuple[str, str | None]] = []
    try:
        for problem in rows:
            places.append((problem.row or f"`{name}/{problem.problem_id}`", problem.reference))
    except FaultsError as error:  # raised behind the last good row: their references are looked at all the same
        yield from error.faults
    except ItsError as error:
        yield Fault(document.where([section, name, "source"]), error.message, error.hint)
        return
    yield from reference_faults(places, declared.answer, recipe.grading.timeout_seconds, recipe.grading.workers)
