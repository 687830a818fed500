"""The claim of efficiency: fewer tokens at equal or better accuracy, both paired by problem."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf

import numpy as np
from numpy.typing import ArrayLike

from its.metrics.compare import Contrast, contrast

MARGIN = 0.03
"""Accuracy counts as equal if a loss of 3 points or more is ruled out, at 5 % for all contrasts of a benchmark."""


@dataclass(frozen=True)
class Efficiency:
    """Tokens and accuracy of one block against another.

    `ratio` is the geometric mean over problems of tokens of the treated block over those of the control, with its 95 %
    bounds; `p_value` belongs to it. `tokens` is fewer, more or undecided; `accuracy` is better, worse, equal
    (`difference_low`, the lower bound of its difference corrected for the number of contrasts, is above -3 points) or
    undecided. `shown` says whether fewer tokens at equal or better accuracy was shown: `claim` is that in words.
    """

    name: str
    ratio: float
    low: float
    high: float
    p_value: float
    problems: int
    tokens: str
    accuracy: str
    difference: float
    difference_low: float
    shown: bool
    claim: str


def token_contrast(
    name: str, treated: ArrayLike, control: ArrayLike, *, seed: int, draws: int, looks: int = 1
) -> Contrast:
    """The contrast of the logarithms of mean tokens a response, problem by problem (or training seed by problem).

    Logarithms, because lengths differ by a factor: one problem of 16,000 tokens must not speak for all others. Means
    below one token count as one.
    """
    logs = [np.log(np.maximum(np.asarray(side, dtype=np.float64), 1.0)) for side in (treated, control)]
    return contrast(name, logs[0], logs[1], seed=seed, draws=draws, looks=looks, limit=inf)


def efficiency(tokens: Contrast, accuracy: Contrast) -> Efficiency:
    """What a contrast of tokens and one of accuracy say together; both of the same blocks, each adjusted already."""
    use = "undecided" if tokens.within_noise else "fewer" if tokens.difference < 0 else "more"
    if not accuracy.within_noise:
        gain = "better" if accuracy.difference > 0 else "worse"
    else:
        gain = "equal" if accuracy.sure_low >= -MARGIN else "undecided"
    shown = use == "fewer" and gain in ("better", "equal")
    words = {"undecided": "no difference in tokens", "fewer": "fewer tokens", "more": "more tokens"}[use]
    rest = {"equal": "equal accuracy", "better": "better accuracy", "worse": "worse accuracy"}.get(
        gain, "accuracy undecided"
    )
    return Efficiency(
        tokens.name,
        exp(tokens.difference),
        exp(tokens.low),
        exp(tokens.high),
        tokens.p_value,
        tokens.problems,
        use,
        gain,
        accuracy.difference,
        accuracy.sure_low,
        shown,
        f"{words}, {rest}",
    )
