"""How often a model is right: pass@k, all@k, G-pass@k. maj@k is in `majority`."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, comb


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
    _check(n, c, k, "pass")
    return 1.0 - comb(n - c, k) / comb(n, k)


def all_at_k(n: int, c: int, k: int) -> float:
    """Chance that all of k responses, drawn from n without replacement, are correct: what a user can rely on.

    all@1 is avg@n; it falls with k where pass@k rises. all_at_k(n=16, c=12, k=4) is 0.272 (to 3 places).

    Raises:
        ValueError: as `pass_at_k`.
    """
    _check(n, c, k, "all")
    return comb(c, k) / comb(n, k)


def g_pass_at_k(n: int, c: int, k: int, tau: float) -> float:
    """Chance that at least tau x k of k responses, drawn from n without replacement, are correct.

    G-pass@k of Liu et al. (arXiv 2412.13147): at least one is always wanted, so tau = 0 is pass@k, and tau = 1 is
    all@k. tau x k is rounded up, exactly for the decimal that tau is written as.

    Raises:
        ValueError: as `pass_at_k`, or if tau is not in [0, 1].
    """
    _check(n, c, k, "g-pass")
    if not 0 <= tau <= 1:
        raise ValueError(f"tau = {tau} is not in [0, 1]")
    least = max(1, ceil(Fraction(str(tau)) * k))
    return sum(comb(c, i) * comb(n - c, k - i) for i in range(least, min(c, k) + 1)) / comb(n, k)


def _check(n: int, c: int, k: int, metric: str) -> None:
    if k < 1:
        raise ValueError(f"{metric}@{k} is undefined; k is at least 1")
    if k > n:
        raise ValueError(f"{metric}@{k} needs at least {k} responses per problem; n = {n}")
    if not 0 <= c <= n:
        raise ValueError(f"c = {c} correct of n = {n} is impossible")
