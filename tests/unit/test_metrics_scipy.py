"""The metrics against scipy.stats, where it has an equivalent; the package itself needs no scipy."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped,unused-ignore]

from its.metrics.bootstrap import ratio_bounds
from its.metrics.compare import contrast, sign_flip
from its.metrics.intervals import mean_interval
from its.metrics.majority import maj_at_k
from its.metrics.quantiles import normal_quantile, t_quantile
from its.metrics.rates import all_at_k, g_pass_at_k, pass_at_k


def _shares(correct: int, total: int) -> list[float]:
    return [1.0] * correct + [0.0] * (total - correct)


def test_quantiles_are_those_of_scipy() -> None:
    probabilities = [0.001, 0.025, 0.2, 0.5, 0.8, 0.95, 0.975, 0.99875]
    for probability in probabilities:
        assert normal_quantile(probability) == pytest.approx(stats.norm.ppf(probability), abs=1e-9)
        for freedom in (1, 1.5, 2, 7, 29, 59.3, 499):
            assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-7)


@settings(deadline=None)
@given(st.data())
def test_rates_are_hypergeometric(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 64))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    tau = data.draw(st.sampled_from(["0.1", "0.25", "0.5", "0.7", "1"]))
    drawn = stats.hypergeom(n, c, k)
    assert pass_at_k(n, c, k) == pytest.approx(drawn.sf(0), abs=1e-9)
    assert all_at_k(n, c, k) == pytest.approx(drawn.pmf(k), abs=1e-9)
    least = ceil(Fraction(tau) * k)
    assert g_pass_at_k(n, c, k, float(tau)) == pytest.approx(drawn.sf(least - 1), abs=1e-9)


@pytest.mark.parametrize("counts", [(3, 2, 1), (4, 4, 0), (1, 5, 4), (6, 3, 3)])
def test_maj_at_k_is_a_sum_over_the_multivariate_hypergeometric(counts: tuple[int, int, int]) -> None:
    """Counts of the right answer, of a wrong one, and of responses without an answer."""
    right, wrong, blank = counts
    answers = ["r"] * right + ["w"] * wrong + [None] * blank
    for k in range(1, len(answers) + 1):
        drawn = stats.multivariate_hypergeom([right, wrong, blank], k)
        wanted = 0.0
        for r in range(1, min(right, k) + 1):
            for w in range(min(wrong, k - r) + 1):
                wanted += drawn.pmf([r, w, k - r - w]) * (1.0 if r > w else 0.5 if r == w else 0.0)
        assert maj_at_k(answers, {"r": True, "w": False}, k, seed=1) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("problems", [600, 1319, 5000])
def test_beyond_counts_the_interval_is_centred_on_wilson_and_holds_it(problems: int) -> None:
    """Agresti and Coull add to Wilson's width alone."""
    for correct in (1, problems // 10, problems // 2, problems - 3):
        ours = mean_interval(_shares(correct, problems), responses=1)
        wilson = stats.binomtest(correct, problems).proportion_ci(method="wilson")
        assert ours.method == "agresti_coull"
        if ours.low > 0 and ours.high < 1:
            assert (ours.low + ours.high) / 2 == pytest.approx((wilson.low + wilson.high) / 2, abs=1e-9)
        assert ours.low <= wilson.low + 1e-9
        assert ours.high >= wilson.high - 1e-9
        assert ours.high - ours.low <= (wilson.high - wilson.low) * 1.2


@pytest.mark.parametrize("problems", [30, 60, 200])
def test_the_interval_by_counts_is_shorter_than_the_exact_one_and_covers(problems: int) -> None:
    """Clopper and Pearson's limits promise 95 % at every rate and keep more, so theirs are the longer ones."""
    found = [mean_interval(_shares(correct, problems), responses=1) for correct in range(problems + 1)]
    exact = [stats.binomtest(correct, problems).proportion_ci(method="exact") for correct in range(problems + 1)]
    lengths = np.array([[one.high - one.low, other.high - other.low] for one, other in zip(found, exact, strict=True)])
    assert lengths[:, 0].mean() < 0.97 * lengths[:, 1].mean()
    low, high = (np.array([getattr(one, side) for one in found]) for side in ("low", "high"))
    for rate in (0.103, 0.25, 0.501, 0.733, 0.899):
        chances = stats.binom.pmf(np.arange(problems + 1), problems, rate)
        assert 0.93 <= chances[(low <= rate) & (rate <= high)].sum() <= 0.975


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_pairs_that_differ_by_as_much_are_a_binomial_test(better: int, worse: int) -> None:
    differences = np.array([1.0] * better + [-1.0] * worse + [0.0] * 3)
    p_value, test = sign_flip(differences, np.random.default_rng(1), draws=100)
    wanted = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert test == "mcnemar"
    assert p_value == pytest.approx(wanted, abs=1e-9)


def test_few_problems_are_the_exact_permutation_test() -> None:
    generator = np.random.default_rng(3)
    for size in (5, 8, 10):
        treated, control = (generator.binomial(8, rate, size) / 8 for rate in (0.6, 0.4))
        found = contrast("x", treated, control, seed=1, draws=5000)
        assert found.p_value_method == "sign_flip_exact"
        wanted = stats.permutation_test(
            (treated, control), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
        )
        assert found.p_value == pytest.approx(wanted.pvalue, abs=1e-9)


def test_drawn_signs_come_near_the_permutation_test_of_scipy() -> None:
    generator = np.random.default_rng(5)
    treated, control = (generator.binomial(8, rate, 40) / 8 for rate in (0.55, 0.45))
    found = contrast("x", treated, control, seed=1, draws=20_000)
    assert found.p_value_method == "sign_flip"
    wanted = stats.permutation_test(
        (treated, control),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(2),
    )
    assert found.p_value == pytest.approx(wanted.pvalue, abs=0.01)


def test_ratio_bounds_come_near_the_percentile_bootstrap_of_scipy() -> None:
    generator = np.random.default_rng(7)
    correct, tokens = generator.random((80, 1)), generator.uniform(50, 400, (80, 1))
    low, high = ratio_bounds(correct, tokens, seed=1, draws=20_000)
    wanted = stats.bootstrap(
        (correct[:, 0], tokens[:, 0]),
        lambda x, y, axis: x.sum(axis=axis) / y.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    width = wanted.high - wanted.low
    assert low[0] == pytest.approx(wanted.low, abs=width / 30)
    assert high[0] == pytest.approx(wanted.high, abs=width / 30)
