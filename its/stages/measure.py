"""Stage `measure`: verdicts -> results/: `cells`, `comparisons`, `votes`, `selection` and `metrics`, all `.json`.

Files are read cell by cell and kept as counts: memory grows with problems and different answers, not with responses.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from its.errors import DataError, Fault
from its.files import atomic_file
from its.metrics.cells import Cell, cell_rows, check_k
from its.metrics.equal_samples import EqualSamples
from its.metrics.intervals import mean_interval
from its.metrics.loops import ends_in_loop
from its.metrics.majority import maj_at_k
from its.metrics.planned import PLANS, block_rows, efficiencies, pair_rows, planned_contrasts, table_tests
from its.metrics.reporting import nested_rows, selection_rows
from its.metrics.settings import unlike_settings
from its.metrics.votes import CORRECT, ballot_classes, tally
from its.rows import raise_faults, read_json, read_rows, write_json
from its.seeds import derive_seed
from its.study.study import Checkpoint, Study, split_query_id
from its.types import FALLBACK_RULES, Response, Verdict, VerdictName

RESULTS_VERSION = 1
REMEDY = "`dvc repro` makes the rows of data/responses and data/verdicts that belong"
Ballots = dict[str, dict[tuple[str | None, VerdictName], int]]
"""problem_id -> how many responses gave each (answer, verdict), in the order of first meeting."""


def run(study: Study) -> str:
    """Measure every cell, compare blocks and cells paired by problem, choose a pair, let checkpoints vote."""
    recipe, design, measure = study.recipe, study.recipe.design, study.recipe.measure
    asked = {"maj": measure.maj_k, "pass": measure.pass_k, "all": measure.all_k}
    check_k(asked, recipe.generation.n, design.benchmarks)
    seed_of = partial(derive_seed, recipe.seed)
    settings = _settings(study)
    cells: list[Cell] = []
    rows: list[dict[str, Any]] = []
    blocks: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    tokens: list[dict[str, Any]] = []
    votes: list[dict[str, Any]] = []
    for benchmark in design.benchmarks:
        own, ballots = _benchmark(study, benchmark)
        cells += own
        rows += cell_rows(
            own, pass_k=measure.pass_k, all_k=measure.all_k, seed=seed_of("tokens", benchmark), draws=measure.draws
        )
        blocks += block_rows(own)
        pairs += pair_rows(own)
        contrasts = planned_contrasts(own, seed_of, measure.draws)
        unlike = {plan.name: _unlike(settings, plan.blocks, own) for plan in PLANS}
        comparisons += [{"benchmark": benchmark, **asdict(c), "unlike": unlike[c.name]} for c in contrasts]
        found = efficiencies(own, {c.name: c for c in contrasts}, seed_of, measure.draws)
        tokens += [{"benchmark": benchmark, **asdict(item)} for item in found]
        tests += table_tests(own, seed_of, measure.draws)
        votes += [vote for test in design.test if (vote := _vote(benchmark, test, ballots[test]))]
    selection = selection_rows(cells)
    nested = nested_rows(cells, seed_of, maximum=measure.maximum)
    version = {"version": RESULTS_VERSION}
    named = {**version, "recipe": recipe.recipe}
    write_json(study.results("cells.json"), {**named, "cells": rows, "blocks": blocks, "pairs": pairs})
    write_json(
        study.results("comparisons.json"),
        {**version, "comparisons": comparisons, "tests": tests, "efficiency": tokens},
    )
    write_json(study.results("votes.json"), {**version, "votes": votes})
    write_json(study.results("selection.json"), {**version, "selection": selection, "nested": nested})
    write_json(study.results("metrics.json"), _metrics(rows, blocks, comparisons, votes, selection, nested))
    _write_plot(study, rows)
    looks = f"{len(comparisons)} comparisons of blocks and {len(tests)} of cells"
    return f"results: {len(rows)} cells, {looks}, {len(votes)} votes"


def _settings(study: Study) -> dict[str, Any]:
    """By checkpoint, what its responses were made with.

    Raises:
        DataError: if a checkpoint of the design is missing.
    """
    path = study.sessions_path()
    settings: dict[str, Any] = read_json(path)
    missing = [f"`{checkpoint.name}`" for checkpoint in study.checkpoints() if checkpoint.name not in settings]
    if missing:
        raise DataError(f"{path}: nothing on {', '.join(missing)}", REMEDY)
    return settings


def _benchmark(study: Study, benchmark: str) -> tuple[list[Cell], dict[str, dict[str, Ballots]]]:
    """The cells of one benchmark, checkpoint by checkpoint, and by test strategy the ballots of each voter."""
    everyone = study.recipe.vote.members == "all"
    problem_ids = [problem.problem_id for problem in study.problems(benchmark)]
    cells: list[Cell] = []
    ballots: dict[str, dict[str, Ballots]] = {test: {} for test in study.recipe.design.test}
    for checkpoint in study.checkpoints():
        for test in study.recipe.design.test:
            cell, cast = _read(study, checkpoint, benchmark, test, problem_ids)
            cells.append(cell)
            if everyone or checkpoint.train is not None:
                ballots[test][checkpoint.name] = cast
    return cells, ballots


def _read(
    study: Study, checkpoint: Checkpoint, benchmark: str, test: str, problem_ids: Sequence[str]
) -> tuple[Cell, Ballots]:
    """One cell from its verdicts and responses.

    Raises:
        FaultsError: naming every problem that has not n verdicts, and every row that does not belong.
    """
    recipe = study.recipe
    n, strategies = recipe.generation.n, recipe.strategies
    block = "base"
    if checkpoint.train is not None:
        block = "".join("X" if strategies[name].has_context else "N" for name in (checkpoint.train, test))
    place_of = {problem_id: place for place, problem_id in enumerate(problem_ids)}
    counts = {name: np.zeros(len(problem_ids), dtype=np.int64) for name in ("correct", "prompt", "thinking", "all")}
    cast: dict[str, list[tuple[str | None, VerdictName]]] = {problem_id: [] for problem_id in problem_ids}
    totals = dict.fromkeys(("no_answer", "fallback", "grader_error", "truncated", "loops", "errors"), 0)
    samples = EqualSamples(n)
    faults: list[Fault] = []
    graders: dict[str, None] = {}
    open_rows = set()
    path = study.verdicts_path(checkpoint, benchmark, test)
    strangers: dict[str, int] = {}
    for verdict in read_rows(path, Verdict, key=lambda row: (row.query_id, row.sample_index)):
        set_name, problem_id, strategy = split_query_id(verdict.query_id)
        if (set_name, strategy) != (benchmark, test) or problem_id not in place_of:
            strangers[verdict.query_id] = strangers.get(verdict.query_id, 0) + 1
            continue
        open_rows.add((verdict.query_id, verdict.sample_index))
        cast[problem_id].append((verdict.answer, verdict.verdict))
        counts["correct"][place_of[problem_id]] += verdict.verdict == "correct"
        totals["no_answer"] += verdict.verdict == "no_answer"
        totals["fallback"] += verdict.rule in FALLBACK_RULES
        totals["grader_error"] += verdict.verdict == "grader_error"
        graders[verdict.grader_version] = None
    for query_id, rows in strangers.items():
        told = f"`{query_id}` ({rows} rows) is no query of `{benchmark}` under test strategy `{test}`"
        faults.append(Fault(f"{path}", told, REMEDY))
    for problem_id, given in cast.items():
        if len(given) != n:
            faults.append(Fault(f"{path}", f"`{problem_id}` has {len(given)} verdicts, n is {n}", REMEDY))
    raise_faults(faults)
    path = study.responses_path(checkpoint, benchmark, test)
    for response in read_rows(path, Response, key=lambda row: (row.query_id, row.sample_index)):
        key = (response.query_id, response.sample_index)
        if key not in open_rows:
            faults.append(Fault(f"{path}", f"sample {key[1]} of `{key[0]}` has no verdict", REMEDY))
            continue
        open_rows.remove(key)
        place = place_of[split_query_id(response.query_id)[1]]
        counts["prompt"][place] += response.prompt_tokens
        counts["thinking"][place] += response.thinking_tokens
        counts["all"][place] += response.completion_tokens
        totals["truncated"] += response.finish_reason == "length"
        totals["errors"] += response.finish_reason == "error"
        samples.add(place, response.thinking, response.text)
        # A model that loops while thinking never gets to a text.
        totals["loops"] += ends_in_loop(response.text if response.text.strip() else response.thinking or "")
    for query_id, index in sorted(open_rows):
        faults.append(Fault(f"{path}", f"sample {index} of `{query_id}` has a verdict and no response", REMEDY))
    raise_faults(faults)
    cell = Cell(
        checkpoint.name,
        checkpoint.model,
        checkpoint.dataset,
        checkpoint.train,
        checkpoint.seed,
        benchmark,
        recipe.benchmarks[benchmark].role,
        test,
        block,
        n,
        problem_ids,
        counts["correct"],
        counts["prompt"],
        counts["thinking"],
        counts["all"],
        no_answer=totals["no_answer"],
        fallback=totals["fallback"],
        truncated=totals["truncated"],
        loops=totals["loops"],
        errors=totals["errors"],
        equal_samples=samples.problems,
        grader_error=totals["grader_error"],
        grader_version=", ".join(graders),
    )
    seed = derive_seed(recipe.seed, "maj", checkpoint.name, benchmark, test)
    for k in recipe.measure.maj_k:
        cell.maj_P[k] = [_majority(given, k, derive_seed(seed, problem_id)) for problem_id, given in cast.items()]
    return cell, {problem_id: _counted(given) for problem_id, given in cast.items()}


def _majority(given: Sequence[tuple[str | None, VerdictName]], k: int, seed: int) -> float:
    classes = ballot_classes(given)
    return maj_at_k(classes, {name: name == CORRECT for name in classes if name is not None}, k, seed)


def _counted(given: Sequence[tuple[str | None, VerdictName]]) -> dict[tuple[str | None, VerdictName], int]:
    out: dict[tuple[str | None, VerdictName], int] = {}
    for ballot in given:
        out[ballot] = out.get(ballot, 0) + 1
    return out


def _unlike(settings: dict[str, Any], blocks: Sequence[str], cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Where the cells of a comparison were generated under unlike settings: the setting and its values."""
    compared = {cell.checkpoint for cell in cells if cell.block in blocks}
    return unlike_settings([settings[checkpoint] for checkpoint in sorted(compared)])


def _vote(benchmark: str, test: str, members: dict[str, Ballots]) -> dict[str, Any]:
    """The vote of several checkpoints under one test strategy; {} with fewer than two members.

    Each response is a ballot; `accuracy` counts a tie by the share of the tied answers that are correct.
    """
    if len(members) < 2:
        return {}
    merged: Ballots = {problem_id: {} for problem_id in next(iter(members.values()))}
    for cast in members.values():
        for problem_id, ballots in cast.items():
            for ballot, count in ballots.items():
                merged[problem_id][ballot] = merged[problem_id].get(ballot, 0) + count
    found = tally(merged.values())
    problems = len(found.credit_P)
    interval = mean_interval(found.credit_P, responses=1)
    return {
        "benchmark": benchmark,
        "name": f"ensemble@{len(members)}, test {test}",
        "test": test,
        "members": list(members),
        "accuracy": found.accuracy,
        "low": interval.low,
        "high": interval.high,
        "interval": interval.method,
        "problems": problems,
        "tie_rule": "a tie counts by the share of the tied answers that are correct",
        "accuracy_first_wins": found.first / problems,
        "accuracy_ties_won": found.won / problems,
        "accuracy_ties_lost": found.lost / problems,
        "tied": found.tied,
        "blank": found.blank,
        "moved_by_equivalence": found.moved,
    }


def _write_plot(study: Study, rows: Sequence[dict[str, Any]]) -> None:
    with atomic_file(study.results("plots", "cells.csv")) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["benchmark", "train", "test", "accuracy", "low", "high"])
        for row in rows:
            name = "base" if row["train"] is None else f"{row['train']}, seed {row['seed']}"
            writer.writerow([row["benchmark"], name, row["test"], row["avg"], row["low"], row["high"]])


def _metrics(
    rows: list[dict[str, Any]],
    blocks: list[dict[str, Any]],
    comparisons: list[dict[str, Any]],
    votes: list[dict[str, Any]],
    selection: list[dict[str, Any]],
    nested: list[dict[str, Any]],
) -> dict[str, Any]:
    """The small nested view that `dvc metrics show` and `dvc exp show` flatten to columns."""
    out: dict[str, Any] = {}
    for row in rows:
        cell = out.setdefault(row["benchmark"], {}).setdefault("avg", {}).setdefault(row["checkpoint"], {})
        cell[row["test"]] = round(row["avg"], 4)
    for block in blocks:
        out[block["benchmark"]].setdefault("block", {})[block["block"]] = round(block["avg"], 4)
    for item in comparisons:
        out[item["benchmark"]].setdefault("difference", {})[item["name"]] = round(item["difference"], 4)
    for vote in votes:
        out[vote["benchmark"]].setdefault("ensemble", {})[vote["test"]] = round(vote["accuracy"], 4)
    for choice in selection:
        for row in choice["report"]:
            place = out[row["benchmark"]].setdefault("selected", {})
            place[f"{choice['model']}-{choice['dataset']}"] = round(row["avg"], 4)
    for row in nested:
        out[row["benchmark"]].setdefault("nested", {})[f"{row['model']}-{row['dataset']}"] = round(row["estimate"], 4)
    return out
