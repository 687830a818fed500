"""Stage `measure`: verdicts -> `cells`, `comparisons`, `votes`, `selection` and `metrics` (`.json`) under results/.

Files are read cell by cell and kept as counts: memory grows with problems and different answers, not with responses.
The rows are the models of `its.results`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from its.errors import DataError, Fault
from its.files import atomic_file
from its.metrics.cells import Cell, cell_rows, check_k
from its.metrics.chosen_pair import nested_rows, selection_rows
from its.metrics.comparisons import PLANS, block_rows, efficiencies, pair_rows, planned_contrasts, table_tests
from its.metrics.equal_samples import EqualSamples
from its.metrics.intervals import mean_interval
from its.metrics.loops import ends_in_loop
from its.metrics.majority import maj_at_k
from its.metrics.settings import different_settings
from its.metrics.votes import CORRECT, ballot_classes, count_votes
from its.results import (
    RESULTS_VERSION,
    BenchmarkMetrics,
    Block,
    BlockResult,
    CellResult,
    Cells,
    CellTest,
    ChosenPair,
    Comparison,
    Comparisons,
    HeldOutChoice,
    Metrics,
    PairResult,
    Selection,
    TokenComparison,
    VoteMember,
    VoteResult,
    Votes,
    write_results,
)
from its.rows import raise_faults, read_json, read_rows
from its.seeds import derive_seed
from its.study.study import Cell as StudyCell
from its.study.study import Checkpoint, Study, split_query_id
from its.study.votes import Vote, benchmark_votes
from its.types import FALLBACK_RULES, Response, Verdict, VerdictName

REMEDY = "`dvc repro` writes the rows of data/responses and data/verdicts again"
BLOCK_OF: dict[tuple[bool, bool], Block] = {
    (False, False): "NN",
    (False, True): "NX",
    (True, False): "XN",
    (True, True): "XX",
}
"""Whether the train and the test strategy use a persona -> the block."""
Ballots = dict[str, dict[tuple[str | None, VerdictName], int]]
"""problem_id -> how many responses gave each (answer, verdict), in the order in which they were met."""


def run(study: Study) -> str:
    """Measure every cell, compare blocks and cells paired by problem, choose a pair, let checkpoints vote."""
    recipe, design, measure = study.recipe, study.recipe.design, study.recipe.measure
    for n, places in _by_n(study).items():
        check_k({"maj": measure.maj_k, "pass": measure.pass_k, "all": measure.all_k}, n, places)
    seed_of = partial(derive_seed, recipe.seed)
    settings = _settings(study)
    counted: list[Cell] = []
    cells: list[CellResult] = []
    blocks: list[BlockResult] = []
    pairs: list[PairResult] = []
    comparisons: list[Comparison] = []
    tests: list[CellTest] = []
    efficiency: list[TokenComparison] = []
    votes: list[VoteResult] = []
    ensemble: dict[str, dict[str, float]] = {}
    for benchmark in design.benchmarks:
        voting = benchmark_votes(study, benchmark)
        own, ballots = _benchmark(study, benchmark, {cell for vote in voting for cell in vote.cells})
        counted += own
        cells += cell_rows(
            own, pass_k=measure.pass_k, all_k=measure.all_k, seed=seed_of("tokens", benchmark), draws=measure.draws
        )
        blocks += block_rows(own)
        pairs += pair_rows(own)
        contrasts = planned_contrasts(own, seed_of, measure.draws)
        told = _with_sampling(study, settings, benchmark)
        different = {plan.name: _different(told, plan.blocks, own) for plan in PLANS}
        comparisons += [
            Comparison(benchmark=benchmark, **asdict(item), different_settings=different[item.name])
            for item in contrasts
        ]
        efficiency += efficiencies(own, {item.name: item for item in contrasts}, seed_of, measure.draws)
        tests += table_tests(own, seed_of, measure.draws)
        counts = {vote.key: _vote(study, benchmark, vote, ballots, told) for vote in voting}
        votes += counts.values()
        ensemble[benchmark] = {key: round(row.accuracy, 4) for key, row in counts.items()}
    selection = selection_rows(counted)
    nested = nested_rows(counted, seed_of, maximum=measure.maximum)
    metrics = _metrics(cells, blocks, comparisons, ensemble, selection, nested)
    file: dict[str, Any] = {"version": RESULTS_VERSION, "recipe": recipe.recipe}
    write_results(study.results("cells.json"), Cells(**file, cells=cells, blocks=blocks, pairs=pairs))
    write_results(
        study.results("comparisons.json"),
        Comparisons(**file, comparisons=comparisons, tests=tests, efficiency=efficiency),
    )
    write_results(study.results("votes.json"), Votes(**file, votes=votes))
    write_results(study.results("selection.json"), Selection(**file, selection=selection, nested=nested))
    write_results(study.results("metrics.json"), metrics)
    _write_plot(study, cells)
    compared = f"{len(comparisons)} comparisons of blocks and {len(tests)} of cells"
    return f"results: {len(cells)} cells, {compared}, {len(votes)} votes"


def _settings(study: Study) -> dict[str, Any]:
    """Checkpoint -> the settings its responses were generated with.

    Raises:
        DataError: if a checkpoint of the design is missing.
    """
    path = study.sessions_path()
    settings: dict[str, Any] = read_json(path)
    missing = [f"`{checkpoint.name}`" for checkpoint in study.checkpoints() if checkpoint.name not in settings]
    if missing:
        raise DataError(f"{path}: no entry for {', '.join(missing)}", REMEDY)
    return settings


def _by_n(study: Study) -> dict[int, list[str]]:
    """n -> the benchmarks that have it, or where models differ, `MODEL on BENCHMARK`."""
    out: dict[int, list[str]] = {}
    for benchmark in study.recipe.design.benchmarks:
        n_of = {model: study.recipe.generation.of(model, benchmark).n for model in study.recipe.design.models}
        same = len(set(n_of.values())) == 1
        for model, n in n_of.items():
            places = out.setdefault(n, [])
            place = benchmark if same else f"{model} on {benchmark}"
            places += [] if place in places else [place]
    return out


def _with_sampling(study: Study, settings: dict[str, Any], benchmark: str) -> dict[str, Any]:
    """The settings of each checkpoint with its sampling on one benchmark, which overlays may change."""
    out = {}
    for checkpoint in study.checkpoints():
        generation = study.recipe.generation.of(checkpoint.model, benchmark)
        out[checkpoint.name] = {**settings[checkpoint.name], "generation": {"n": generation.n, **generation.settings()}}
    return out


def _benchmark(study: Study, benchmark: str, voters: set[StudyCell]) -> tuple[list[Cell], dict[StudyCell, Ballots]]:
    """The cells of one benchmark, checkpoint by checkpoint, and the ballots of the voters among them."""
    problem_ids = [problem.problem_id for problem in study.problems(benchmark)]
    cells: list[Cell] = []
    ballots: dict[StudyCell, Ballots] = {}
    for voter in study.cells(benchmark):
        cell, cast = _read(study, *voter, problem_ids)
        cells.append(cell)
        if voter in voters:
            ballots[voter] = cast
    return cells, ballots


def _read(
    study: Study, checkpoint: Checkpoint, benchmark: str, test: str, problem_ids: Sequence[str]
) -> tuple[Cell, Ballots]:
    """One cell from its verdicts and responses.

    Raises:
        FaultsError: naming every problem without n verdicts, and every unexpected row.
    """
    recipe = study.recipe
    n, strategies = recipe.generation.of(checkpoint.model, benchmark).n, recipe.strategies
    block: Block = "base"
    if checkpoint.train is not None:
        block = BLOCK_OF[strategies[checkpoint.train].has_context, strategies[test].has_context]
    place_of = {problem_id: place for place, problem_id in enumerate(problem_ids)}
    counts = {name: np.zeros(len(problem_ids), dtype=np.int64) for name in ("correct", "prompt", "thinking", "all")}
    cast: dict[str, list[tuple[str | None, VerdictName]]] = {problem_id: [] for problem_id in problem_ids}
    totals = dict.fromkeys(("no_answer", "fallback", "grader_errors", "truncated", "loops", "errors"), 0)
    samples = EqualSamples(n)
    faults: list[Fault] = []
    graders: dict[str, None] = {}
    open_rows = set()
    path = study.verdicts_path(checkpoint, benchmark, test)
    unexpected: dict[str, int] = {}
    for verdict in read_rows(path, Verdict, key=lambda row: (row.query_id, row.sample_index)):
        set_name, problem_id, strategy = split_query_id(verdict.query_id)
        if (set_name, strategy) != (benchmark, test) or problem_id not in place_of:
            unexpected[verdict.query_id] = unexpected.get(verdict.query_id, 0) + 1
            continue
        open_rows.add((verdict.query_id, verdict.sample_index))
        cast[problem_id].append((verdict.answer, verdict.verdict))
        counts["correct"][place_of[problem_id]] += verdict.verdict == "correct"
        totals["no_answer"] += verdict.verdict == "no_answer"
        totals["fallback"] += verdict.rule in FALLBACK_RULES
        totals["grader_errors"] += verdict.verdict == "grader_error"
        graders[verdict.grader_version] = None
    for query_id, rows in unexpected.items():
        what = f"`{query_id}` ({rows} rows) is not a query of `{benchmark}` under test strategy `{test}`"
        faults.append(Fault(f"{path}", what, REMEDY))
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
        # A model that loops while thinking never reaches its text.
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
        grader_errors=totals["grader_errors"],
        grader_version=", ".join(graders),
    )
    seed = derive_seed(recipe.seed, "maj", checkpoint.name, benchmark, test)
    for k in recipe.measure.maj_k:
        cell.maj_P[k] = [_majority(given, k, derive_seed(seed, problem_id)) for problem_id, given in cast.items()]
    return cell, {problem_id: dict(Counter(given)) for problem_id, given in cast.items()}


def _majority(given: Sequence[tuple[str | None, VerdictName]], k: int, seed: int) -> float:
    classes = ballot_classes(given)
    return maj_at_k(classes, {name: name == CORRECT for name in classes if name is not None}, k, seed)


def _different(settings: dict[str, Any], blocks: Sequence[str], cells: Sequence[Cell]) -> dict[str, list[str]]:
    """The settings, with their values, in which the generation of a comparison's cells differs."""
    compared = {cell.checkpoint for cell in cells if cell.block in blocks}
    return different_settings([settings[checkpoint] for checkpoint in sorted(compared)])


def _vote(
    study: Study, benchmark: str, vote: Vote, ballots: Mapping[StudyCell, Ballots], settings: Mapping[str, Any]
) -> VoteResult:
    """The result of a vote; each response is a ballot."""
    merged: Ballots = {problem_id: {} for problem_id in ballots[vote.cells[0]]}
    for cell in vote.cells:
        for problem_id, cast in ballots[cell].items():
            for ballot, count in cast.items():
                merged[problem_id][ballot] = merged[problem_id].get(ballot, 0) + count
    found = count_votes(merged.values())
    problems = len(found.credit_P)
    interval = mean_interval(found.credit_P, responses=1)
    checkpoints = list(dict.fromkeys(checkpoint for checkpoint, _, _ in vote.cells))
    return VoteResult(
        benchmark=benchmark,
        name=vote.name,
        ensemble=vote.ensemble,
        model=vote.model,
        dataset=vote.dataset,
        test=vote.test,
        members=[VoteMember(checkpoint=checkpoint.name, test=test) for checkpoint, _, test in vote.cells],
        n=study.recipe.generation.of(checkpoints[0].model, benchmark).n,
        accuracy=found.accuracy,
        low=interval.low,
        high=interval.high,
        interval_method=interval.method,
        problems=problems,
        tie_rule="a tie counts by the share of the tied answers that are correct",
        accuracy_first_wins=found.first / problems,
        accuracy_ties_won=found.won / problems,
        accuracy_ties_lost=found.lost / problems,
        tied=found.tied,
        blank=found.blank,
        changed_by_equivalence=found.changed,
        different_settings=different_settings([settings[checkpoint.name] for checkpoint in checkpoints]),
    )


def _write_plot(study: Study, cells: Sequence[CellResult]) -> None:
    """The cells as a table that DVC plots; a row names its model and dataset where there are several."""
    only = len(study.recipe.design.models) * len(study.recipe.design.datasets) == 1
    with atomic_file(study.results("plots", "cells.csv")) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["benchmark", "train", "test", "accuracy", "low", "high"])
        for cell in cells:
            whose = "" if only else f"{cell.model}, " if cell.dataset is None else f"{cell.model}-{cell.dataset}, "
            name = whose + ("base" if cell.train is None else f"{cell.train}, seed {cell.seed}")
            writer.writerow([cell.benchmark, name, cell.test, cell.avg, cell.low, cell.high])


def _metrics(
    cells: Sequence[CellResult],
    blocks: Sequence[BlockResult],
    comparisons: Sequence[Comparison],
    ensemble: Mapping[str, dict[str, float]],
    selection: Sequence[ChosenPair],
    nested: Sequence[HeldOutChoice],
) -> Metrics:
    """The small view that `dvc metrics show` and `dvc exp show` flatten to columns."""
    out: dict[str, BenchmarkMetrics] = {}
    for benchmark in dict.fromkeys(cell.benchmark for cell in cells):
        avg: dict[str, dict[str, float]] = {}
        for cell in cells:
            if cell.benchmark == benchmark:
                avg.setdefault(cell.checkpoint, {})[cell.test] = round(cell.avg, 4)
        out[benchmark] = BenchmarkMetrics(
            avg=avg,
            block={row.block: round(row.avg, 4) for row in blocks if row.benchmark == benchmark},
            difference={row.name: round(row.difference, 4) for row in comparisons if row.benchmark == benchmark},
            ensemble=ensemble[benchmark],
            selected={
                f"{choice.model}-{choice.dataset}": round(row.avg, 4)
                for choice in selection
                for row in choice.report
                if row.benchmark == benchmark
            },
            held_out_score={
                f"{row.model}-{row.dataset}": round(row.held_out_score, 4)
                for row in nested
                if row.benchmark == benchmark
            },
        )
    return Metrics(out)
