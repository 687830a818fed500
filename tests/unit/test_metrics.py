"""Rates and maj@k against brute force, votes on ties, abstentions and forms, loops, the published cases."""

from __future__ import annotations

import json
import os
from collections import Counter
from itertools import combinations
from math import ceil, comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from its.errors import DataError
from its.metrics.cells import Cell, cell_rows, check_k, pair_row
from its.metrics.loops import ends_in_loop
from its.metrics.majority import maj_at_k
from its.metrics.rates import all_at_k, g_pass_at_k, pass_at_k
from its.metrics.settings import different_settings
from its.metrics.votes import CORRECT, ballot_classes, count_votes
from its.types import VerdictName

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("ITS_SHARED_DATA") or ROOT.parent / "shared" / "data")


@given(st.integers(1, 9), st.data())
def test_rates_are_brute_force(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    tau = data.draw(st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.75, 1.0]))
    draws = [sum(chosen) for chosen in combinations([True] * c + [False] * (n - c), k)]
    assert pass_at_k(n, c, k) == pytest.approx(sum(right > 0 for right in draws) / len(draws))
    assert all_at_k(n, c, k) == pytest.approx(sum(right == k for right in draws) / len(draws))
    least = max(1, ceil(round(tau * k, 9)))
    assert g_pass_at_k(n, c, k, tau) == pytest.approx(sum(right >= least for right in draws) / len(draws))
    assert g_pass_at_k(n, c, k, 0.0) == pytest.approx(pass_at_k(n, c, k))
    assert g_pass_at_k(n, c, k, 1.0) == pytest.approx(all_at_k(n, c, k))


def test_known_rates() -> None:
    assert round(pass_at_k(16, 3, 4), 3) == 0.607
    assert round(all_at_k(16, 12, 4), 3) == 0.272
    assert 0.0 < pass_at_k(2000, 1, 1000) < 1.0
    # 0.3 x 10 is 3, also where the float is a little more.
    assert g_pass_at_k(10, 3, 10, 0.3) == 1.0


@pytest.mark.parametrize("metric", [pass_at_k, all_at_k, lambda n, c, k: g_pass_at_k(n, c, k, 0.5)])
def test_rates_refuse_what_is_undefined(metric: Any) -> None:
    with pytest.raises(ValueError, match=r"@5 needs at least 5 responses per problem; n = 4"):
        metric(4, 4, 5)
    with pytest.raises(ValueError, match="k is at least 1"):
        metric(4, 4, 0)
    with pytest.raises(ValueError, match="impossible"):
        metric(4, 5, 2)
    with pytest.raises(ValueError, match="tau = 50"):
        g_pass_at_k(4, 2, 2, 50)


def test_every_k_with_too_few_responses_is_named() -> None:
    check_k({"pass": [1, 4], "maj": []}, 4, ["aime24"])
    with pytest.raises(DataError, match=r"pass@32, maj@8 needs at least 32 .*; aime24 has n = 4") as caught:
        check_k({"pass": [1, 32], "maj": [8]}, 4, ["aime24"])
    assert caught.value.hint == "set `generation.n: 32` in the recipe, or use k <= 4"


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=8), st.data())
def test_maj_at_k_is_brute_force(answers: list[str | None], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(answers)))
    correct = {"a": True, "b": False, "c": True, "d": False}
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


def test_maj_at_k_where_counting_were_long_is_seeded_and_near_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["1"] * 9 + ["2"] * 7 + [None] * 4
    correct = {"1": True, "2": False}
    exact = maj_at_k(answers, correct, 5, seed=0)
    monkeypatch.setattr("its.metrics.majority.EXACT_WORK", 0)
    sampled = maj_at_k(answers, correct, 5, seed=3, draws=20_000)
    assert sampled == maj_at_k(answers, correct, 5, seed=3, draws=20_000)
    assert sampled == pytest.approx(exact, abs=0.015) and sampled != exact


Ballot = tuple[str | None, VerdictName]


def test_votes_merge_by_equivalence() -> None:
    ballots: list[Ballot] = [("1/2", "correct"), ("0.5", "correct"), ("7", "incorrect"), (None, "no_answer")]
    assert ballot_classes(ballots) == [CORRECT, CORRECT, "7", None]
    # What equals a correct answer is correct, though its own grading timed out; other undecided ones remain separate.
    undecided: list[Ballot] = [("x", "grader_error"), ("1/2", "grader_error"), ("1/2", "correct")]
    assert ballot_classes(undecided) == ["x", CORRECT, CORRECT]
    two_forms: dict[Ballot, int] = {("7", "incorrect"): 2, ("1/2", "correct"): 1, ("0.5", "correct"): 2}
    found = count_votes([two_forms])
    assert (found.accuracy, found.first, found.tied, found.changed) == (1.0, 1, 0, 1)


def test_counted_votes_state_every_tie() -> None:
    right: Ballot = ("1", "correct")
    wrong: Ballot = ("2", "incorrect")
    other: Ballot = ("3", "incorrect")
    blank: Ballot = (None, "no_answer")
    found = count_votes(
        [
            {right: 2, wrong: 1},  # won
            {wrong: 1, right: 1},  # tied, a wrong answer first
            {right: 1, wrong: 1, other: 1},  # tied by three, the correct one first
            {wrong: 1, other: 1},  # tied without the correct one
            {blank: 3},  # no answer at all
            {blank: 2, right: 1},  # a blank never wins
        ]
    )
    assert found.credit_P == pytest.approx([1, 1 / 2, 1 / 3, 0, 0, 1])
    assert (found.first, found.won, found.lost, found.tied, found.blank) == (3, 4, 2, 3, 1)
    with pytest.raises(ValueError, match="problem 0 has no ballot"):
        count_votes([{}])
    with pytest.raises(ValueError, match="at least one problem"):
        count_votes([])


@given(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=7))
def test_counted_votes_are_maj_at_all(answers: list[str | None]) -> None:
    verdicts: list[VerdictName] = [
        "no_answer" if answer is None else "correct" if answer == "1" else "incorrect" for answer in answers
    ]
    found = count_votes([Counter(zip(answers, verdicts, strict=True))])
    correct = {answer: answer == "1" for answer in answers if answer is not None}
    assert found.accuracy == pytest.approx(maj_at_k(answers, correct, len(answers), seed=0))
    assert found.lost <= found.accuracy <= found.won


PROSE = "Let the sides be a and b. Then a + b = 12 and ab = 35, so they are 5 and 7. "


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        (PROSE, False),
        ("", False),
        (PROSE + "Wait, no. " * 30, True),
        (PROSE + "Wait, no. " * 30 + "\n\n", True),
        (PROSE + "Wait, no. " * 30 + "The answer is \\boxed{5}.", False),
        (PROSE + "Wait, no. " * 15, False),  # 150 characters
        (PROSE + "0" * 200, True),
        (PROSE * 4, True),
        (PROSE * 3 + PROSE[:60], False),
        (PROSE * 4 + PROSE[:31], True),
        ("".join(f"Step {i}: check again. " for i in range(50)), False),
        ("aab" * 40 + "ab" * 100, True),
        (("u" * 1999 + "v") * 4, True),
        (("u" * 2000 + "v") * 4, False),
    ],
)
def test_loops(text: str, loops: bool) -> None:
    assert ends_in_loop(text) is loops


@given(st.text(alphabet="ab", min_size=1, max_size=12), st.text(alphabet="abc", max_size=40))
def test_every_repeated_unit_is_found(unit: str, before: str) -> None:
    assert ends_in_loop(before + unit * (200 // len(unit) + 1))


def made(correct: list[int], n: int = 4, **changes: Any) -> Cell:
    size = len(correct)
    values: dict[str, Any] = {
        "checkpoint": "m-d-none-1",
        "model": "m",
        "dataset": "d",
        "train": "none",
        "seed": 1,
        "benchmark": "sums",
        "role": "report",
        "test": "none",
        "block": "NN",
        "n": n,
        "problem_ids": [f"p{i}" for i in range(size)],
        "correct_P": np.array(correct),
        "prompt_tokens_P": np.full(size, 10 * n),
        "thinking_tokens_P": np.full(size, 30 * n),
        "completion_tokens_P": np.full(size, 50 * n),
    }
    return Cell(**{**values, **changes})


def test_a_row_has_every_rate_with_its_interval() -> None:
    cell = made([4, 2, 0], maj_P={3: [1.0, 0.5, 0.0]}, no_answer=3, fallback=6, truncated=2, loops=1)
    (row,) = cell_rows([cell], pass_k=[1, 2], all_k=[2], seed=1, draws=200)
    assert row.avg == row.pass_at_k["1"] == 0.5
    assert row.pass_at_k["2"] == pytest.approx((1 + 5 / 6 + 0) / 3)
    assert row.all_at_k["2"] == pytest.approx((1 + 1 / 6 + 0) / 3)
    assert row.g_pass_at_k["2"]["0.75"] == row.all_at_k["2"]
    assert row.maj == row.maj_at_k["3"] == 0.5 and row.maj_k == 3
    assert sorted(row.intervals) == ["all@2", "maj@3", "pass@1", "pass@2"]
    assert all(0 <= low < high <= 1 for low, high in row.intervals.values())
    assert (row.no_answer_rate, row.truncated_rate, row.loop_rate) == (3 / 12, 2 / 12, 1 / 12)
    assert row.fallback_rate == 6 / 12
    tokens = ("prompt_tokens", "thinking_tokens", "response_tokens", "completion_tokens")
    assert [getattr(row, key) for key in tokens] == [10, 30, 20, 50]
    assert row.correct_per_1000_tokens == 10.0
    assert row.correct_per_1000_tokens_low < 10 < row.correct_per_1000_tokens_high


@pytest.mark.parametrize("order", [(1, 3), (3, 1)])
def test_maj_is_that_of_the_largest_k(order: tuple[int, ...]) -> None:
    maj_P = {1: [0.5, 0.5], 3: [1.0, 0.5]}
    (row,) = cell_rows([made([4, 2], maj_P={k: maj_P[k] for k in order})], pass_k=[], all_k=[], seed=1, draws=50)
    assert (row.maj, row.maj_k, row.maj_at_k) == (0.75, 3, {"1": 0.5, "3": 0.75})


def test_a_cell_without_maj_k_has_no_maj() -> None:
    (row,) = cell_rows([made([4, 2])], pass_k=[], all_k=[], seed=1, draws=50)
    assert row.maj is None and row.maj_k is None and row.maj_at_k == {}


def test_a_pair_over_seeds_is_wider_than_its_seeds_where_they_differ() -> None:
    good, bad = made([4] * 10 + [2] * 10), made([0] * 10 + [1] * 10, seed=2)
    alike, one = pair_row([good, made([4] * 10 + [2] * 10, seed=2)]), pair_row([good])
    apart = pair_row([good, bad])
    assert apart.seeds == [1, 2] and apart.avg == pytest.approx((0.75 + 0.125) / 2)
    assert apart.interval_method == "seeds_and_problems"
    assert apart.high - apart.low > 2 * (one.high - one.low)
    assert apart.high - apart.low > alike.high - alike.low


def _lighteval() -> list[dict[str, Any]]:
    path = SHARED / "grading" / "lighteval_metric_cases.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name} under ITS_SHARED_DATA or ../shared/data")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# Where the other convention is of extraction or grading, not of the metric, the case says how many it found correct.
OTHER_GRADING = {
    "pass_at_k_letters-10": (0, "its letter extractor finds nothing in a bare letter"),
    "pass_at_k_letters-12": (0, "the same"),
    "gpqa_instruct_pass_at_k-71": (1, "a lower case letter is no letter to it"),
    "gpqa_instruct_pass_at_k-74": (2, "`(B)` is B"),
    "gpqa_instruct_pass_at_k-75": (2, "the letter is taken out of a sentence"),
    "gpqa_instruct_pass_at_k-76": (2, "the letter is taken out of a sentence"),
    "avg_at_k-15": (1, "of several references the first alone counts"),
    "g_pass_at_k_math-31": (0, "its math extractor finds nothing in `x^2/2` without dollars"),
    "g_pass_at_k_math-33": (2, "0.75 is 3/4"),
    "g_pass_at_k_math-35": (0, "its math extractor finds nothing in `n(n+1)/2` without dollars"),
    "g_pass_at_k_latex-45": (5, "`$n(n+1)/2$` equals the reference"),
}
# maj@k: theirs takes the first of three different answers, which happens to be correct; a tie is worth a third here.
OTHER_TIE = {"maj_at_k-1": 1 / 3}


def _mean_g_pass_at_k(n: int, c: int, k: int) -> float:
    """mG-pass@k of Liu et al. (arXiv 2412.13147): twice the area under G-pass@k over tau from one half to 1."""
    return 2 / k * sum(g_pass_at_k(n, c, k, i / k) for i in range(ceil(k / 2) + 1, k + 1)) if k > 1 else 0.0


def test_the_published_cases_agree() -> None:
    seen = Counter[str]()
    for case in _lighteval():
        kind = next(
            (name for name in ("g_pass_at_k", "pass_at_k", "avg_at_k", "maj_at_k") if name in case["metric"]), ""
        )
        if not kind:
            continue
        k, samples = case["params"]["k"], case["samples"]
        right = [sample in case["gold"] for sample in samples]
        n, c = len(samples), OTHER_GRADING.get(case["id"], (sum(right), ""))[0]
        for name, expected in case["expected"].items():
            if kind == "pass_at_k":
                value = pass_at_k(n, c, k)
            elif kind == "avg_at_k":  # of the first k; where several are right, c says how many of them
                c = OTHER_GRADING[case["id"]][0] if case["id"] in OTHER_GRADING else sum(right[:k])
                value = c / k
            elif kind == "maj_at_k":
                correct = {sample: sample in case["gold"] for sample in samples}
                value = maj_at_k(samples, correct, k, seed=0)
                expected = OTHER_TIE.get(case["id"], expected)
            else:
                tau = name.rpartition("_")[2]
                value = g_pass_at_k(n, c, k, float(tau)) if "_" in name[-5:] else _mean_g_pass_at_k(n, c, k)
            assert value == pytest.approx(expected, abs=0.007), (case["id"], name)  # some are cut to two places
            seen[kind] += 1
    assert seen == {"pass_at_k": 20, "avg_at_k": 6, "maj_at_k": 4, "g_pass_at_k": 168}


def test_different_settings_are_named_with_their_values() -> None:
    one = {"model": "a", "session": "1", "engine": "vllm", "arguments": {"dtype": "bfloat16"}, "environment": "x"}
    two = {"model": "b", "session": "2", "engine": "vllm", "arguments": {"dtype": "float32", "tensor_parallel_size": 2}}
    assert different_settings([one, {**one, "model": "c", "session": "3"}]) == {}
    assert different_settings([one, two, one]) == {
        "arguments.dtype": ["bfloat16", "float32"],
        "arguments.tensor_parallel_size": ["-", "2"],
        "environment": ["x", "-"],
    }
    assert different_settings([]) == {}
