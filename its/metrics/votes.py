"""The answer that most responses agree on, of one model or of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from its.types import VerdictName

CORRECT = "\0correct"
"""The class of every answer that the grader found correct; no answer starts with a NUL."""


def ballot_classes(ballots_N: Sequence[tuple[str | None, VerdictName]]) -> list[str | None]:
    """What each ballot counts for: answers that are equivalent fall into one class, a blank is None.

    All correct answers are equivalent to the reference and so to each other: they are one class, however they are
    written, and so is an answer that equals a correct one but that the grader could not decide. Wrong answers are
    one class where they are equal after normalisation; two wrong forms of one value stay two classes, since nothing
    compared them. That favours a correct answer in several forms; `VoteCounts.changed` counts how often.

    Args:
        ballots_N: normalised answer and verdict of each response to one problem.
    """
    correct = {answer for answer, verdict in ballots_N if verdict == "correct"}
    return [None if answer is None else CORRECT if answer in correct else answer for answer, _ in ballots_N]


@dataclass(frozen=True)
class VoteCounts:
    """The results of the votes on the problems of a benchmark.

    `credit_P` is 1, 0 or, on a tie, the share of the tied classes that are correct: what a random tie-break gives in
    expectation, and independent of the order of the members. `first` counts problems won if the class met first wins
    ties (in the order of the members), `won` and `lost` if every tie that contains the correct class is won or lost.
    `tied` counts problems where classes tie at the top, `blank` those without any answer, `changed` those where
    the vote by strings alone would have another credit.
    """

    credit_P: list[float]
    first: int
    won: int
    lost: int
    tied: int
    blank: int
    changed: int

    @property
    def accuracy(self) -> float:
        """Share of problems that the vote gets right, ties in expectation; blanks are in the denominator."""
        return sum(self.credit_P) / len(self.credit_P)


def count_votes(ballots_P: Iterable[Mapping[tuple[str | None, VerdictName], int]]) -> VoteCounts:
    """Count the votes on every problem.

    Args:
        ballots_P: for each problem, how many ballots of each (normalised answer, verdict), in the order in which
            they were met. A blank has the answer None.

    Raises:
        ValueError: without problems, or for a problem without ballots.
    """
    credit_P: list[float] = []
    first = won = lost = tied = blank = changed = 0
    for place, ballots in enumerate(ballots_P):
        if not ballots:
            raise ValueError(f"problem {place} has no ballot")
        kinds = list(ballots)
        counts: Counter[str] = Counter()
        strings: Counter[str] = Counter()
        for kind, name in zip(kinds, ballot_classes(kinds), strict=True):
            if name is not None:
                counts[name] += ballots[kind]
                strings[str(kind[0])] += ballots[kind]
        winners = _leaders(counts)
        right = {answer for answer, verdict in kinds if verdict == "correct"}
        credit = (CORRECT in winners) / len(winners) if winners else 0.0
        by_string = _leaders(strings)
        plain = sum(answer in right for answer in by_string) / len(by_string) if by_string else 0.0
        credit_P.append(credit)
        first += winners[:1] == [CORRECT]
        won += CORRECT in winners
        lost += winners == [CORRECT]
        tied += len(winners) > 1
        blank += not winners
        changed += abs(credit - plain) > 1e-12
    if not credit_P:
        raise ValueError("a vote needs at least one problem")
    return VoteCounts(credit_P, first, won, lost, tied, blank, changed)


def _leaders(counts: Counter[str]) -> list[str]:
    """The classes with the most ballots, in the order in which they were met."""
    top = max(counts.values(), default=0)
    return [name for name, count in counts.items() if count == top]
