"""Rates against brute force, votes on ties and abstentions, intervals by known values and coverage, contrasts."""

from __future__ import annotations

import random
from itertools import combinations
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from its.metrics.compare import Contrast, contrast, holm
from its.metrics.intervals import cluster_bootstrap, interval_of, wilson
from its.metrics.rates import avg_at_n, maj_at_k, pass_at_k
from its.metrics.settings import unlike_settings
from its.metrics.votes import majority_vote


def test_avg_weighs_problems_not_responses() -> None:
    assert avg_at_n([[True], [False, False, False]]) == 0.5


@pytest.mark.parametrize("rows", [[], [[True], []]])
def test_avg_has_no_mean_of_nothing(rows: list[list[bool]]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        avg_at_n(rows)


def test_pass_at_k_is_brute_force() -> None:
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                draws = list(combinations([True] * c + [False] * (n - c), k))
                assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert round(pass_at_k(16, 3, 4), 3) == 0.607
    assert 0.0 < pass_at_k(2000, 1, 1000) < 1.0


def test_pass_at_k_refuses_what_is_undefined() -> None:
    with pytest.raises(ValueError, match=r"pass@5 needs at least 5 responses per problem; n = 4"):
        pass_at_k(4, 4, 5)
    with pytest.raises(ValueError, match="k is at least 1"):
        pass_at_k(4, 4, 0)
    with pytest.raises(ValueError, match="impossible"):
        pass_at_k(4, 5, 2)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7), st.data())
def test_maj_at_k_is_brute_force(answers: list[str | None], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(answers)))
    correct = {"a": True, "b": False, "c": True}
    total = 0.0
    for chosen in combinations(answers, k):
        said = [a for a in chosen if a is not None]
        top = max((said.count(a) for a in said), default=0)
        winners = {a for a in said if said.count(a) == top}
        total += sum(correct[a] for a in winners) / len(winners) if winners else 0.0
    assert maj_at_k(answers, correct, k, seed=1) == pytest.approx(total / comb(len(answers), k))


def test_maj_at_k_ties_and_blanks() -> None:
    correct = {"1": True, "2": False}
    assert maj_at_k(["1", "2"], correct, 2, seed=0) == 0.5
    assert maj_at_k(["1", None, None], correct, 3, seed=0) == 1.0
    assert maj_at_k([None, None], {}, 2, seed=0) == 0.0
    with pytest.raises(ValueError, match="maj@3 needs"):
        maj_at_k(["1", "2"], correct, 3, seed=0)
    with pytest.raises(ValueError, match="does not say"):
        maj_at_k(["3"], correct, 1, seed=0)


def test_maj_at_k_sampled_is_seeded_and_near_the_truth() -> None:
    answers = ["1"] * 9 + ["2"] * 7 + [None] * 4
    correct = {"1": True, "2": False}
    exact = maj_at_k(answers, correct, 5, seed=0, draws=comb(20, 5))
    sampled = maj_at_k(answers, correct, 5, seed=3, draws=4000)
    assert sampled == maj_at_k(answers, correct, 5, seed=3, draws=4000)
    assert sampled == pytest.approx(exact, abs=0.03)


def test_vote_ties_blanks_and_one() -> None:
    tied = majority_vote(["2", "1", "1", "2", None])
    assert (tied.answer, tied.share, tied.tied) == ("2", 0.4, True)
    blank = majority_vote([None, None])
    assert (blank.answer, blank.share, blank.tied) == (None, 0.0, False)
    few = majority_vote([None, None, None, "7"])
    assert (few.answer, few.share, few.tied) == ("7", 0.25, False)
    assert majority_vote(["7"]).share == 1.0
    with pytest.raises(ValueError, match="at least one"):
        majority_vote([])


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (1, 30, 0.0059, 0.1667)],
)
def test_wilson_known_values(correct: int, total: int, low: float, high: float) -> None:
    interval = wilson(correct, total)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_wilson_covers_at_small_size() -> None:
    generator = random.Random(7)
    for share in (0.3, 0.5, 0.9):
        hits = 0
        for _ in range(2000):
            interval = wilson(sum(generator.random() < share for _ in range(30)), 30)
            hits += interval.low <= share <= interval.high
        assert 0.92 <= hits / 2000 <= 0.985


def test_wilson_refuses_nonsense() -> None:
    for correct, total in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="not a share"):
            wilson(correct, total)
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, confidence=95)


def test_the_problem_is_the_unit() -> None:
    few = [[True, False] * 2] * 5 + [[True] * 4] * 5 + [[False] * 4] * 5
    many = [row * 100 for row in few]
    assert interval_of(few, seed=1, draws=2000) == interval_of(many, seed=1, draws=2000)
    interval = interval_of(few, seed=1, draws=2000)
    assert interval.method == "cluster_bootstrap"
    assert interval.high - interval.low > 0.3


def test_interval_picks_its_method() -> None:
    assert interval_of([[True], [False]], seed=1, draws=10) == wilson(1, 2)
    perfect = interval_of([[True] * 8] * 30, seed=1, draws=100)
    assert perfect == wilson(30, 30) and perfect.low < 0.9
    assert cluster_bootstrap([0.5], seed=1, draws=10).method == "none"
    for bad in ([], [[True], []]):
        with pytest.raises(ValueError, match="at least one response"):
            interval_of(bad, seed=1, draws=10)
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        cluster_bootstrap([0.5, float("nan")], seed=1, draws=10)


def test_contrast_sees_an_effect_and_not_a_zero() -> None:
    generator = random.Random(1)
    control = [generator.random() * 0.5 for _ in range(40)]
    better = [value + 0.3 + generator.random() * 0.1 for value in control]
    found = contrast("XX - NN", better, control, seed=2, draws=2000)
    assert found.low > 0.3 and found.p_value == pytest.approx(1 / 2001) and not found.within_noise
    assert found.problems == 40 and found.detectable < 0.1
    back = contrast("NN - XX", control, better, seed=2, draws=2000)
    assert back.difference == pytest.approx(-found.difference) and back.p_value == found.p_value
    same = contrast("same", control, control, seed=2, draws=200)
    assert (same.difference, same.p_value, same.within_noise) == (0.0, 1.0, True)
    assert same.detectable == pytest.approx(2.8 / 40)


def test_p_value_is_exact_on_few_problems() -> None:
    # 2 of the 2**6 sign patterns are as extreme.
    found = contrast("six", [1.0] * 6, [0.0] * 6, seed=1, draws=20_000)
    assert found.p_value == pytest.approx(2 / 64, abs=0.005)
    assert contrast("five", [1.0] * 5, [0.0] * 5, seed=1, draws=20_000).within_noise


def test_false_alarms_stay_near_five_percent() -> None:
    generator = random.Random(5)
    alarms = 0
    for trial in range(300):
        one, two = ([float(generator.random() < 0.5) for _ in range(30)] for _ in range(2))
        alarms += not contrast("null", one, two, seed=trial, draws=200).within_noise
    assert alarms / 300 < 0.09


def test_contrast_refuses_what_is_not_paired() -> None:
    with pytest.raises(ValueError, match="2 problems against 1"):
        contrast("x", [1.0, 0.0], [1.0], seed=1, draws=10)
    with pytest.raises(ValueError, match="no problems"):
        contrast("x", [], [], seed=1, draws=10)
    one = contrast("x", [1.0], [0.0], seed=1, draws=10)
    assert (one.low, one.high, one.within_noise, one.detectable) == (-1.0, 1.0, True, 1.0)


def made(p_value: float) -> Contrast:
    return Contrast("c", 0.1, 0.0, 0.2, p_value, 30, p_value >= 0.05, 0.1)


def test_holm_known_values_keep_their_order() -> None:
    adjusted = holm([made(0.04), made(0.01), made(0.03), made(0.005)])
    assert [round(c.p_value, 10) for c in adjusted] == [0.06, 0.03, 0.06, 0.02]
    assert [c.within_noise for c in adjusted] == [True, False, True, False]
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_ranks(values: list[float]) -> None:
    adjusted = [c.p_value for c in holm([made(p) for p in values])]
    assert all(raw <= new <= 1 for raw, new in zip(values, adjusted, strict=True))
    pairs = sorted(zip(values, adjusted, strict=True))
    assert [new for _, new in pairs] == sorted(adjusted)


def test_unlike_settings_are_named_with_their_values() -> None:
    one = {"model": "a", "session": "1", "engine": "vllm", "arguments": {"dtype": "bfloat16"}, "environment": "x"}
    two = {"model": "b", "session": "2", "engine": "vllm", "arguments": {"dtype": "float32", "tensor_parallel_size": 2}}
    assert unlike_settings([one, {**one, "model": "c", "session": "3"}]) == {}
    assert unlike_settings([one, two, one]) == {
        "arguments.dtype": ["bfloat16", "float32"],
        "arguments.tensor_parallel_size": ["-", "2"],
        "environment": ["x", "-"],
    }
    assert unlike_settings([]) == {}
