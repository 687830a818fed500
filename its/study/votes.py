"""Which cells vote together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from its.metrics.comparisons import table_name
from its.recipe.schema import LAST
from its.study.study import Cell, Checkpoint, Study

Value = TypeVar("Value")


@dataclass(frozen=True)
class Vote:
    """Cells of one benchmark, at least two, in the order in which ties name their first answer.

    `ensemble` is the vote's name in `vote.ensembles`, `strategies` that in `vote.strategies`; both are None for the
    vote of a model, dataset and variant.
    """

    name: str
    ensemble: str | None
    cells: Sequence[Cell]
    strategies: str | None = None

    @property
    def model(self) -> str | None:
        """The model of all members; None if they differ."""
        return _one([checkpoint.model for checkpoint, _, _ in self.cells])

    @property
    def dataset(self) -> str | None:
        """The dataset of all trained members; None if they differ or none is trained."""
        return _one([checkpoint.dataset for checkpoint, _, _ in self.cells if checkpoint.dataset is not None])

    @property
    def variant(self) -> str | None:
        """The variant of all trained members; None if they differ or none is trained."""
        return _one([checkpoint.variant for checkpoint, _, _ in self.cells if checkpoint.dataset is not None])

    @property
    def test(self) -> str | None:
        """The test strategy of all members; None if they differ."""
        return _one([test for _, _, test in self.cells])


def benchmark_votes(study: Study, benchmark: str) -> list[Vote]:
    """Every vote of a benchmark of the design: those of each model, dataset and variant, then the named ones.

    Only cells of the design vote. A named vote that lacks one of them on this benchmark is left out.
    """
    return _votes(study, benchmark, study.cells(benchmark))


def pool_votes(study: Study, pool: str) -> list[Vote]:
    """Every vote of a pool of benchmarks: of the cells that all of them have. Its members have a vote on each, too."""
    first, *others = (
        [(checkpoint, pool, test) for checkpoint, _, test in study.cells(name)]
        for name in study.recipe.measure.pool[pool]
    )
    everywhere = set(first).intersection(*others)
    return _votes(study, pool, [cell for cell in first if cell in everywhere])


def _votes(study: Study, benchmark: str, here: Sequence[Cell]) -> list[Vote]:
    return [*_default(study, here), *_named(study, benchmark, here), *_strategies(study, here)]


def _default(study: Study, here: Sequence[Cell]) -> Iterator[Vote]:
    """The last checkpoints of a model, dataset and variant under each test strategy; none where only one would vote."""
    design = study.recipe.design
    everyone = study.recipe.vote.members == "all"
    only = len(design.models) * len(design.datasets) * len(design.variants) == 1
    tables: dict[tuple[str, str, str], dict[str, list[Cell]]] = {}
    base: dict[tuple[str, str], Cell] = {}
    for cell in here:
        checkpoint, _, test = cell
        if checkpoint.dataset is None:
            base[checkpoint.model, test] = cell
        elif checkpoint.saved_at == LAST:
            own = tables.setdefault((checkpoint.model, checkpoint.dataset, checkpoint.variant), {})
            own.setdefault(test, []).append(cell)
    for (model, dataset, variant), by_test in tables.items():
        table = table_name(model, dataset, variant)
        for test in design.test:
            trained = by_test.get(test, [])
            cells = [*([base[model, test]] if everyone and trained and (model, test) in base else []), *trained]
            if len(cells) > 1:
                whose = "" if only else f"{table}, "
                yield Vote(f"ensemble@{len(cells)}, {whose}test {test}", None, cells)


def _named(study: Study, benchmark: str, here: Sequence[Cell]) -> Iterator[Vote]:
    """The votes of `vote.ensembles`; none for one whose members name other benchmarks."""
    known = {(checkpoint.name, test): (checkpoint, benchmark, test) for checkpoint, _, test in here}
    for name, members in study.recipe.vote.ensembles.items():
        wanted = []
        for member in members:
            checkpoint, *only, test = member.split("/")
            if not only or only == [benchmark]:
                wanted.append((checkpoint, test))
        if wanted and all(member in known for member in wanted):
            yield Vote(f"{name}, ensemble@{len(wanted)}", name, [known[member] for member in wanted])


def _strategies(study: Study, here: Sequence[Cell]) -> Iterator[Vote]:
    """The votes of `vote.strategies`, for each checkpoint that was evaluated under all of them."""
    found: dict[Checkpoint, dict[str, Cell]] = {}
    for cell in here:
        found.setdefault(cell[0], {})[cell[2]] = cell
    for name, wanted in study.recipe.vote.strategies.items():
        for checkpoint, own in found.items():
            if own.keys() >= set(wanted):
                cells = [own[test] for test in wanted]
                title = f"{name}, strategies@{len(wanted)}, {checkpoint.name}"
                yield Vote(title, None, cells, name)


def _one(values: Sequence[Value]) -> Value | None:
    return values[0] if len(set(values)) == 1 else None
