"""Stage `prepare`: a declared source -> `data/problems/NAME.jsonl` and its card."""

from __future__ import annotations

import hashlib
from collections import Counter

from its.errors import DataError
from its.recipe.schema import Benchmark, Dataset
from its.rows import write_json, write_rows
from its.sources.load import prepare_problems
from its.stages.study import load_study

CARD_VERSION = 1


def run(name: str) -> str:
    """Prepare one dataset or benchmark; return a line that says what is there.

    Raises:
        DataError: if params.yaml declares no such set, or its rows are faulty.
    """
    study = load_study()
    recipe = study.recipe
    declared: Dataset | Benchmark | None = recipe.datasets.get(name) or recipe.benchmarks.get(name)
    if declared is None:
        known = ", ".join([*recipe.datasets, *recipe.benchmarks])
        raise DataError(f"params.yaml declares no dataset or benchmark `{name}`", f"declared: {known}")
    against = (
        {item: recipe.benchmarks[item] for item in declared.decontaminate_against}
        if isinstance(declared, Dataset)
        else {}
    )
    prepared = prepare_problems(name, declared, against, recipe.seed, study.project)
    path = study.problems_path(name)
    rows = write_rows(path, prepared.problems)
    card = {
        "card_version": CARD_VERSION,
        "name": name,
        "kind": "dataset" if isinstance(declared, Dataset) else "benchmark",
        "declared": declared.model_dump(),
        "origin": prepared.origin,
        "seed": recipe.seed,
        "steps": prepared.steps,
        "rows": rows,
        "with_reference": sum(problem.reference is not None for problem in prepared.problems),
        "with_solution": sum(problem.solution is not None for problem in prepared.problems),
        "sources": dict(Counter(problem.source for problem in prepared.problems).most_common()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "examples": [problem.model_dump(exclude_none=True) for problem in prepared.problems[:3]],
    }
    write_json(path.with_suffix(".card.json"), card)
    steps = ", ".join(f"{step['step']}: {step['rows']}" for step in prepared.steps)
    return f"{path.relative_to(study.project)}: {rows} problems ({steps})"
