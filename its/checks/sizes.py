"""How many problems the sets of a recipe have, as far as that is known before they are prepared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from its.cards.shape import checked_card
from its.errors import ItsError
from its.recipe.schema import Benchmark, Dataset, ProceduralSource, Recipe
from its.rows import read_json
from its.study.counts import Size
from its.study.study import Study


def set_sizes(project: Path, recipe: Recipe, read: Mapping[str, int] | None = None) -> dict[str, Size]:
    """The sizes that are known: of prepared sets, of samples, of generated problems.

    Args:
        read: what was found of sets that were read just now.
    """
    study, known = Study(project, recipe), {name: Size(count) for name, count in (read or {}).items()}
    out: dict[str, Size] = {}
    for name in (*recipe.design.datasets, *recipe.design.benchmarks):
        declared = recipe.datasets.get(name) or recipe.benchmarks[name]
        found = _prepared(study, name, declared) or known.get(name) or _declared(declared)
        if found is not None:
            out[name] = found
    return out


def _prepared(study: Study, name: str, declared: Dataset | Benchmark) -> Size | None:
    """The size on the card of a set that was prepared as the recipe declares it.

    A card of another recipe, whose set has the same name, says nothing; nor does one that cannot be read, which
    `prepare` will replace.
    """
    against = declared.decontamination.against if isinstance(declared, Dataset) and declared.decontamination else []
    sizes = [_card_rows(study, item, study.recipe.benchmarks[item]) for item in against if _carded(study, item)]
    rows = _card_rows(study, name, declared)
    return None if rows is None or None in sizes else Size(rows)


def _carded(study: Study, name: str) -> bool:
    return study.card_path(name).is_file()


def _card_rows(study: Study, name: str, declared: Dataset | Benchmark) -> int | None:
    path = study.card_path(name)
    if not path.is_file() or not study.problems_path(name).is_file():
        return None
    try:
        card = checked_card(read_json(path), str(path))
    except ItsError:
        return None
    own = json.loads(json.dumps(declared.model_dump(exclude_none=True, exclude={"licence"})))
    prepared = {key: value for key, value in card["declared"].items() if key != "licence"}
    same = prepared == own and card["seed"] == study.recipe.seed
    return int(card["rows"]) if same else None


def _declared(declared: Dataset | Benchmark) -> Size | None:
    """The size that the declaration itself fixes: that of a sample, or of what is generated and not filtered."""
    if declared.sample is not None:
        return Size(declared.sample.size)  # `prepare` stops if there are fewer
    made = [source for source in declared.sources if isinstance(source, ProceduralSource)]
    if len(made) != len(declared.sources):
        return None
    cleaned = declared.decontamination if isinstance(declared, Dataset) else None
    taken_out = bool(declared.filters or declared.duplicates or declared.split)
    return Size(sum(source.size for source in made), taken_out or (cleaned is not None and cleaned.action == "drop"))
