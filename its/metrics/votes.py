"""The answer that most responses agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from its.types import Vote


def majority_vote(answers: Sequence[str | None]) -> Vote:
    """The most common answer among the responses to one problem.

    Answers are compared as given, so normalise first. None (no answer found) stays in the total but
    cannot win; if nothing else was said the vote is None. On a tie the answer met first in sampling
    order wins and `Vote.tied` is set, so that the report can count ties. `Vote.share` is the winner's
    count / all answers, in [0, 1].

    Args:
        answers: one per response, in sampling order, at least one.

    Raises:
        ValueError: without answers.
    """
    if not answers:
        raise ValueError("a vote needs at least one answer")
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return Vote(answer=None, share=0.0, tied=False)
    top = max(counts.values())
    winners = [answer for answer, count in counts.items() if count == top]  # a Counter keeps the order of first meeting
    return Vote(answer=winners[0], share=top / len(answers), tied=len(winners) > 1)
