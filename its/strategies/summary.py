"""Statistics of the personas of one set under one strategy: counts by rule, similarity, examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from its.strategies.controls import REASONS
from its.strategies.rules import RULES
from its.strategies.similarity import SimilarityIndex
from its.types import Persona

EXAMPLES = 3


def persona_summary(
    set_name: str,
    strategy_name: str,
    rows: Sequence[Persona],
    tries: Sequence[Sequence[list[str]]],
    index: SimilarityIndex,
) -> dict[str, Any]:
    """The statistics of one file of personas, as in `summary.json`.

    `accepted` personas break no rule, `at_once` are those accepted at the first request; `flagged` ones break a rule
    and were kept, since no attempt was better. `rules` has, for each rule that any attempt broke: the `attempts` that
    broke it, the personas `retried` for it, those of them finally `accepted`, and those `kept` that still break it.
    `flags` counts these and the reasons why a problem has no persona. `own_text`, of a shuffled strategy, counts the
    problems that received their own persona word for word, since two problems had the same.

    Args:
        rows: all rows, also of problems without a persona.
        tries: the broken rules of each attempt, one list for each requested persona.
    """
    texts = [row for row in rows if row.text or row.attempts]
    similarity = index.summary([(row.problem_id, row.text) for row in texts if row.text])
    flagged = sum(bool(set(row.flags) & set(RULES)) for row in texts)
    return {
        "set": set_name,
        "strategy": strategy_name,
        "problems": len({row.problem_id for row in rows}),
        "personas": len(texts),
        "asked": sum(row.attempts for row in texts),
        "retried": sum(row.attempts > 1 for row in texts),
        "accepted": len(texts) - flagged,
        "at_once": sum(row.attempts < 2 and not set(row.flags) & set(RULES) for row in texts),
        "flagged": flagged,
        "without": dict(Counter(flag for row in rows for flag in row.flags if flag in REASONS).most_common()),
        "flags": dict(Counter(flag for row in rows for flag in row.flags).most_common()),
        "rules": _by_rule(rows, tries),
        "distinct": len({row.text for row in texts}),
        "words": _mean([len(row.text.split()) for row in texts]),
        "similarity": None if similarity is None else similarity.as_json(),
        "examples": [row.text for row in texts[:EXAMPLES]],
    }


def own_texts(rows: Sequence[Persona], sources: Sequence[Persona]) -> int:
    """How many shuffled personas equal, word for word, the problem's own persona under the source strategy."""
    own = {(row.problem_id, row.index): row.text for row in sources}
    return sum(row.taken_from is not None and own.get((row.problem_id, row.index)) == row.text for row in rows)


def _by_rule(rows: Sequence[Persona], tries: Sequence[Sequence[list[str]]]) -> dict[str, dict[str, int]]:
    out = {}
    for rule in RULES:
        broken = [[rule in flags for flags in attempts] for attempts in tries]
        counts = {
            "attempts": sum(map(sum, broken)),
            "retried": sum(any(found[:-1]) for found in broken),
            "accepted": sum(any(found) and not attempts[-1] for found, attempts in zip(broken, tries, strict=True)),
            "kept": sum(rule in row.flags for row in rows),
        }
        if any(counts.values()):
            out[rule] = counts
    return out


def _mean(numbers: Sequence[int]) -> float | None:
    return round(sum(numbers) / len(numbers), 2) if numbers else None
