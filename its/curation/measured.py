"""The known overlaps that decontamination finds and the other rows that it flags: at its and at moved thresholds.

A rule is moved by one number: how much lower (or higher) its threshold stands. What it asks beside that (the numbers,
the figure, a least run) is what the rule is, and stays.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from its.curation.candidates import RUN
from its.curation.comparable_text import is_given, words
from its.curation.overlaps import Benchmarks, Comparison
from its.curation.shared_words import longest_run
from its.recipe.schema import OverlapRule
from its.types import Problem

Kind = Literal["same numbers", "other numbers", "no shared words"]
"""What a known overlap shares outside of figures: at least 8 words in a row, and all numbers of the benchmark problem
or not; or fewer words, as a free paraphrase does, and two problems that have a figure's code in common."""

_LONG_RUN, _ALIKE = 13, 0.75
_BASELINES: dict[str, tuple[float, Callable[[Comparison], float]]] = {
    "any 13 words": (_LONG_RUN, lambda comparison: comparison.run),
    "similarity alone": (_ALIKE, lambda comparison: comparison.alike),
}
"""Plain rules to compare with: the run of words that most filters look for, and words in order whatever the numbers."""


@dataclass(frozen=True)
class Pair:
    """A row and the benchmark problem that it is known to overlap; `label` is the list's word for its kind."""

    row: str
    problem: str
    label: str = ""


@dataclass(frozen=True)
class Found:
    """What a rule does at one threshold: the part of the pairs found, of each group, and of other rows flagged."""

    threshold: float | None
    found: float
    by_group: Mapping[str, float]
    flagged: float


@dataclass(frozen=True)
class Measured:
    """A rule at its own threshold, and at the one that flags the wanted part of other rows.

    A `threshold` is told as a distance from the rule's own (0; negative is looser), of the baselines as it is. The
    moved one is None where the rule, however loose, flags no more than is expected.
    """

    rule: str
    own: Found
    moved: Found


@dataclass(frozen=True)
class Report:
    """All rules, and what they were measured on.

    `groups` are the kinds and labels with the number of their pairs, `others` the rows without a known overlap,
    `left_out` those with one, `not_compared` the pairs that the index did not bring together: no threshold finds them.
    """

    rules: Sequence[Measured]
    groups: Mapping[str, int]
    pairs: int
    others: int
    left_out: int
    not_compared: int


def measure(pairs: Sequence[Pair], others: Sequence[str], benchmark: Sequence[str], share: float = 0.01) -> Report:
    """Measure the rules on known overlaps and on rows that are none.

    Args:
        pairs: known overlaps.
        others: rows without an overlap, as hard as the real ones: of the benchmark's own field. Those that are a row of
            a pair, or the same as a benchmark problem, are left out.
        benchmark: its problems; those of the pairs need not be among them.
        share: of `others` that may be flagged where thresholds are moved.

    Raises:
        ValueError: without pairs or others, or if `share` is not within (0, 1).
    """
    if not pairs or not others or not 0 < share < 1:
        raise ValueError("pairs, others and a share within (0, 1) are needed")
    places = {text: str(at) for at, text in enumerate(dict.fromkeys([*benchmark, *(pair.problem for pair in pairs)]))}
    index = Benchmarks({"benchmark": _problems(list(places))})
    known = Benchmarks({"rows": _problems(list(dict.fromkeys(pair.row for pair in pairs)))})
    found = _compared(index, [pair.row for pair in pairs])
    own = [_own(item, places[pair.problem]) for pair, item in zip(pairs, found, strict=True)]
    apart = [text for text, item in zip(others, _compared(known, others), strict=True) if not _is_same(item)]
    kept = [item for item in _compared(index, apart) if not _is_same(item)]
    kinds = [_kind(pair) for pair in pairs]
    groups = {kind: [at for at, item in enumerate(kinds) if item == kind] for kind in get_args(Kind)}
    for at, pair in enumerate(pairs):
        if pair.label:
            groups.setdefault(pair.label, []).append(at)
    groups = {name: members for name, members in groups.items() if members}
    return Report(
        [_measured(rule, value, default, own, kept, groups, share) for rule, (default, value) in _rules().items()],
        {name: len(members) for name, members in groups.items()},
        len(pairs),
        len(kept),
        len(others) - len(kept),
        sum(item is None for item in own),
    )


def _problems(texts: Sequence[str]) -> list[Problem]:
    return [Problem(problem_id=str(at), text=text, source="measured") for at, text in enumerate(texts)]


def _compared(index: Benchmarks, texts: Sequence[str]) -> list[list[Comparison]]:
    return [comparisons for _, comparisons in index.comparisons(_problems(texts))]


def _own(comparisons: Sequence[Comparison], problem_id: str) -> Comparison | None:
    return next((item for item in comparisons if item.benchmark_problem_id == problem_id), None)


def _is_same(comparisons: Sequence[Comparison]) -> bool:
    return any(item.margins.get("same", -1.0) >= 0 for item in comparisons)


def _kind(pair: Pair) -> Kind:
    row, problem = words(pair.row), words(pair.problem)
    if longest_run(problem, row) < RUN:
        return "no shared words"
    given = [Counter(filter(is_given, found)) for found in (problem, row)]
    return "same numbers" if given[0] <= given[1] else "other numbers"


def _rules() -> dict[str, tuple[float, Callable[[Comparison], float]]]:
    """(own threshold, value to hold against it) of each rule, of all together, and of the baselines."""
    out: dict[str, tuple[float, Callable[[Comparison], float]]] = {
        rule: (0.0, lambda comparison, rule=rule: comparison.margins.get(rule, -math.inf))  # type: ignore[misc]
        for rule in get_args(OverlapRule)
    }
    return {**out, "all rules": (0.0, lambda comparison: max(comparison.margins.values())), **_BASELINES}


def _measured(
    rule: str,
    value: Callable[[Comparison], float],
    default: float,
    own: Sequence[Comparison | None],
    others: Sequence[Sequence[Comparison]],
    groups: Mapping[str, Sequence[int]],
    share: float,
) -> Measured:
    found = [-math.inf if item is None else value(item) for item in own]
    flagged = [max(map(value, comparisons), default=-math.inf) for comparisons in others]

    def at(threshold: float | None) -> Found:
        def part(values: Sequence[float]) -> float:
            least = -math.inf if threshold is None else threshold
            return sum(item >= least and item > -math.inf for item in values) / len(values)

        by_group = {name: part([found[place] for place in places]) for name, places in groups.items()}
        return Found(threshold, part(found), by_group, part(flagged))

    return Measured(rule, at(default), at(_moved(flagged, share)))


def _moved(flagged: Sequence[float], share: float) -> float | None:
    """The lowest threshold that flags at most a share of the rows; None where any would."""
    ordered = sorted(flagged, reverse=True)
    first = ordered[int(share * len(ordered))]  # the first value that is one too many
    return None if first == -math.inf else math.nextafter(first, math.inf)
