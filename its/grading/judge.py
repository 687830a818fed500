"""The second opinion: what a judge model said, and where it differs from the grader."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from its.types import Verdict

Opinion = Literal["correct", "incorrect", "unclear"]

_WORD = re.compile(r"\b(?:(not\s+correct|incorrect|wrong|no)|(correct|right|yes))\b", re.IGNORECASE)


def judge_opinion(text: str) -> Opinion:
    """What a judge said: its last word of `correct`, `incorrect`, `yes`, `no`, `right`, `wrong`; else `unclear`.

    Args:
        text: without the judge's thinking; one that did not finish it said nothing.
    """
    found = None
    for found in _WORD.finditer(text):  # noqa: B007 - the last one is what is wanted
        pass
    if found is None:
        return "unclear"
    return "incorrect" if found.group(1) else "correct"


@dataclass
class Opinions:
    """Counts of one judging, and each response on which judge and grader differ."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("agree", "disagree", "unclear"), 0))
    disagreements: list[dict[str, Any]] = field(default_factory=list)

    def add(self, verdicts: Iterable[tuple[Verdict, Opinion, str]], **where: str) -> None:
        """Count opinions on verdicts.

        A `grader_error` has nothing to agree with: an opinion on it counts as a disagreement.

        Args:
            verdicts: with the opinion on each and the judge's own words.
            where: what every listed row says of itself beside its query (checkpoint, reference, ...).
        """
        for verdict, opinion, words in verdicts:
            if opinion == "unclear" or opinion == verdict.verdict:
                self.counts["unclear" if opinion == "unclear" else "agree"] += 1
                continue
            self.counts["disagree"] += 1
            self.disagreements.append(
                {
                    **where,
                    "query_id": verdict.query_id,
                    "sample_index": verdict.sample_index,
                    "answer": verdict.answer,
                    "verdict": verdict.verdict,
                    "opinion": opinion,
                    "words": words,
                }
            )
