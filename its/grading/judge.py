"""The second opinion: a judge model's verdicts, and where they differ from the grader's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from its.types import Verdict

Opinion = Literal["correct", "incorrect", "unclear"]

_WORD = re.compile(r"\b(?:(not\s+correct|incorrect|wrong|no)|(correct|right|yes))\b", re.IGNORECASE)


def judge_opinion(text: str) -> Opinion:
    """A judge's last word of `correct`, `incorrect`, `yes`, `no`, `right`, `wrong`; else `unclear`.

    Args:
        text: without the judge's thinking; empty if it did not finish thinking.
    """
    found = None
    for found in _WORD.finditer(text):  # noqa: B007 - the last one is what is wanted
        pass
    if found is None:
        return "unclear"
    return "incorrect" if found.group(1) else "correct"


@dataclass
class Opinions:
    """Counts, and each response on which judge and grader differ."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("agree", "disagree", "unclear"), 0))
    disagreements: list[dict[str, Any]] = field(default_factory=list)

    def add(self, verdicts: Iterable[tuple[Verdict, Opinion, str]], **where: str) -> None:
        """Count opinions on verdicts.

        An opinion on a `grader_error` counts as a disagreement.

        Args:
            verdicts: with the opinion on each and the judge's own words.
            where: further fields of every listed row (checkpoint, reference, ...).
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
