"""Which cells vote together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from its.study.study import Cell, Study

Value = TypeVar("Value")


@dataclass(frozen=True)
class Vote:
    """Cells of one benchmark, at least two, in the order in which ties name their first answer.

    `ensemble` is the vote's name in the recipe, None for the vote of a model and dataset. `key` names it in
    `results/metrics.json`: no two votes of a benchmark share one.
    """

    name: str
    key: str
    ensemble: str | None
    cells: Sequence[Cell]

    @property
    def model(self) -> str | None:
        """The model of all members; None if they differ."""
        return _one([checkpoint.model for checkpoint, _, _ in self.cells])

    @property
    def dataset(self) -> str | None:
        """The dataset of all trained members; None if they differ or none is trained."""
        return _one([checkpoint.dataset for checkpoint, _, _ in self.cells if checkpoint.dataset is not None])

    @property
    def test(self) -> str | None:
        """The test strategy of all members; None if they differ."""
        return _one([test for _, _, test in self.cells])


def benchmark_votes(study: Study, benchmark: str) -> list[Vote]:
    """Every vote of a benchmark of the design: those of each model and dataset, then the named ones."""
    return [*_default(study, benchmark), *_named(study, benchmark)]


def _default(study: Study, benchmark: str) -> Iterator[Vote]:
    """The checkpoints of a model and dataset under each test strategy; none where only one would vote."""
    design = study.recipe.design
    everyone = study.recipe.vote.members == "all"
    only = len(design.models) * len(design.datasets) == 1
    for model in design.models:
        for dataset in design.datasets:
            members = [
                checkpoint
                for checkpoint in study.checkpoints()
                if checkpoint.model == model
                and (checkpoint.dataset == dataset or (everyone and checkpoint.dataset is None))
            ]
            if len(members) < 2:
                continue
            for test in design.test:
                whose, key = ("", test) if only else (f"{model}-{dataset}, ", f"{model}-{dataset}/{test}")
                cells = [(checkpoint, benchmark, test) for checkpoint in members]
                yield Vote(f"ensemble@{len(members)}, {whose}test {test}", key, None, cells)


def _named(study: Study, benchmark: str) -> Iterator[Vote]:
    """The votes of `vote.ensembles`; none for one whose members name other benchmarks."""
    known = {checkpoint.name: checkpoint for checkpoint in study.checkpoints()}
    for name, members in study.recipe.vote.ensembles.items():
        cells: list[Cell] = []
        for member in members:
            checkpoint, *only, test = member.split("/")
            if not only or only == [benchmark]:
                cells.append((known[checkpoint], benchmark, test))
        if cells:
            yield Vote(f"{name}, ensemble@{len(cells)}", name, name, cells)


def _one(values: Sequence[Value]) -> Value | None:
    return values[0] if len(set(values)) == 1 else None
