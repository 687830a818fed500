"""maj@k: how often the most common answer of k responses is correct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import comb

import numpy as np

EXACT_WORK = 100_000
"""Products up to which maj@k is computed exactly: less than 0.1 s for one problem."""


def maj_at_k(
    answers_N: Sequence[str | None], correct: Mapping[str, bool], k: int, seed: int, draws: int = 1000
) -> float:
    """Chance that the most common answer of k responses, drawn from n without replacement, is correct.

    For one problem; average over problems. None (no answer) is one of the k but cannot win; a draw of blanks alone
    counts 0. On a tie the credit is the share of the tied answers that are correct, which is what a
    random tie-break gives in expectation. Exact, by counting the draws, unless that takes long (k of 32 with
    dozens of different answers); then it is the mean of `draws` seeded draws.

    Args:
        answers_N: one per response; answers that count as one have to be equal, see `votes.ballot_classes`.
        correct: for every answer that occurs, whether it is correct.
        k: 1 <= k <= n.

    Raises:
        ValueError: if k > n or k < 1 or draws < 1, or an answer is missing from `correct`.
    """
    n = len(answers_N)
    if k < 1:
        raise ValueError(f"maj@{k} is undefined; k is at least 1")
    if k > n:
        raise ValueError(f"maj@{k} needs at least {k} responses per problem; n = {n}")
    if draws < 1:
        raise ValueError(f"draws = {draws}; at least 1 is needed")
    counts = Counter(answer for answer in answers_N if answer is not None)
    unknown = counts.keys() - correct.keys()
    if unknown:
        raise ValueError(f"`correct` does not say whether `{min(unknown)[:80]}` is")
    right = tuple(sorted(count for answer, count in counts.items() if correct[answer]))
    wrong = tuple(sorted(count for answer, count in counts.items() if not correct[answer]))
    blank = n - sum(counts.values())
    if not right:
        return 0.0
    if len(right) * (len(right) + len(wrong)) * k**2 * min(k, max(right)) <= EXACT_WORK:
        return _exact(right, wrong, blank, k)
    return _sampled(right, wrong, blank, k, seed, draws)


@lru_cache(maxsize=100_000)
def _exact(right: tuple[int, ...], wrong: tuple[int, ...], blank: int, k: int) -> float:
    """Sum over each correct answer, each count with which it can lead, and each number of others that tie with it."""
    total = 0.0
    for place, count in enumerate(right):
        others = Counter((*right[:place], *right[place + 1 :], *wrong))
        for lead in range(1, min(count, k) + 1):
            total += comb(count, lead) * sum(
                ways / (1 + ties) for ties, ways in enumerate(_ways(others, blank, k - lead, lead))
            )
    return total / comb(sum(right) + sum(wrong) + blank, k)


def _ways(others: Counter[int], blank: int, left: int, lead: int) -> list[int]:
    """By number of ties: ways to draw `left` responses from the others so that none of them comes more than `lead`."""
    most = left // lead
    table = [[0] * (left + 1) for _ in range(most + 1)]  # ties, then responses drawn
    table[0] = [comb(blank, drawn) for drawn in range(left + 1)]
    for count, times in others.items():
        choices = [comb(count, taken) for taken in range(min(count, lead) + 1)]
        for _ in range(times):
            new = [[0] * (left + 1) for _ in range(most + 1)]
            for ties in range(most + 1):
                for drawn, ways in enumerate(table[ties]):
                    if not ways:
                        continue
                    for taken, factor in enumerate(choices[: left - drawn + 1]):
                        new[ties + (taken == lead)][drawn + taken] += ways * factor
            table = new
    return [row[left] for row in table]


def _sampled(right: tuple[int, ...], wrong: tuple[int, ...], blank: int, k: int, seed: int, draws: int) -> float:
    drawn = np.random.default_rng(seed).multivariate_hypergeometric([*right, *wrong, blank], k, size=draws)[:, :-1]
    top = drawn.max(axis=1, keepdims=True)
    leads = (drawn == top) & (top > 0)
    return float((leads[:, : len(right)].sum(axis=1) / np.maximum(leads.sum(axis=1), 1)).mean())
