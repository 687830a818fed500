"""Intervals by known values and coverage, contrasts, tables of cells, the choice of a pair, efficiency."""

from __future__ import annotations

import random
from itertools import combinations
from math import comb, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from its.errors import DataError
from its.metrics.bootstrap import ratio_bounds, resampled_counts
from its.metrics.compare import Contrast, contrast, holm, minimum_detectable_difference, paired
from its.metrics.efficiency import efficiency, token_contrast
from its.metrics.intervals import mean_interval, seeds_interval
from its.metrics.quantiles import t_quantile
from its.metrics.selection import choose, nested_estimate
from its.metrics.table import compare_cells


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 29, 2.0452), (0.8, 29, 0.8542), (0.975, 1e6, 1.95996)],
)
def test_t_known_values(probability: float, freedom: float, value: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(value, abs=5e-5)
    assert t_quantile(1 - probability, freedom) == -t_quantile(probability, freedom)
    with pytest.raises(ValueError, match="degrees of freedom"):
        t_quantile(probability, 0)


def chance_of(total: int, rate: float) -> list[float]:
    return [comb(total, count) * rate**count * (1 - rate) ** (total - count) for count in range(total + 1)]


@pytest.mark.parametrize("total", [30, 60, 198, 500])
def test_one_response_a_problem_covers_at_every_rate(total: int) -> None:
    """Exact, no simulation: the chances of the counts whose interval holds the rate."""
    found = [mean_interval([1.0] * correct + [0.0] * (total - correct), responses=1) for correct in range(total + 1)]
    assert {interval.method for interval in found} == {"nearest_coverage"}
    for rate in np.arange(0.1, 0.91, 0.05):
        held = zip(chance_of(total, float(rate)), found, strict=True)
        assert 0.935 <= sum(chance for chance, interval in held if interval.low <= rate <= interval.high) <= 0.97, rate


def test_one_response_a_problem_by_counts() -> None:
    found = [mean_interval([1.0] * correct + [0.0] * (30 - correct), responses=1) for correct in range(31)]
    assert (found[0].low, found[30].high) == (0.0, 1.0) and 0.09 < found[0].high < 0.1
    for correct, (interval, mirror) in enumerate(zip(found, found[::-1], strict=True)):
        assert interval.low <= correct / 30 <= interval.high
        assert (interval.low, interval.high) == pytest.approx((1 - mirror.high, 1 - mirror.low), abs=1e-12)
    assert [interval.low for interval in found] == sorted(interval.low for interval in found)
    wider = mean_interval([1.0] * 6 + [0.0] * 24, responses=1, confidence=0.99)
    assert wider.low < found[6].low and wider.high > found[6].high


@pytest.mark.parametrize(("problems", "inflation"), [(501, 1.0), (30, 1.0 + 1e-9)])
def test_beyond_counts_one_response_is_agresti_and_coull(problems: int, inflation: float) -> None:
    z, correct = 1.959964, problems // 5
    total, centre = problems + z**2, (correct + z**2 / 2) / (problems + z**2)
    half = z * sqrt(centre * (1 - centre) / total)
    found = mean_interval([1.0] * correct + [0.0] * (problems - correct), responses=1, inflation=inflation)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert found.method == "agresti_coull"


def test_confidence_is_a_share() -> None:
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([0.0, 1.0], responses=1, confidence=95)


def test_the_problem_is_the_unit() -> None:
    """A hundred times the responses to the same problems tell little more."""
    values = [0.5] * 5 + [1.0] * 5 + [0.0] * 5
    one, two = mean_interval(values, responses=4), mean_interval(values, responses=400)
    assert one.method == two.method == "cluster_agresti_coull"
    assert two.high - two.low > 0.95 * (one.high - one.low) > 0.3


def test_an_interval_is_never_without_width() -> None:
    for value in (1.0, 0.0, 0.5):
        found = mean_interval([value] * 30, responses=8)
        assert found.high - found.low > 0.05
    assert mean_interval([1.0] * 30, responses=8).low < 0.9
    assert mean_interval([0.5], responses=4).method == "none"
    for bad in ([], [0.5, float("nan")]):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            mean_interval(bad, responses=1)
    with pytest.raises(ValueError, match="at least 1"):
        mean_interval([0.5, 0.5], responses=0.5)


@pytest.mark.parametrize(
    ("n", "rate", "spread"), [(1, 0.3, None), (4, 0.5, 2.0), (16, 0.7, None), (16, 0.2, 2.0), (16, 0.1, 0.5)]
)
def test_intervals_cover(n: int, rate: float, spread: float | None) -> None:
    """Small; benchmarks/calibration.py has the whole grid. 800 trials: two standard errors are 1.5 points."""
    generator = np.random.default_rng(11)
    hits = 0
    for _ in range(800):
        rates = generator.beta(rate * spread, (1 - rate) * spread, size=30) if spread else np.full(30, rate)
        found = mean_interval(generator.binomial(n, rates) / n, responses=n)
        hits += found.low <= rate <= found.high
    assert 0.925 <= hits / 800 <= 0.98


def test_seeds_count_as_well_as_problems() -> None:
    """60 problems, 3 seeds with a standard deviation of 5 points: the problems alone cover far too little."""
    generator = np.random.default_rng(5)
    both = alone = 0
    for _ in range(300):
        rates = np.clip(0.5 + generator.normal(0, 0.05, size=(3, 1)) + generator.normal(0, 0.02, size=60), 0, 1)
        values = generator.binomial(16, rates) / 16
        wide, narrow = seeds_interval(values, responses=16), mean_interval(values.mean(axis=0), responses=48)
        both += wide.low <= 0.5 <= wide.high
        alone += narrow.low <= 0.5 <= narrow.high
    assert both / 300 >= 0.92
    assert alone / 300 < 0.7
    assert seeds_interval(values[:1], responses=16) == mean_interval(values[0], responses=16)
    with pytest.raises(ValueError, match="seed by problem"):
        seeds_interval(values[0], responses=16)


def test_resampling_draws_each_item_as_often() -> None:
    counts = np.concatenate(list(resampled_counts(7, 4000, np.random.default_rng(1))))
    assert counts.shape == (4000, 7) and set(counts.sum(axis=1)) == {7.0}
    assert counts.mean(axis=0) == pytest.approx([1.0] * 7, abs=0.06)
    with pytest.raises(ValueError, match="at least 1"):
        next(resampled_counts(7, 0, np.random.default_rng(1)))


def test_ratio_bounds_hold_the_ratio() -> None:
    tops = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    low, high = ratio_bounds(tops, np.full((4, 2), 10.0), seed=1, draws=500)
    assert low[0] < 0.075 < high[0] and (low[1], high[1]) == (0.0, 0.0)


def test_contrast_sees_an_effect_and_not_a_zero() -> None:
    generator = random.Random(1)
    control = [generator.random() * 0.5 for _ in range(40)]
    better = [value + 0.3 + generator.random() * 0.1 for value in control]
    found = contrast("XX - NN", better, control, seed=2, draws=2000)
    assert found.low > 0.3 and found.p_value == pytest.approx(1 / 2001) and found.significant
    assert (found.problems, found.p_value_method) == (40, "sign_flip")
    assert found.minimum_detectable_difference is not None and found.minimum_detectable_difference < 0.1
    back = contrast("NN - XX", control, better, seed=2, draws=2000)
    assert back.difference == pytest.approx(-found.difference) and back.p_value == found.p_value
    same = contrast("same", control, control, seed=2, draws=200)
    assert (same.difference, same.p_value, same.significant) == (0.0, 1.0, False)
    assert same.low < -0.05 and same.high > 0.05
    assert same.minimum_detectable_difference is not None and same.minimum_detectable_difference > 0.05


def test_two_cells_of_one_response_meet_mcnemar() -> None:
    # 8 problems against 1, of 30: 2 x (1 + 9) / 2^9.
    found = contrast("one", [1.0] * 8 + [0.0] * 22, [0.0] * 8 + [1.0] + [0.0] * 21, seed=1, draws=100)
    assert found.p_value == pytest.approx(20 / 512) and found.p_value_method == "mcnemar"
    six = contrast("six", [1.0] * 6, [0.0] * 6, seed=1, draws=20)
    assert six.p_value == pytest.approx(2 / 64)
    assert not contrast("five", [1.0] * 5, [0.0] * 5, seed=1, draws=20_000).significant


def test_few_arrangements_are_all_tried() -> None:
    found = contrast("four", [0.5, 0.75, 1.0, 0.25], [0.0] * 4, seed=1, draws=16)
    assert (found.p_value, found.p_value_method) == (2 / 16, "sign_flip_exact")


def test_false_alarms_stay_near_five_percent_and_bounds_cover() -> None:
    generator = np.random.default_rng(5)
    alarms = covered = 0
    for trial in range(400):
        rates = generator.beta(2, 2, size=30)
        one, two = (generator.binomial(4, rates) / 4 for _ in range(2))
        found = contrast("null", one, two, seed=trial, draws=300)
        alarms += found.significant
        covered += found.low <= 0 <= found.high
    assert alarms / 400 < 0.085
    assert 0.92 <= covered / 400 <= 0.985


def test_the_detectable_difference_is_found_with_80_percent_power() -> None:
    generator = np.random.default_rng(3)
    rates = np.clip(generator.beta(4, 4, size=60), 0.15, 0.85)
    first = generator.binomial(16, rates) / 16 - generator.binomial(16, rates) / 16
    gain, corrected = minimum_detectable_difference(first), minimum_detectable_difference(first, comparisons=10)
    assert gain is not None and corrected is not None
    found = 0
    for trial in range(200):
        one, two = generator.binomial(16, rates + gain) / 16, generator.binomial(16, rates) / 16
        found += contrast("gain", one, two, seed=trial, draws=400).significant
    assert 0.65 <= found / 200 <= 0.95
    assert corrected > 1.2 * gain


@pytest.mark.parametrize("comparisons", [1, 5])
def test_the_one_sided_bound_is_corrected_for_all_comparisons(comparisons: int) -> None:
    treated, control = [0.75, 0.5, 1.0, 0.25, 0.5, 1.0], [0.5, 0.5, 0.25, 0.5, 0.25, 0.75]
    found = contrast("x", treated, control, seed=1, draws=100, comparisons=comparisons)
    below, half = found.difference - found.one_sided_lower_bound, found.difference - found.low
    assert below == pytest.approx(half * t_quantile(1 - 0.05 / comparisons, 5) / t_quantile(0.975, 5))


def test_no_difference_beyond_the_largest_possible_one_is_called_detectable() -> None:
    found = contrast("six", [1.0] * 3 + [0.0] * 3, [0.0] * 3 + [1.0] * 3, seed=1, draws=100)
    assert (found.minimum_detectable_difference, found.low, found.high) == (1.0, -1.0, 1.0)


def test_contrast_refuses_what_is_not_paired() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\) against \(1, 1\); pair problems"):
        contrast("x", [1.0, 0.0], [1.0], seed=1, draws=10)
    with pytest.raises(ValueError, match="no problems"):
        contrast("x", [], [], seed=1, draws=10)
    with pytest.raises(ValueError, match="draws = 0"):
        contrast("x", [1.0, 0.0], [1.0, 0.5], seed=1, draws=0)
    one = contrast("x", [1.0], [0.0], seed=1, draws=10)
    assert (one.low, one.high, one.significant, one.minimum_detectable_difference) == (-1.0, 1.0, False, None)


@pytest.mark.parametrize(
    ("problems", "comparisons", "shows"), [(5, 1, False), (6, 1, True), (7, 5, False), (8, 5, True)]
)
def test_so_few_problems_can_show_nothing(problems: int, comparisons: int, shows: bool) -> None:
    """2 / 2^P is the smallest p value that sign flips reach; Holm multiplies it."""
    found = contrast("few", [1.0] * problems, [0.0] * problems, seed=1, draws=20_000, comparisons=comparisons)
    assert (found.p_value * comparisons < 0.05) == shows == (found.minimum_detectable_difference is not None)
    values = {"a": np.ones(problems), "b": np.zeros(problems)}
    (test,) = compare_cells(values, [("a", "b")], seed=1, draws=4000)
    assert (test.significant) == (test.minimum_detectable_difference is not None) == (problems > 5)


def test_a_contrast_over_seeds_is_for_other_seeds_too() -> None:
    """Equal strategies whose trainings differ by chance, by 4 points (one deviation): problems alone see a gain."""
    generator = np.random.default_rng(8)
    alarms, alone = 0, 0
    for trial in range(200):
        rates = generator.beta(4, 4, size=60)
        sides = [
            generator.binomial(16, np.clip(rates + generator.normal(0, 0.04, size=(3, 1)), 0, 1)) / 16 for _ in range(2)
        ]
        found = contrast("null", *sides, seed=trial, draws=200)
        alarms += found.significant
        alone += contrast("null", *(side.mean(axis=0) for side in sides), seed=trial, draws=200).significant
        assert found.seeds == 3 and (found.low <= 0 <= found.high or found.significant)
    assert alarms / 200 < 0.07 and alone / 200 > 0.25


def test_one_seed_is_the_contrast_of_its_problems() -> None:
    one, two = [1.0, 0.5, 0.25, 1.0, 0.75, 1.0, 0.5], [0.5, 0.5, 0.0, 0.75, 0.5, 0.25, 0.25]
    assert contrast("c", one, two, seed=1, draws=50) == contrast("c", [one], [two], seed=1, draws=50)


def test_a_problem_missing_from_one_side_is_named() -> None:
    assert paired({"a": 1.0, "b": 0.5}, {"b": 0.0, "a": 0.25}, "XX", "NN") == ([1.0, 0.5], [0.25, 0.0])
    with pytest.raises(DataError, match="`a` of XX missing from NN; `b`, `c`, `d` and 1 more of NN missing from XX"):
        paired({"a": 1.0}, dict.fromkeys("bcde", 0.0), "XX", "NN")


def made(p_value: float) -> Contrast:
    return Contrast("c", 0.1, 0.0, 0.2, p_value, 30, p_value < 0.05, 0.1, 0.01)


def test_holm_known_values_keep_their_order() -> None:
    adjusted = holm([made(0.04), made(0.01), made(0.03), made(0.005)])
    assert [round(c.p_value, 10) for c in adjusted] == [0.06, 0.03, 0.06, 0.02]
    assert [c.significant for c in adjusted] == [False, True, False, True]
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_ranks(values: list[float]) -> None:
    adjusted = [c.p_value for c in holm([made(p) for p in values])]
    assert all(raw <= new <= 1 for raw, new in zip(values, adjusted, strict=True))
    pairs = sorted(zip(values, adjusted, strict=True))
    assert [new for _, new in pairs] == sorted(adjusted)


def _cells(generator: np.random.Generator, rates: np.ndarray, n: int, cells: int = 8) -> dict[str, np.ndarray]:
    return {f"c{i}": generator.binomial(n, rates) / n for i in range(cells)}


def test_the_table_finds_the_one_cell_that_differs() -> None:
    generator = np.random.default_rng(4)
    values = _cells(generator, generator.beta(2, 2, size=60) * 0.5, 8)
    values["c3"] = np.minimum(1.0, values["c3"] + 0.3)
    tests = compare_cells(values, list(combinations(values, 2)), seed=1, draws=1000)
    significant = {(test.first, test.second) for test in tests if test.significant}
    assert significant == {pair for pair in combinations(values, 2) if "c3" in pair}
    for test in tests:
        assert test.raw_p_value <= test.p_value and test.low < test.difference < test.high
        assert (test.low > 0 or test.high < 0) == (("c3") in (test.first, test.second))
    assert min(test.minimum_detectable_difference or 0.0 for test in tests) > 0.05


def test_the_table_has_few_false_alarms() -> None:
    generator = np.random.default_rng(8)
    alarms = 0
    for trial in range(150):
        values = _cells(generator, generator.beta(2, 2, size=30), 4)
        tests = compare_cells(values, list(combinations(values, 2)), seed=trial, draws=400)
        alarms += any(test.significant for test in tests)
    assert alarms / 150 <= 0.09  # 5 % and two standard errors


def test_equal_cells_and_odd_tables() -> None:
    same = np.array([0.5, 1.0, 0.0])
    (test,) = compare_cells({"a": same, "b": same}, [("a", "b")], seed=1, draws=50)
    assert (test.p_value, test.raw_p_value, test.significant) == (1.0, 1.0, False)
    assert compare_cells({}, [], seed=1, draws=50) == []
    with pytest.raises(ValueError, match="pair them first"):
        compare_cells({"a": same, "b": same[:2]}, [("a", "b")], seed=1, draws=50)


def test_the_first_of_the_best_is_chosen() -> None:
    choice = choose({"a": 0.2, "b": 0.5, "c": 0.5})
    assert (choice.name, choice.value, choice.tied) == ("b", 0.5, ["b", "c"])
    with pytest.raises(ValueError, match="nothing to choose"):
        choose({})


def test_the_nested_estimate_is_not_flattered() -> None:
    """16 equal cells of rate 0.5, 30 problems, one response: the maximum is 8 points or more too high."""
    generator = np.random.default_rng(6)
    naive, nested, covered = [], [], 0
    for trial in range(150):
        values = _cells(generator, np.full(30, 0.5), 1, cells=16)
        found = nested_estimate(values, responses=1, seed=trial, repeats=20)
        naive.append(found.maximum - 0.5)
        nested.append(found.score - 0.5)
        covered += found.low <= 0.5 <= found.high
        assert found.optimism == pytest.approx(found.maximum - found.score)
    assert np.mean(naive) > 0.08
    assert abs(np.mean(nested)) < 0.02
    assert covered / 150 > 0.9


def test_a_clear_best_is_chosen_every_time() -> None:
    generator = np.random.default_rng(6)
    values = _cells(generator, np.full(40, 0.3), 8, cells=4)
    values["best"] = generator.binomial(8, np.full(40, 0.8)) / 8
    found = nested_estimate(values, responses=8, seed=1, repeats=10)
    assert found.chosen == {"best": 1.0} and found.optimism == pytest.approx(0.0, abs=1e-9)
    assert sum(nested_estimate({"a": values["best"], "b": values["best"]}, responses=8, seed=1).chosen.values()) == 1.0
    with pytest.raises(ValueError, match="1 is too few"):
        nested_estimate({"a": np.array([1.0])}, responses=1, seed=1)


@pytest.mark.parametrize(("bound", "accuracy"), [(-0.03, "equal"), (-0.031, "undecided")])
def test_accuracy_is_equal_where_the_corrected_bound_rules_out_a_loss_of_3_points(bound: float, accuracy: str) -> None:
    tokens = made(0.01)
    even = Contrast("c", 0.0, -0.9, 0.9, 0.5, 30, False, 0.1, bound)
    assert efficiency(tokens, even).accuracy == accuracy
    assert efficiency(tokens, Contrast("c", 0.0, 0.0, 0.0, 0.5, 30, False, 0.1, bound)).accuracy == accuracy


def _accuracy(difference: float, spread: float, size: int = 200) -> Contrast:
    generator = np.random.default_rng(3)
    return contrast("XX - NN", difference + generator.normal(0, spread, size), np.zeros(size), seed=1, draws=500)


@pytest.mark.parametrize(
    ("factor", "difference", "spread", "claim", "shown"),
    [
        (0.7, 0.0, 0.05, "fewer tokens, equal accuracy", True),
        (0.7, 0.1, 0.05, "fewer tokens, better accuracy", True),
        (0.7, -0.1, 0.05, "fewer tokens, worse accuracy", False),
        (0.7, 0.0, 0.6, "fewer tokens, accuracy undecided", False),
        (1.4, 0.1, 0.05, "more tokens, better accuracy", False),
        (1.0, 0.1, 0.05, "no difference in tokens, better accuracy", False),
    ],
)
def test_efficiency_is_two_tests(factor: float, difference: float, spread: float, claim: str, shown: bool) -> None:
    generator = np.random.default_rng(9)
    control = generator.lognormal(6, 1, size=200)
    treated = control * factor * generator.lognormal(0, 0.3, size=200)
    if factor == 1.0:
        treated = control * np.exp(generator.permutation(np.repeat([-0.3, 0.3], 100)))
    tokens = token_contrast("XX - NN", treated.tolist(), control.tolist(), seed=1, draws=500)
    found = efficiency(tokens, _accuracy(difference, spread))
    assert (found.claim, found.shown) == (claim, shown)
    assert found.high is not None
    assert found.ratio == pytest.approx(factor, rel=0.1) and found.low < found.ratio < found.high
    assert log(found.high / found.ratio) == pytest.approx(log(found.ratio / found.low))
