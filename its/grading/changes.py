"""What a new grader changed: former verdicts against new ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from its.types import Verdict


@dataclass(frozen=True)
class Change:
    """One response whose verdict changed."""

    cell: str
    former: Verdict
    new: Verdict


@dataclass
class Changes:
    """Counts; `former_correct` and `new_correct` are by cell, `versions` are the former graders'."""

    verdicts: int = 0
    without_former: int = 0
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers: int = 0
    former_correct: dict[str, int] = field(default_factory=dict)
    new_correct: dict[str, int] = field(default_factory=dict)
    versions: set[str] = field(default_factory=set)
    new_version: str = ""
    listed: list[Change] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many responses changed their verdict."""
        return sum(self.kinds.values())

    def add(self, cell: str, former: Iterable[Verdict], new: Iterable[Verdict]) -> None:
        """Compare one cell; responses are matched by query and sample, so order does not matter.

        A new answer under the same verdict is counted separately: it can change votes. A response without a former
        verdict is counted, not compared.
        """
        known = {(row.query_id, row.sample_index): row for row in former}
        self.versions |= {row.grader_version for row in known.values()}
        if known:
            self.former_correct[cell] = sum(row.verdict == "correct" for row in known.values())
        self.new_correct[cell] = 0
        for row in new:
            self.verdicts += 1
            self.new_version = row.grader_version
            self.new_correct[cell] += row.verdict == "correct"
            before = known.get((row.query_id, row.sample_index))
            if before is None:
                self.without_former += 1
            elif before.verdict != row.verdict:
                self.kinds[before.verdict, row.verdict] += 1
                self.listed.append(Change(cell, before, row))
            elif before.answer != row.answer:
                self.answers += 1
