"""Whether the rows that a recipe names can be what it says: field expressions, and every reference within reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from its.curation.duplicates import Repeats
from its.errors import Fault, FaultsError, ItsError
from its.grading.grade import Grader
from its.grading.references import reference_faults, references_agree
from its.recipe.document import Document
from its.recipe.schema import Benchmark, Dataset, HubSource, Recipe
from its.sources.declared import mapping_faults, required_fields
from its.sources.load import load_problems
from its.stages.study import checked_recipe


def data_checked(document: Document, project: Path, unwritten: Mapping[Path, str]) -> Recipe:
    """The recipe of a document that has passed every check of `its recipe check`; arguments as of `validate`.

    Raises:
        FaultsError: with every fault; of the rows only if the recipe itself has none.
    """
    recipe = checked_recipe(document, project, unwritten)
    faults = data_faults(project, [(document, recipe)])
    if faults:
        raise FaultsError(faults)
    return recipe


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
    found = mapping_faults(section, name, declared)
    yield from (Fault(document.where(here), message, hint) for here, message, hint in found)
    if found or any(isinstance(part, HubSource) for part in declared.sources) or not isinstance(declared, Benchmark):
        return
    required = required_fields(declared)
    rows = load_problems(name, declared, seed=recipe.seed, project=project, required=required, origin={}, rejected=[])
    places: list[tuple[str, str | None]] = []
    answer, grading = declared.answer, recipe.grading
    grader = Grader(grading.timeout_seconds, grading.workers)
    repeats = Repeats(lambda one, other: references_agree(one, other, answer, grader))
    try:
        for problem in rows:
            places.append((problem.row or f"`{name}/{problem.problem_id}`", problem.reference))
            repeats.add(places[-1][0], problem)
    except FaultsError as error:  # raised behind the last good row: their references are looked at all the same
        yield from error.faults
    except ItsError as error:
        yield Fault(document.where([section, name, "source"]), error.message, error.hint)
        return
    finally:
        grader.close()
    if declared.split is None:  # the rows of the other side may be what they like
        yield from repeats.faults(name, declared.duplicates is not None)
    yield from reference_faults(places, answer, grading.timeout_seconds, grading.workers)
