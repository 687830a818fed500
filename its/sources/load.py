"""One door to all sources: a declared problem set -> its problems and what happened to them on the way."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from its.errors import DataError
from its.recipe.schema import Benchmark, Dataset, FilesSource, HubSource, ProceduralSource
from its.seeds import derive_seed
from its.sources.fields import map_problems
from its.sources.files import read_file_rows
from its.sources.hub import read_hub_rows, resolve_revision
from its.sources.procedural import arithmetic_problems
from its.types import Problem


@dataclass
class Prepared:
    """Problems and the count after each step, in order; `origin` says what the source really was."""

    problems: list[Problem]
    steps: list[dict[str, Any]] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)

    def count(self, step: str) -> None:
        """Note how many rows are left after a step."""
        self.steps.append({"step": step, "rows": len(self.problems)})


def prepare_problems(
    name: str, declared: Dataset | Benchmark, against: dict[str, Benchmark], seed: int, project: Path
) -> Prepared:
    """Load, filter, decontaminate and sample a problem set.

    Args:
        name: of the set; its seed is derived from it.
        declared: the recipe's entry.
        against: benchmarks whose problems must not stand in this dataset (exact match of the normalised text).
        seed: of the study.
        project: what local paths are relative to.

    Raises:
        FaultsError: rows that cannot be read or lack a field, all at once.
        DataError: if nothing is left, or fewer rows than the sample wants.
        MissingError: a file or the hub cannot be had.
    """
    origin: dict[str, Any] = declared.source.model_dump()
    required = ("reference",) if isinstance(declared, Benchmark) else ("solution",)
    prepared = Prepared(list(_load(name, declared, seed, project, required, origin)), origin=origin)
    prepared.count("loaded")
    if isinstance(declared, Dataset):
        for step in declared.filters:
            prepared.problems = [problem for problem in prepared.problems if _FILTERS[step](problem)]
            prepared.count(f"filter {step}")
        for benchmark_name, benchmark in against.items():
            known = {normalised(p.text) for p in _load(benchmark_name, benchmark, seed, project, ("reference",), {})}
            prepared.problems = [p for p in prepared.problems if normalised(p.text) not in known]
            prepared.count(f"not in {benchmark_name}")
    if declared.sample is not None:
        wanted = declared.sample
        if len(prepared.problems) < wanted.size:
            raise DataError(
                f"`{name}` has {len(prepared.problems)} problems after its filters; `sample.size` is {wanted.size}",
                "ask for fewer or loosen the filters",
            )
        # Ranked by a hash of (seed, id): nested by construction, whatever the source's order.
        ranked = sorted(
            prepared.problems, key=lambda p: hashlib.sha256(f"{wanted.seed}\x1f{p.problem_id}".encode()).digest()
        )
        kept = {problem.problem_id for problem in ranked[: wanted.size]}
        prepared.problems = [problem for problem in prepared.problems if problem.problem_id in kept]
        prepared.count(f"sample {wanted.size}")
    if not prepared.problems:
        raise DataError(f"`{name}` has no problem left", f"its steps: {prepared.steps}")
    return prepared


def normalised(text: str) -> str:
    """Text for comparison: case and white space folded."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def _load(
    name: str,
    declared: Dataset | Benchmark,
    seed: int,
    project: Path,
    required: tuple[str, ...],
    origin: dict[str, Any],
) -> Iterator[Problem]:
    source = declared.source
    if isinstance(source, ProceduralSource):
        yield from arithmetic_problems(
            size=source.size,
            seed=derive_seed(seed, "problems", name),
            split=source.split,
            steps=(source.steps[0], source.steps[1]),
            templates=source.templates,
        )
        return
    fields = declared.fields.model_dump() if declared.fields else {"problem": "problem"}
    if isinstance(source, FilesSource):
        with (project / source.path).open("rb") as raw:
            origin["sha256"] = hashlib.file_digest(raw, "sha256").hexdigest()
        yield from map_problems(read_file_rows(project / source.path), fields, source.path, required)
    elif isinstance(source, HubSource):
        origin["revision"] = resolve_revision(source.id, source.revision)
        rows = read_hub_rows(source.id, source.subset, source.split, origin["revision"])
        yield from map_problems(rows, fields, f"hub:{source.id}", required)


_FILTERS = {
    "has_box": lambda problem: "boxed{" in (problem.solution or ""),
    "has_final_answer": lambda problem: "final answer" in (problem.solution or "").lower(),
}
