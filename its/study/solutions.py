"""The solution that each problem is trained on under a strategy: the dataset's own, or one regenerated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from its.errors import DataError
from its.rows import read_rows
from its.strategies.members import members_of
from its.strategies.solutions import regenerating
from its.study.study import Study
from its.types import Problem, Solution


class TrainedSolutions:
    """Solutions to train on, read side by side with the problems of a dataset, in their order; memory stays flat.

    `lost` counts, by (dataset, strategy), the solutions that `of` found to be lost.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._open: dict[tuple[str, str, str], Iterator[Solution]] = {}
        self.lost: Counter[tuple[str, str]] = Counter()

    def of(self, name: str, trained: str, member: str, problem: Problem) -> str | None:
        """The solution of a problem under a strategy: "" where there is none to train on, None if the dataset has none.

        Call it for the problems of a dataset in their order, and for each at most once with the same strategies.

        Args:
            name: the dataset.
            trained: the strategy of the design, `mix` and `union` among them.
            member: the strategy of the row: `trained` itself, or a member of it.

        Raises:
            DataError: if the file has no row of the problem.
        """
        if self._study.recipe.strategies[member].solutions == "keep":
            return problem.solution or None
        path = self._study.solutions_path(name, member)
        rows = self._open.get((name, trained, member))
        if rows is None:
            rows = read_rows(path, Solution, key=lambda row: row.problem_id)
            self._open[name, trained, member] = rows
        found = next((row for row in rows if row.problem_id == problem.problem_id), None)
        if found is None:
            raise DataError(f"{path}: no solution row for problem_id `{problem.problem_id}`", "`dvc repro -f solution`")
        if found.verdicts and not found.text:  # without a verdict it is left out under every strategy
            self.lost[name, trained] += 1
        return found.text

    def place(self, name: str, member: str) -> str | None:
        """The file of the regenerated solutions under a strategy; None where those of the dataset are kept."""
        kept = self._study.recipe.strategies[member].solutions == "keep"
        return None if kept else str(self._study.solutions_path(name, member).relative_to(self._study.project))

    @property
    def summary(self) -> str:
        """What the line of a stage says of lost solutions, after a semicolon; empty if none was lost."""
        told = ", ".join(f"{count} of {name} under `{trained}`" for (name, trained), count in self.lost.items())
        return f"; left out without a correct solution: {told}" if told else ""


def lost_problems(study: Study, name: str, strategy: str) -> set[str]:
    """The problems of a dataset that have no row to train on under a strategy, since no solution was correct."""
    strategies, seed = study.recipe.strategies, study.recipe.seed
    lost = {
        member: {row.problem_id for row in read_rows(study.solutions_path(name, member), Solution) if not row.text}
        for member in regenerating(strategies, [strategy])
    }
    return {
        problem_id
        for problem_id in set().union(*lost.values())
        if all(problem_id in lost.get(member, ()) for member in members_of(strategies, strategy, problem_id, seed))
    }
