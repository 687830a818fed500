"""How often a model is right: avg@n, pass@k, maj@k."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import comb


def avg_at_n(correct_P_N: Sequence[Sequence[bool]]) -> float:
    """Mean over problems of the mean correctness over n; every problem weighs the same, whatever its n.

    Args:
        correct_P_N: problem, then response.

    Raises:
        ValueError: without problems, or with a problem that has no response; no mean stands for it.
    """
    if not correct_P_N:
        raise ValueError("avg@n needs at least one problem")
    for place, correct_N in enumerate(correct_P_N):
        if not len(correct_N):
            raise ValueError(f"avg@n needs at least one response per problem; problem {place} has none")
    return sum(sum(correct_N) / len(correct_N) for correct_N in correct_P_N) / len(correct_P_N)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k responses, drawn from n without replacement, is correct.

    Average it over problems, never over responses. pass_at_k(n=16, c=3, k=4) is 0.607 (to 3 places).

    Args:
        n: responses sampled for the problem, n >= k.
        c: how many of them are correct, 0 <= c <= n.
        k: draws, k >= 1.

    Raises:
        ValueError: if k > n; the estimate is undefined and a fallback of 1.0 would flatter the model. Also if k < 1 or
            c is not in [0, n].
    """
    _check_k(n, k, "pass")
    if not 0 <= c <= n:
        raise ValueError(f"c = {c} correct of n = {n} is impossible")
    return 1.0 - comb(n - c, k) / comb(n, k)


def maj_at_k(
    answers_N: Sequence[str | None], correct: Mapping[str, bool], k: int, seed: int, draws: int = 1000
) -> float:
    """Chance that the most common answer of k responses, drawn from n without replacement, is correct.

    For one problem; average over problems. None (no answer) takes its place among the k but cannot win; a draw of
    nothing else counts 0. On a tie the credit is the share of the tied answers that are correct, which is what a
    random tie-break gives in expectation. Where there are no more than `draws` ways to choose (always for k == n), all
    are counted and the result is exact; otherwise it is the mean of `draws` seeded draws.

    Args:
        answers_N: normalised answers, one per response.
        correct: for every answer that occurs, whether it is correct.
        k: 1 <= k <= n.

    Raises:
        ValueError: if k > n or k < 1 or draws < 1, or an answer is missing from `correct`.
    """
    n = len(answers_N)
    _check_k(n, k, "maj")
    if draws < 1:
        raise ValueError(f"draws = {draws}; at least 1 is needed")
    unknown = {answer for answer in answers_N if answer is not None} - correct.keys()
    if unknown:
        raise ValueError(f"`correct` does not say whether `{min(unknown)[:80]}` is")
    # Draws from C(n, k) sets; few sets are cheaper to count than to sample.
    if comb(n, k) <= max(draws, 1):
        credits = [_credit(chosen, correct) for chosen in combinations(answers_N, k)]
    else:
        generator = random.Random(seed)
        credits = [_credit(generator.sample(answers_N, k), correct) for _ in range(draws)]
    return sum(credits) / len(credits)


def _credit(answers: Iterable[str | None], correct: Mapping[str, bool]) -> float:
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return 0.0
    top = max(counts.values())
    winners = [answer for answer, count in counts.items() if count == top]
    return sum(correct[answer] for answer in winners) / len(winners)


def _check_k(n: int, k: int, metric: str) -> None:
    if k < 1:
        raise ValueError(f"{metric}@{k} is undefined; k is at least 1")
    if k > n:
        raise ValueError(f"{metric}@{k} needs at least {k} responses per problem; n = {n}")
