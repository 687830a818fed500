"""The claim of efficiency: fewer tokens at equal or better accuracy, both paired by problem."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, isfinite

import numpy as np
from numpy.typing import ArrayLike

from its.metrics.compare import Contrast, contrast

MARGIN = 0.03
"""Accuracy counts as equal if a loss of 3 points is ruled out, at 5 % for all comparisons of a benchmark."""


@dataclass(frozen=True)
class Efficiency:
    """Tokens and accuracy of one block against another; the fields are those of `its.results.TokenComparison`."""

    name: str
    ratio: float
    low: float
    high: float | None
    p_value: float
    problems: int
    tokens: str
    accuracy: str
    difference: float
    difference_lower_bound: float
    shown: bool
    claim: str


def token_contrast(
    name: str, treated: ArrayLike, control: ArrayLike, *, seed: int, draws: int, comparisons: int = 1
) -> Contrast:
    """The contrast of the logarithms of mean tokens a response, problem by problem (or training seed by problem).

    Logarithms, because lengths differ by a factor: one problem of 16,000 tokens must not outweigh all others. Means
    below one token count as one.
    """
    logs = [np.log(np.maximum(np.asarray(side, dtype=np.float64), 1.0)) for side in (treated, control)]
    return contrast(name, logs[0], logs[1], seed=seed, draws=draws, comparisons=comparisons, limit=inf)


def efficiency(tokens: Contrast, accuracy: Contrast) -> Efficiency:
    """What a contrast of tokens and one of accuracy say together; both of the same blocks, each adjusted already."""
    use = "undecided" if not tokens.significant else "fewer" if tokens.difference < 0 else "more"
    if accuracy.significant:
        gain = "better" if accuracy.difference > 0 else "worse"
    else:
        gain = "equal" if accuracy.one_sided_lower_bound >= -MARGIN else "undecided"
    shown = use == "fewer" and gain in ("better", "equal")
    words = {"undecided": "no difference in tokens", "fewer": "fewer tokens", "more": "more tokens"}[use]
    rest = {"equal": "equal accuracy", "better": "better accuracy", "worse": "worse accuracy"}.get(
        gain, "accuracy undecided"
    )
    return Efficiency(
        tokens.name,
        exp(tokens.difference),
        exp(tokens.low),
        exp(tokens.high) if isfinite(tokens.high) else None,
        tokens.p_value,
        tokens.problems,
        use,
        gain,
        accuracy.difference,
        accuracy.one_sided_lower_bound,
        shown,
        f"{words}, {rest}",
    )
