"""Quantiles of the normal and of Student's t distribution."""

from __future__ import annotations

from functools import lru_cache
from math import exp, inf, lgamma, pi, sqrt, tan
from statistics import NormalDist

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def normal_quantile(probability: float) -> float:
    """z with P(Z <= z) = probability; the probability is in (0, 1)."""
    return NormalDist().inv_cdf(probability)


@lru_cache(maxsize=4096)
def t_quantile(probability: float, freedom: float) -> float:
    """t with P(T <= t) = probability, to about 9 digits; `freedom` need not be whole, and infinity is the normal.

    With t = sqrt(freedom) tan(angle) the density is a power of a cosine on a finite range, which 64 nodes integrate
    to machine precision.

    Raises:
        ValueError: if the probability is not in (0, 1) or freedom is below 1.
    """
    if not 0 < probability < 1 or freedom < 1:
        raise ValueError(f"no t quantile of {probability} with {freedom} degrees of freedom")
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    if freedom == inf or freedom > 1e5:
        return normal_quantile(probability)
    scale = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(pi)
    low, high = 0.0, pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        area = float(np.cos(angle * (_NODES + 1) / 2) ** (freedom - 1) @ _WEIGHTS) * angle / 2
        low, high = (angle, high) if 0.5 + scale * area < probability else (low, angle)
    return sqrt(freedom) * tan(low)
