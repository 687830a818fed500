"""Whether the statistics keep their promises: coverage, false alarms, power, the choice of a pair, time.

Everything is simulated from seeds, so the figures repeat. `nice -n 19 python benchmarks/calibration.py` takes some
minutes; `--only coverage` runs one part, `--trials` sets how many tables are drawn. docs/statistics.md has
the figures.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

import resource
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations, product
from math import lgamma, sqrt

import numpy as np
from numpy.typing import NDArray

from its.metrics.bootstrap import resampled_counts
from its.metrics.cells import Cell, cell_rows
from its.metrics.chosen_pair import nested_rows, selection_rows
from its.metrics.compare import contrast, minimum_detectable_difference
from its.metrics.comparisons import Sides, block_rows, comparison_rows, efficiencies, pair_rows, table_tests
from its.metrics.intervals import mean_interval, seeds_interval
from its.metrics.majority import maj_at_k
from its.metrics.quantiles import normal_quantile, t_quantile
from its.metrics.selection import choose, nested_estimate
from its.metrics.table import compare_cells
from its.results import Block, Role
from its.seeds import derive_seed

PROBLEMS = (30, 60, 500)
SAMPLES = (1, 2, 4, 8, 16)
RATES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9)
SPREADS = {"equal": None, "beta 8": 8.0, "beta 2": 2.0, "beta 0.5": 0.5, "beta 0.1": 0.1}
"""How much problems differ: all of one rate, or rates from a beta distribution with this sum of parameters."""
BLOCK_OF: dict[tuple[bool, bool], Block] = {
    (False, False): "NN",
    (False, True): "NX",
    (True, False): "XN",
    (True, True): "XX",
}
"""Whether the train and the test strategy use a persona -> the block."""
Bounds = tuple[float, float]


def rates_of(generator: np.random.Generator, rate: float, spread: float | None, problems: int) -> NDArray[np.float64]:
    """The rate of each problem; their mean in the long run is `rate`."""
    if spread is None:
        return np.full(problems, rate)
    return generator.beta(rate * spread, (1 - rate) * spread, size=problems)


def settings() -> Iterator[tuple[int, int, float, str]]:
    """(problems, n, rate, spread) of the grid; one response has the same distribution whatever the spread."""
    for problems in PROBLEMS:
        for n in SAMPLES:
            for rate in RATES:
                for name in SPREADS if n > 1 else ("equal",):
                    yield problems, n, rate, name


def _ours(values: NDArray[np.float64], n: int) -> Bounds:
    found = mean_interval(values, responses=n)
    return found.low, found.high


def _student(values: NDArray[np.float64], n: int) -> Bounds:
    half = t_quantile(0.975, values.size - 1) * float(values.std(ddof=1)) / values.size**0.5
    return float(values.mean()) - half, float(values.mean()) + half


def _every_response(values: NDArray[np.float64], n: int) -> Bounds:
    return _wilson(round(float(values.sum()) * n), values.size * n)


def _wilson(correct: int, total: int) -> Bounds:
    z, share = normal_quantile(0.975), correct / total
    centre, half = share + z * z / (2 * total), z * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (centre - half) / (1 + z * z / total), (centre + half) / (1 + z * z / total)


def _agresti_coull(correct: int, total: int) -> Bounds:
    z = normal_quantile(0.975)
    centre = (correct + z * z / 2) / (total + z * z)
    half = z * sqrt(centre * (1 - centre) / (total + z * z))
    return centre - half, centre + half


def _counted(correct: int, total: int) -> Bounds:
    return _ours(np.repeat([1.0, 0.0], [correct, total - correct]), 1)


def _percentile(values: NDArray[np.float64], n: int) -> Bounds:
    counts = np.concatenate(list(resampled_counts(values.size, 400, np.random.default_rng(1))))
    low, high = np.quantile(counts @ values / values.size, [0.025, 0.975])
    return float(low), float(high)


Setting = tuple[int, int, float, str]


def _share(setting: Setting, bounds: Callable[[NDArray[np.float64], int], Bounds], trials: int, word: str) -> float:
    problems, n, rate, spread = setting
    generator = np.random.default_rng(derive_seed(word, problems, n, str(rate), spread))
    hits = 0
    for _ in range(trials):
        low, high = bounds(generator.binomial(n, rates_of(generator, rate, SPREADS[spread], problems)) / n, n)
        hits += low <= rate <= high
    return hits / trials


def coverage(trials: int) -> dict[str, object]:
    """Coverage of 95 % intervals over the grid; the percentile bootstrap on fewer trials, since it is slow.

    Of hundreds of settings some are outside a band by chance: those of ours are drawn again, with 20 times the trials.
    """
    methods: dict[str, tuple[Callable[[NDArray[np.float64], int], Bounds], int]] = {
        "its": (_ours, trials),
        "student": (_student, trials),
        "wilson, responses as independent": (_every_response, trials),
        "percentile bootstrap": (_percentile, max(50, trials // 10)),
    }
    out: dict[str, object] = {}
    for name, (bounds, times) in methods.items():
        shares: dict[Setting, float] = {}
        for problems, n, rate, spread in settings():
            if name == "percentile bootstrap" and (problems == 500 or rate not in (0.1, 0.5, 0.9)):
                continue
            shares[problems, n, rate, spread] = _share((problems, n, rate, spread), bounds, times, "coverage")
        worst, best = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
        out[name] = {
            "trials": times,
            "settings": len(shares),
            "mean": _mean(shares.values()),
            "by problems": {
                p: _mean(v for k, v in shares.items() if k[0] == p) for p in PROBLEMS if any(k[0] == p for k in shares)
            },
            "by n": {n: _mean(v for k, v in shares.items() if k[1] == n) for n in SAMPLES},
            "least": [round(shares[worst], 4), worst],
            "most": [round(shares[best], 4), best],
            "below 93.5 %": [[round(v, 4), k] for k, v in shares.items() if v < 0.935][:12],
            "above 97 %": [[round(v, 4), k] for k, v in shares.items() if v > 0.97][:12],
            "outside": sum(not 0.935 <= v <= 0.97 for v in shares.values()),
        }
        if name == "its":
            again = [k for k, v in shares.items() if not 0.935 <= v <= 0.97]
            out["its, those outside again"] = [[_share(k, bounds, 20 * times, "again"), k] for k in again]
    return out


def one_response(_: int) -> dict[str, object]:
    """One response a problem: coverage and mean length computed exactly at 801 rates from 0.1 to 0.9."""
    out: dict[str, object] = {}
    rates = np.linspace(0.1, 0.9, 801)
    for total in (10, 20, 30, 40, 60, 100, 198, 500):
        logs = np.array([lgamma(count + 1) for count in range(total + 1)])
        counts = np.arange(total + 1)
        chances = np.exp(
            logs[-1] - logs - logs[::-1] + np.outer(np.log(rates), counts) + np.outer(np.log1p(-rates), total - counts)
        )
        for name, bounds in (("its", _counted), ("agresti and coull", _agresti_coull), ("wilson", _wilson)):
            low, high = np.array([bounds(count, total) for count in range(total + 1)]).T
            covered = (chances * ((low <= rates[:, None]) & (rates[:, None] <= high))).sum(axis=1)
            out[f"{total} problems, {name}"] = {
                "mean": _mean(covered),
                "least": round(float(covered.min()), 4),
                "most": round(float(covered.max()), 4),
                "rates within 93.5 to 97 %": _mean((covered >= 0.935) & (covered <= 0.97)),
                "length": _mean(chances @ (high.clip(0, 1) - low.clip(0, 1))),
                "at 0.1, 0.2, 0.3, 0.4, 0.5": [round(float(covered[at]), 4) for at in (0, 100, 200, 300, 400)],
            }
    return out


def differences(trials: int) -> dict[str, object]:
    """Paired contrasts: coverage of their intervals, false alarms at 5 %, power at the detectable difference."""
    out = {}
    for problems in (30, 60, 200):
        for n in (1, 4, 16):
            generator = np.random.default_rng(derive_seed("differences", problems, n))
            covered = alarms = found = 0
            for trial in range(trials):
                rates = np.clip(generator.beta(2, 2, size=problems), 0.0, 0.6)
                one, two = (generator.binomial(n, rates) / n for _ in range(2))
                null = contrast("null", one, two, seed=trial, draws=400)
                covered += null.low <= 0 <= null.high
                alarms += null.significant
                gain = min(0.4, minimum_detectable_difference(one - two) or 0.4)
                better = generator.binomial(n, rates + gain) / n
                found += contrast("gain", better, two, seed=trial, draws=400).significant
            shares = {"coverage": covered, "false alarms": alarms, "power at detectable": found}
            out[f"{problems} problems, n = {n}"] = {key: round(value / trials, 4) for key, value in shares.items()}
    return {"trials": trials, **out}


def table(trials: int) -> dict[str, object]:
    """Tables of 16 equal cells: how often any of 120 pairs is called different."""
    out = {}
    for problems, n in ((30, 1), (30, 16), (60, 4), (200, 1)):
        generator = np.random.default_rng(derive_seed("table", problems, n))
        alarms = raw = 0
        for trial in range(trials):
            rates = generator.beta(1, 1, size=problems)
            values = {str(i): generator.binomial(n, rates) / n for i in range(16)}
            tests = compare_cells(values, list(combinations(values, 2)), seed=trial, draws=1000)
            alarms += any(test.significant for test in tests)
            raw += any(test.raw_p_value < 0.05 for test in tests)
        out[f"{problems} problems, n = {n}"] = {"any": alarms / trials, "any, uncorrected": raw / trials}
    return {"trials": trials, **out}


def selection(trials: int) -> dict[str, object]:
    """The best of 16 equal cells: bias of its own mean, of a held-out benchmark and of the nested estimate, in points.

    And 16 cells of different rates, where the truth is the rate of the chosen cell.
    """
    out = {}
    for what, gaps in (("equal", np.zeros(16)), ("unlike", np.linspace(-0.1, 0.1, 16))):
        for problems, n in ((30, 1), (30, 16), (60, 1), (500, 1)):
            generator = np.random.default_rng(derive_seed("selection", what, problems, n))
            errors: dict[str, list[float]] = {"maximum": [], "held-out benchmark": [], "nested": []}
            covered = {"held-out benchmark": 0, "nested": 0}
            for trial in range(trials):
                tables = []
                for _ in range(2):
                    rates = np.clip(0.5 + generator.normal(0, 0.15, size=problems), 0.1, 0.9)
                    tables.append({str(i): generator.binomial(n, rates + gaps[i]) / n for i in range(16)})
                name = choose({key: float(value.mean()) for key, value in tables[0].items()}).name
                truth = 0.5 + float(gaps[int(name)])
                held = mean_interval(tables[1][name], responses=n)
                nested = nested_estimate(tables[0], responses=n, seed=trial, repeats=20)
                errors["maximum"].append(float(tables[0][name].mean()) - truth)
                errors["held-out benchmark"].append(float(tables[1][name].mean()) - truth)
                errors["nested"].append(nested.score - truth)
                covered["held-out benchmark"] += held.low <= truth <= held.high
                covered["nested"] += nested.low <= truth <= nested.high
            out[f"{what}, {problems} problems, n = {n}"] = {
                **{f"{key}, bias in points": round(100 * float(np.mean(value)), 2) for key, value in errors.items()},
                **{f"{key}, coverage": round(value / trials, 3) for key, value in covered.items()},
            }
    return {"trials": trials, **out}


def _hierarchical_bootstrap(correct_S_P: NDArray[np.int64], n: int, *, seed: int, draws: int) -> NDArray[np.float64]:
    """Draws of avg@n under resampling of training seeds and problems, crossed: what `seeds_interval` is compared with.

    Seeds are few: S of them show (S - 1) / S of their variance, for which `seeds_interval` corrects.

    Args:
        correct_S_P: training seed, then problem: how many of its n responses are correct.
    """
    seeds, problems = correct_S_P.shape
    generator = np.random.default_rng(seed)
    out = []
    for counts in resampled_counts(problems, draws, generator):
        weights = np.concatenate(list(resampled_counts(seeds, len(counts), generator)))
        out.append(((weights @ (correct_S_P / n)) * counts).sum(axis=1) / (seeds * problems))
    return np.concatenate(out)


def seeds(trials: int) -> dict[str, object]:
    """Several training seeds: coverage for other seeds and problems, and contrasts of two equal strategies."""
    out = {}
    for count in (2, 3, 5):
        for spread in (0.0, 0.03):
            generator = np.random.default_rng(derive_seed("seeds", count, str(spread)))
            hits = dict.fromkeys(("its", "problems alone", "hierarchical percentile"), 0)
            alarms = {"its": 0, "problems alone": 0}
            for trial in range(trials):
                rates = generator.beta(2, 2, size=60)
                correct, other = (
                    generator.binomial(16, np.clip(rates + generator.normal(0, spread, size=(count, 1)), 0, 1))
                    for _ in range(2)
                )
                both = seeds_interval(correct / 16, responses=16)
                alone = mean_interval((correct / 16).mean(axis=0), responses=16 * count)
                drawn = np.quantile(_hierarchical_bootstrap(correct, 16, seed=trial, draws=400), [0.025, 0.975])
                hits["its"] += both.low <= 0.5 <= both.high
                hits["problems alone"] += alone.low <= 0.5 <= alone.high
                hits["hierarchical percentile"] += bool(drawn[0] <= 0.5 <= drawn[1])
                sides = other / 16, correct / 16
                means = [side.mean(axis=0) for side in sides]
                alarms["its"] += contrast("null", *sides, seed=trial, draws=200).significant
                alarms["problems alone"] += contrast("null", *means, seed=trial, draws=200).significant
            out[f"{count} seeds, spread {100 * spread:g} points"] = {
                "coverage of a pair": {name: round(times / trials, 3) for name, times in hits.items()},
                "false alarms of a contrast": {name: round(times / trials, 3) for name, times in alarms.items()},
            }
    return {"trials": trials, **out}


SIDES = (("dataset", "d", "e"), ("variant", "lora", "default"), ("train", "none", "random"))
"""The contrasts of equal cells: an axis and its two values."""


def contrasts(trials: int) -> dict[str, object]:
    """Planned comparisons and three contrasts of equal cells, in a full product and in designs with holes.

    Strategies, datasets and variants are equal; models differ by 20 points, and in the design with holes the good one
    has more of the cells with personas, so blocks that are not paired by model differ.
    """
    out: dict[str, object] = {}
    for kind in ("full", "holes"):
        for problems, n, spread in ((30, 1, 0.0), (30, 16, 0.0), (60, 4, 0.0), (60, 16, 0.03)):
            generator = np.random.default_rng(9)
            count = 3 if spread else 1
            alarms = {"any of the family": 0, "XX - NN": 0, "XX - NN without pairing": 0}
            covered = compared = 0
            for trial in range(trials):
                cells = _null_cells(generator, problems, n, count, spread, holes=kind == "holes")
                sides = []
                for axis, one, other in SIDES:
                    of, against = ([cell for cell in cells if getattr(cell, axis) == value] for value in (one, other))
                    sides.append(Sides(axis, of, against, {axis: [one]}, {axis: [other]}))
                found, _ = comparison_rows("b", cells, sides, lambda *_, trial=trial: trial, 300)
                alarms["any of the family"] += any(item.contrast.significant for item in found)
                alarms["XX - NN"] += sum(i.contrast.significant for i in found if i.contrast.name == "XX - NN")
                covered += sum(item.contrast.low <= 0 <= item.contrast.high for item in found)
                compared += len(found)
                means = [np.mean([c.means_P for c in cells if c.block == block], axis=0) for block in ("XX", "NN")]
                alone = contrast("null", *means, seed=trial, draws=300)
                alarms["XX - NN without pairing"] += alone.significant
            out[f"{kind}, {problems} problems, n = {n}, {count} seeds, spread {100 * spread:g} points"] = {
                "false alarms": {name: round(times / trials, 3) for name, times in alarms.items()},
                "coverage of the intervals": round(covered / compared, 3),
            }
    return {"trials": trials, **out}


def _null_cells(
    generator: np.random.Generator, problems: int, n: int, seeds: int, spread: float, *, holes: bool
) -> list[Cell]:
    """Cells of two models, datasets, variants, train and test strategies, of which only the models differ."""
    rates = generator.beta(2, 2, size=problems)
    zeros = np.zeros(problems, dtype=np.int64)
    cells = []
    for model, dataset, variant, train, seed in product(
        "gw", "de", ("default", "lora"), ("none", "random"), range(seeds)
    ):
        rate = np.clip(rates + (0.1 if model == "g" else -0.1) + generator.normal(0, spread), 0, 1)
        for test in ("none", "random"):
            if holes and generator.random() < (0.7 if (model == "g") == (train == "none") else 0.1):
                continue
            block = BLOCK_OF[train != "none", test != "none"]
            name = "-".join((model, dataset, train, str(seed), variant))
            ids = [str(i) for i in range(problems)]
            correct = generator.binomial(n, rate)
            cells.append(
                Cell(
                    name,
                    model,
                    dataset,
                    train,
                    seed,
                    "b",
                    "report",
                    test,
                    block,
                    n,
                    ids,
                    correct,
                    zeros,
                    zeros,
                    zeros,
                    variant=variant,
                )
            )
    return cells


def speed(draws: int) -> dict[str, object]:
    """All statistics of 4 x 4 strategies and base on four benchmarks, n = 16, and how much memory that takes."""
    started, wall = time.process_time(), time.perf_counter()
    generator = np.random.default_rng(1)
    seed_of = partial(derive_seed, 1)
    strategies = ("none", "similar", "unsimilar", "random")
    cells: list[Cell] = []
    sets: tuple[tuple[str, int, Role], ...] = (
        ("a", 30, "report"),
        ("b", 30, "report"),
        ("c", 198, "select"),
        ("d", 500, "report"),
    )
    for benchmark, problems, role in sets:
        rates = generator.beta(1, 1, size=problems)
        for train in (None, *strategies):
            for test in strategies:
                correct = generator.binomial(16, rates)
                wrong = [[f"{i}" for i in generator.integers(0, 6, size=16 - c)] for c in correct]
                ballots = [["right"] * int(c) + w for c, w in zip(correct, wrong, strict=True)]
                known = {"right": True, **{str(i): False for i in range(6)}}
                block: Block = "base" if train is None else BLOCK_OF[train != "none", test != "none"]
                tokens = generator.poisson(9000, size=problems) * 16
                cells.append(
                    Cell(
                        f"m-{train}",
                        "m",
                        None if train is None else "s",
                        train,
                        None if train is None else 1,
                        benchmark,
                        role,
                        test,
                        block,
                        16,
                        [str(i) for i in range(problems)],
                        correct,
                        tokens // 90,
                        tokens // 2,
                        tokens,
                        maj_P={8: [maj_at_k(ballot, known, 8, seed=1) for ballot in ballots]},
                    )
                )
    made, made_wall = time.process_time(), time.perf_counter()
    tests = 0
    for benchmark in "abcd":
        own = [cell for cell in cells if cell.benchmark == benchmark]
        cell_rows(own, pass_k=[1, 4, 16], all_k=[4], seed=1, draws=draws)
        block_rows(own)
        pair_rows(own)
        compared, _ = comparison_rows(benchmark, own, [], seed_of, draws)
        efficiencies(own, {item.contrast.name: item.contrast for item in compared}, seed_of, draws)
        tests += len(table_tests(own, seed_of, draws)[0])
    selection_rows(cells)
    nested_rows(cells, seed_of, maximum=True)
    return {
        "cells": len(cells),
        "tests of pairs": tests,
        "draws": draws,
        "processor seconds, drawing cells and maj@8": round(made - started, 2),
        "processor seconds, statistics": round(time.process_time() - made, 2),
        "wall seconds, all": round(time.perf_counter() - wall, 2),
        "wall seconds, statistics": round(time.perf_counter() - made_wall, 2),
        "peak memory, MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)


def main() -> None:
    """Print one JSON document for each requested part."""
    parts: dict[str, Callable[[int], dict[str, object]]] = {
        "coverage": coverage,
        "one response": one_response,
        "differences": differences,
        "table": table,
        "selection": selection,
        "seeds": seeds,
        "contrasts": contrasts,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="simulated tables for each setting")
    parser.add_argument("--draws", type=int, default=10_000, help="draws in the measurement of time")
    parser.add_argument("--only", choices=[*parts, "speed"], action="append")
    chosen = parser.parse_args()
    for name, part in parts.items():
        if not chosen.only or name in chosen.only:
            print(json.dumps({name: part(chosen.trials)}, indent=1), flush=True)
    if not chosen.only or "speed" in chosen.only:
        print(json.dumps({"speed": speed(chosen.draws)}, indent=1), flush=True)


if __name__ == "__main__":
    main()
