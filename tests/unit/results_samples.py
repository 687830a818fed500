"""Rows of `results/*.json` as plain values, for the tests of the report and of `its.results`."""

from __future__ import annotations

from typing import Any

RATES = {
    ("none", "none"): (0.270, 0.212, 0.335),
    ("none", "random"): (0.245, 0.190, 0.309),
    ("random", "none"): (0.255, 0.199, 0.320),
    ("random", "random"): (0.250, 0.195, 0.314),
    (None, "none"): (0.030, 0.014, 0.064),
    (None, "random"): (0.025, 0.011, 0.057),
}


def cell(train: str | None, test: str, seed: int = 1, **changes: Any) -> dict[str, Any]:
    avg, low, high = RATES[train, test]
    row = {
        "checkpoint": f"smollm2_135m-arithmetic-{train}-{seed}" if train else "smollm2_135m-base",
        "model": "smollm2_135m",
        "dataset": "arithmetic" if train else None,
        "train": train,
        "variant": "default" if train else None,
        "seed": seed if train else None,
        "saved_at": "last" if train else None,
        "benchmark": "sums",
        "pool": None,
        "role": "report",
        "test": test,
        "block": ("X" if train != "none" else "N") + ("X" if test != "none" else "N") if train else "base",
        "problems": 200,
        "n": 1,
        "avg": avg,
        "low": low,
        "high": high,
        "interval_method": "nearest_coverage",
        "correct": round(200 * avg),
        "maj": avg,
        "maj_k": 1,
        "maj_at_k": {"1": avg},
        "pass_at_k": {},
        "all_at_k": {},
        "g_pass_at_k": {},
        "intervals": {"maj@1": [low, high]},
        "no_answer_rate": 0.01,
        "fallback_rate": 0.02,
        "truncated_rate": 0.0,
        "loop_rate": 0.005,
        "errors": 0,
        "equal_samples": 0,
        "grader_errors": 0,
        "prompt_tokens": 52.1,
        "thinking_tokens": 0.0,
        "response_tokens": 43.2,
        "completion_tokens": 43.2,
        "correct_per_1000_tokens": 1000 * avg / 43.2,
        "correct_per_1000_tokens_low": 1000 * low / 43.2,
        "correct_per_1000_tokens_high": 1000 * high / 43.2,
        "grader_version": "1",
    }
    return {**row, **changes}


def comparison(name: str, difference: float, low: float, high: float, p: float, found: bool = False) -> dict[str, Any]:
    return {
        "benchmark": "sums",
        "pool": None,
        "name": name,
        "of": None,
        "against": None,
        "of_cells": 1,
        "against_cells": 1,
        "unmatched_cells": 0,
        "difference": difference,
        "low": low,
        "high": high,
        "p_value": p,
        "problems": 200,
        "significant": found,
        "minimum_detectable_difference": 0.08,
        "one_sided_lower_bound": low,
        "p_value_method": "sign_flip",
        "seeds": 1,
        "different_settings": {},
    }


def pair_test(first: str, second: str, difference: float, p: float, found: bool = False) -> dict[str, Any]:
    row: dict[str, Any] = {
        "benchmark": "sums",
        "model": "smollm2_135m",
        "dataset": "arithmetic",
        "variant": "default",
        "first": first,
        "second": second,
        "seeds": [1],
    }
    row |= {"difference": difference, "low": difference - 0.1, "high": difference + 0.1, "p_value": p}
    return {**row, "raw_p_value": p, "problems": 200, "significant": found, "minimum_detectable_difference": 0.11}


def block(name: str, cells: int = 1) -> dict[str, Any]:
    avg, low, high = 0.27, 0.212, 0.335
    row: dict[str, Any] = {
        "benchmark": "sums",
        "pool": None,
        "block": name,
        "avg": avg,
        "low": low,
        "high": high,
        "problems": 200,
        "cells": cells,
    }
    return {**row, "interval_method": "cluster_agresti_coull"}


def pair(train: str, test: str, seeds: list[int]) -> dict[str, Any]:
    avg, low, high = RATES[train, test]
    row: dict[str, Any] = {
        "benchmark": "sums",
        "model": "smollm2_135m",
        "dataset": "arithmetic",
        "train": train,
        "variant": "default",
        "test": test,
        "pool": None,
        "over_checkpoints": None,
    }
    row |= {"role": "report", "block": "NN", "seeds": seeds, "problems": 200, "n": 1}
    return {**row, "avg": avg, "low": low, "high": high, "interval_method": "seeds_and_problems"}


SELECTION: dict[str, Any] = {
    "model": "smollm2_135m",
    "dataset": "arithmetic",
    "variant": "default",
    "train": "random",
    "test": "none",
    "pairs": 4,
    "left_out": [],
    "tied": [],
    "select": {"benchmarks": ["tuning"], "problems": 200, "avg": 0.3, "gain": 0.045},
    "report": [
        {
            "benchmark": "sums",
            "problems": 200,
            "n": 1,
            "seeds": [1],
            "avg": 0.255,
            "low": 0.199,
            "high": 0.32,
            "interval_method": "nearest_coverage",
            "gain": 0.0,
            "shrinkage": 0.045,
        }
    ],
}
NESTED: dict[str, Any] = {
    "benchmark": "sums",
    "model": "smollm2_135m",
    "dataset": "arithmetic",
    "variant": "default",
    "pairs": 4,
    "problems": 200,
    "n": 1,
    "held_out_score": 0.251,
    "low": 0.18,
    "high": 0.34,
    "optimism": 0.019,
    "chosen": {"none/none": 0.7, "random/none": 0.3},
    "maximum": None,
}
EFFICIENCY: dict[str, Any] = {
    "benchmark": "sums",
    "name": "XX - NN",
    "ratio": 0.8,
    "low": 0.7,
    "high": 0.92,
    "p_value": 0.004,
    "problems": 200,
    "tokens": "fewer",
    "accuracy": "undecided",
    "difference": -0.02,
    "difference_lower_bound": -0.06,
    "shown": False,
    "claim": "fewer tokens, accuracy undecided",
}


CURVE: dict[str, Any] = {
    "benchmark": "sums",
    "axis": "checkpoint",
    "model": "smollm2_135m",
    "dataset": "arithmetic",
    "train": "random",
    "variant": "default",
    "test": "none",
    "points": [
        {"at": at, "label": label, "avg": avg, "low": avg - 0.06, "high": avg + 0.06}
        | {"interval_method": "nearest_coverage", "seeds": [1]}
        for at, label, avg in ((0.5, "1/2", 0.22), (1.0, "last", 0.255))
    ],
}
POOL: dict[str, Any] = {
    "name": "both",
    "benchmarks": ["sums", "more"],
    "problems": 400,
    "cells": 6,
    "left_out": ["smollm2_135m-base/none"],
}
NOT_POSSIBLE: dict[str, Any] = {
    "kind": "comparison",
    "benchmark": "sums",
    "name": "size",
    "reason": "no cell matches `of`",
}
VOTE: dict[str, Any] = {
    "benchmark": "sums",
    "pool": None,
    "name": "ensemble@2, test none",
    "ensemble": None,
    "strategies": None,
    "model": "smollm2_135m",
    "dataset": "arithmetic",
    "variant": "default",
    "test": "none",
    "members": [
        {"checkpoint": "smollm2_135m-arithmetic-none-1", "test": "none"},
        {"checkpoint": "smollm2_135m-arithmetic-random-1", "test": "none"},
    ],
    "n": 1,
    "accuracy": 0.28,
    "low": 0.222,
    "high": 0.346,
    "interval_method": "nearest_coverage",
    "problems": 200,
    "tie_rule": "a tie counts by the share of the tied answers that are correct",
    "accuracy_first_wins": 0.29,
    "accuracy_ties_lost": 0.25,
    "accuracy_ties_won": 0.31,
    "tied": 12,
    "blank": 0,
    "changed_by_equivalence": 1,
    "different_settings": {},
}
