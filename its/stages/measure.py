"""Stage `measure`: verdicts -> `cells`, `comparisons`, `votes`, `selection` and `metrics` (`.json`) under results/.

Files are read cell by cell and kept as counts: memory grows with problems and different answers, not with responses.
The rows are the models of `its.results`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np

from its.errors import DataError, Fault
from its.files import atomic_file
from its.metrics.cells import Cell, cell_rows, check_k, pooled
from its.metrics.chosen_pair import nested_rows, selection_rows
from its.metrics.comparisons import (
    CO_DESIGN,
    Compared,
    SeedOf,
    Sides,
    block_rows,
    comparison_rows,
    efficiencies,
    pair_rows,
    table_name,
    table_tests,
)
from its.metrics.curves import curve_rows
from its.metrics.equal_samples import EqualSamples
from its.metrics.intervals import mean_interval
from its.metrics.loops import ends_in_loop
from its.metrics.majority import maj_at_k
from its.metrics.pairing import AXES
from its.metrics.settings import different_settings
from its.metrics.votes import CORRECT, ballot_classes, count_votes
from its.recipe.schema import BASE, LAST, ContrastSection
from its.results import (
    RESULTS_VERSION,
    BenchmarkMetrics,
    Block,
    BlockResult,
    CellResult,
    Cells,
    CellTest,
    Comparison,
    Comparisons,
    Curve,
    Metrics,
    NotPossible,
    PairResult,
    PoolResult,
    Selection,
    TokenComparison,
    VoteMember,
    VoteResult,
    Votes,
    write_results,
)
from its.rows import count_lines, raise_faults, read_json, read_rows
from its.seeds import derive_seed
from its.shown import counted
from its.strategies.members import letter
from its.study.study import Cell as StudyCell
from its.study.study import Checkpoint, Study, split_query_id
from its.study.votes import Vote, benchmark_votes, pool_votes
from its.types import FALLBACK_RULES, Response, Verdict, VerdictName

REMEDY = "`dvc repro` writes the rows of data/responses and data/verdicts again"
Ballots = dict[str, dict[tuple[str | None, VerdictName], int]]
"""problem_id -> how many responses gave each (answer, verdict), in the order in which they were met."""


@dataclass
class _Found:
    """All rows of the results, benchmark by benchmark, then pool by pool."""

    counted: list[Cell] = field(default_factory=list)
    cells: list[CellResult] = field(default_factory=list)
    blocks: list[BlockResult] = field(default_factory=list)
    pairs: list[PairResult] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    pools: list[PoolResult] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    tests: list[CellTest] = field(default_factory=list)
    efficiency: list[TokenComparison] = field(default_factory=list)
    not_possible: list[NotPossible] = field(default_factory=list)
    votes: list[VoteResult] = field(default_factory=list)


@dataclass(frozen=True)
class _Measured:
    """One benchmark or pool as it was read: its cells, the ballots of those that vote, the votes.

    `settings` are those of each checkpoint, once for each benchmark of a pool.
    """

    name: str
    cells: Sequence[Cell]
    ballots: Mapping[StudyCell, Ballots]
    votes: Sequence[Vote]
    settings: Sequence[Mapping[str, Any]]

    def different(self, checkpoints: Iterable[str]) -> dict[str, list[str]]:
        """The settings, with their values, in which checkpoints differ on a benchmark."""
        out: dict[str, list[str]] = {}
        compared = sorted(set(checkpoints))
        for settings in self.settings:
            for name, values in different_settings([settings[checkpoint] for checkpoint in compared]).items():
                out[name] = list(dict.fromkeys([*out.get(name, []), *values]))
        return out


def run(study: Study) -> str:
    """Measure every cell, compare blocks and cells paired by problem, choose a pair, let checkpoints vote."""
    recipe, design, measure = study.recipe, study.recipe.design, study.recipe.measure
    for n, places in _by_n(study).items():
        check_k({"maj": measure.maj_k, "pass": measure.pass_k, "all": measure.all_k}, n, places)
    seed_of = partial(derive_seed, recipe.seed)
    settings = _settings(study)
    rows_of = _rows_of(study)
    found = _Found()
    kept: dict[str, _Measured] = {}
    inside = {name for names in measure.pool.values() for name in names}
    voting_of = {pool: pool_votes(study, pool) for pool in measure.pool}
    for benchmark in design.benchmarks:
        voting = benchmark_votes(study, benchmark)
        own, ballots = _benchmark(study, benchmark, {cell for vote in voting for cell in vote.cells})
        read = _Measured(benchmark, own, ballots, voting, [_with_sampling(study, settings, benchmark)])
        _add(found, study, read, seed_of, rows_of)
        if benchmark in inside:
            kept[benchmark] = read
    for pool, names in measure.pool.items():
        members = [kept[name] for name in names]
        read, account = _pool(pool, members, voting_of[pool])
        found.pools.append(account)
        _add(found, study, read, seed_of, rows_of)
    selection, not_chosen = selection_rows(found.counted)
    nested = nested_rows(found.counted, seed_of, maximum=measure.maximum)
    metrics = _metrics(found)
    file: dict[str, Any] = {"version": RESULTS_VERSION, "recipe": recipe.recipe}
    write_results(
        study.results("cells.json"),
        Cells(
            **file,
            cells=found.cells,
            blocks=found.blocks,
            pairs=found.pairs,
            curves=found.curves,
            pools=found.pools,
        ),
    )
    write_results(
        study.results("comparisons.json"),
        Comparisons(
            **file,
            comparisons=found.comparisons,
            tests=found.tests,
            efficiency=found.efficiency,
            not_possible=found.not_possible,
        ),
    )
    write_results(study.results("votes.json"), Votes(**file, votes=found.votes))
    write_results(
        study.results("selection.json"),
        Selection(**file, selection=selection, nested=nested, not_possible=not_chosen),
    )
    write_results(study.results("metrics.json"), metrics)
    _write_plot(study, found.cells)
    return _told(found)


def _told(found: _Found) -> str:
    """The line that the stage prints."""
    contrasts = sum(row.of is not None for row in found.comparisons)
    compared = f"{counted(len(found.comparisons) - contrasts, 'comparison')} of blocks"
    parts = [counted(contrasts, "contrast")] if contrasts else []
    parts = [compared, *parts]
    more = f"{', '.join(parts)} and {len(found.tests)} of cells"
    out = f"results: {counted(len(found.cells), 'cell')}, {more}, {counted(len(found.votes), 'vote')}"
    names = [f"{row.name} on {row.benchmark} ({row.reason})" for row in found.not_possible]
    return f"{out}; not possible: {'; '.join(names[:5])}" + _more(names[5:]) if names else out


def _more(names: Sequence[str]) -> str:
    return f"; and {len(names)} more, in comparisons.json" if names else ""


def _add(found: _Found, study: Study, read: _Measured, seed_of: SeedOf, rows_of: Mapping[tuple[str, str], int]) -> None:
    """Add the rows of one benchmark or pool."""
    measure, own = study.recipe.measure, read.cells
    found.counted += own
    found.cells += cell_rows(
        own, pass_k=measure.pass_k, all_k=measure.all_k, seed=seed_of("tokens", read.name), draws=measure.draws
    )
    found.blocks += block_rows(own)
    found.pairs += pair_rows(own)
    found.curves += curve_rows(own, rows_of)
    wanted = [
        _sides(contrast, own)
        for contrast in measure.contrasts
        if contrast.benchmarks is None or read.name in contrast.benchmarks
    ]
    compared, not_possible = comparison_rows(read.name, own, wanted, seed_of, measure.draws)
    found.comparisons += [_comparison(read, item) for item in compared]
    found.not_possible += not_possible
    planned = {item.contrast.name: item.contrast for item in compared if item.sides is None}
    found.efficiency += efficiencies(own, planned, seed_of, measure.draws)
    tests, not_possible = table_tests(own, seed_of, measure.draws)
    found.tests += tests
    found.not_possible += not_possible
    found.votes += [_vote(study, read, vote) for vote in read.votes]


def _comparison(read: _Measured, item: Compared) -> Comparison:
    sides = item.sides
    pool = read.cells[0].pool
    return Comparison(
        benchmark=read.name,
        pool=None if pool is None else list(pool),
        of=None if sides is None else {axis: list(values) for axis, values in sides.of_values.items()},
        against=None if sides is None else {axis: list(values) for axis, values in sides.against_values.items()},
        of_cells=len(item.of),
        against_cells=len(item.against),
        unmatched_cells=item.unmatched,
        **asdict(item.contrast),
        different_settings=read.different(cell.checkpoint for cell in [*item.of, *item.against]),
    )


def _sides(contrast: ContrastSection, cells: Sequence[Cell]) -> Sides:
    """The cells that a contrast of the recipe selects; a side that names no checkpoint is that of the last ones.

    Base has none: a side of base alone stays as it is.
    """
    sides = [contrast.of, contrast.against]
    if any(side.checkpoint is not None for side in sides):
        sides = [
            side
            if side.checkpoint is not None or side.given().get("train") == [BASE]
            else side.model_copy(update={"checkpoint": LAST})
            for side in sides
        ]
    else:
        cells = [cell for cell in cells if cell.is_last]
    of, against = ([cell for cell in cells if side.matches(_axes(cell))] for side in sides)
    return Sides(contrast.name, of, against, *(side.given() for side in sides))


def _axes(cell: Cell) -> dict[str, Any]:
    """Axis -> the cell's value, as `Selection.matches` reads them."""
    return {axis: value(cell) for axis, value in AXES.items()} | ({"train": BASE} if cell.train is None else {})


def _pool(name: str, members: Sequence[_Measured], votes: Sequence[Vote]) -> tuple[_Measured, PoolResult]:
    """A pool of benchmarks that were read, from the cells that all of them have."""
    by_cell: dict[tuple[str, str], list[Cell]] = {}
    for member in members:
        for cell in member.cells:
            by_cell.setdefault((cell.checkpoint, cell.test), []).append(cell)
    cells = [pooled(name, several) for several in by_cell.values() if len(several) == len(members)]
    ballots: dict[StudyCell, Ballots] = {}
    for vote in votes:
        for checkpoint, _, test in vote.cells:
            ballots[checkpoint, name, test] = {
                f"{member.name}/{problem_id}": cast
                for member in members
                for problem_id, cast in member.ballots[checkpoint, member.name, test].items()
            }
    account = PoolResult(
        name=name,
        benchmarks=[member.name for member in members],
        problems=sum(len(member.cells[0].problem_ids) for member in members if member.cells),
        cells=len(cells),
        left_out=[f"{checkpoint}/{test}" for (checkpoint, test), own in by_cell.items() if len(own) < len(members)],
    )
    settings = [told for member in members for told in member.settings]
    return _Measured(name, cells, ballots, votes, settings), account


def _rows_of(study: Study) -> dict[tuple[str, str], int]:
    """(dataset, train strategy) -> rows trained on; {} where one dataset leaves no curve over their number."""
    if len(study.recipe.design.datasets) < 2:
        return {}
    return {
        (name, strategy): count_lines(study.queries_path("train", name, strategy))
        for side, name, strategies in study.sets()
        if side == "train"
        for strategy in strategies
    }


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
        models = dict.fromkeys(checkpoint.model for checkpoint, _, _ in study.cells(benchmark))
        n_of = {model: study.recipe.generation.of(model, benchmark).n for model in models}
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
        block = cast(Block, letter(strategies, checkpoint.train) + letter(strategies, test))
    place_of = {problem_id: place for place, problem_id in enumerate(problem_ids)}
    counts = {name: np.zeros(len(problem_ids), dtype=np.int64) for name in ("correct", "prompt", "thinking", "all")}
    ballots_of: dict[str, list[tuple[str | None, VerdictName]]] = {problem_id: [] for problem_id in problem_ids}
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
        ballots_of[problem_id].append((verdict.answer, verdict.verdict))
        counts["correct"][place_of[problem_id]] += verdict.verdict == "correct"
        totals["no_answer"] += verdict.verdict == "no_answer"
        totals["fallback"] += verdict.rule in FALLBACK_RULES
        totals["grader_errors"] += verdict.verdict == "grader_error"
        graders[verdict.grader_version] = None
    for query_id, rows in unexpected.items():
        what = f"`{query_id}` ({counted(rows, 'row')}) is not a query of `{benchmark}` under test strategy `{test}`"
        faults.append(Fault(f"{path}", what, REMEDY))
    for problem_id, given in ballots_of.items():
        if len(given) != n:
            faults.append(Fault(f"{path}", f"`{problem_id}` has {counted(len(given), 'verdict')}, n is {n}", REMEDY))
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
        variant=checkpoint.variant,
        saved_at=checkpoint.saved_at,
    )
    seed = derive_seed(recipe.seed, "maj", checkpoint.name, benchmark, test)
    for k in recipe.measure.maj_k:
        cell.maj_P[k] = [_majority(given, k, derive_seed(seed, problem_id)) for problem_id, given in ballots_of.items()]
    return cell, {problem_id: dict(Counter(given)) for problem_id, given in ballots_of.items()}


def _majority(given: Sequence[tuple[str | None, VerdictName]], k: int, seed: int) -> float:
    classes = ballot_classes(given)
    return maj_at_k(classes, {name: name == CORRECT for name in classes if name is not None}, k, seed)


def _vote(study: Study, read: _Measured, vote: Vote) -> VoteResult:
    """The result of a vote; each response is a ballot."""
    merged: Ballots = {problem_id: {} for problem_id in read.ballots[vote.cells[0]]}
    for cell in vote.cells:
        for problem_id, given in read.ballots[cell].items():
            for ballot, count in given.items():
                merged[problem_id][ballot] = merged[problem_id].get(ballot, 0) + count
    found = count_votes(merged.values())
    problems = len(found.credit_P)
    interval = mean_interval(found.credit_P, responses=1)
    checkpoints = list(dict.fromkeys(checkpoint for checkpoint, _, _ in vote.cells))
    pool = read.cells[0].pool
    member = read.name if pool is None else pool[0]  # the benchmarks of a pool have one n
    return VoteResult(
        benchmark=read.name,
        pool=None if pool is None else list(pool),
        name=vote.name,
        ensemble=vote.ensemble,
        strategies=vote.strategies,
        model=vote.model,
        dataset=vote.dataset,
        variant=vote.variant,
        test=vote.test,
        members=[VoteMember(checkpoint=checkpoint.name, test=test) for checkpoint, _, test in vote.cells],
        n=study.recipe.generation.of(checkpoints[0].model, member).n,
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
        different_settings=read.different(checkpoint.name for checkpoint in checkpoints),
    )


def _write_plot(study: Study, cells: Sequence[CellResult]) -> None:
    """The cells as a table that DVC plots; a row names its model, dataset and variant where there are several."""
    design = study.recipe.design
    only = len(design.models) * len(design.datasets) * len(design.variants) == 1
    with atomic_file(study.results("plots", "cells.csv")) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["benchmark", "train", "test", "accuracy", "low", "high"])
        for cell in cells:
            table = cell.model if cell.dataset is None else table_name(cell.model, cell.dataset, cell.variant)
            name = "" if only else f"{table}, "
            name += "base" if cell.train is None else f"{cell.train}, seed {cell.seed}"
            name += "" if cell.saved_at in (None, LAST) else f", checkpoint {cell.saved_at}"
            writer.writerow([cell.benchmark, name, cell.test, cell.avg, cell.low, cell.high])


def _metrics(found: _Found) -> Metrics:
    """The few numbers that `dvc metrics show` and `dvc exp show` flatten to columns.

    A benchmark that is in a pool is left out, and so is one that only selects, unless there is no other.
    """
    pooled_names = {name for row in found.pools for name in row.benchmarks}
    shown = {cell.benchmark: cell.role for cell in found.cells if cell.benchmark not in pooled_names}
    reported = [name for name, role in shown.items() if role == "report"] or list(shown)
    out: dict[str, BenchmarkMetrics] = {}
    for name in reported:
        block = {row.block: round(row.avg, 4) for row in found.blocks if row.benchmark == name}
        planned = [row for row in found.comparisons if row.benchmark == name and row.of is None]
        difference = {row.name: round(row.difference, 4) for row in planned}
        out[name] = BenchmarkMetrics(
            base=block.get("base"),
            NN=block.get("NN"),
            XX=block.get("XX"),
            XX_NN=difference.get("XX - NN"),
            codesign=difference.get(CO_DESIGN),
        )
    return Metrics(out)
