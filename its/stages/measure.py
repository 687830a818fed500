"""Stage `measure`: verdicts -> `results/metrics.json`, `cells.json`, `comparisons.json`, `votes.json` and a plot."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from its.errors import DataError
from its.metrics.compare import Contrast, contrast, holm
from its.metrics.intervals import cluster_bootstrap, interval_of, wilson
from its.metrics.rates import avg_at_n, maj_at_k
from its.metrics.settings import unlike_settings
from its.metrics.votes import majority_vote
from its.rows import atomic_file, read_json, read_rows, write_json
from its.seeds import derive_seed
from its.stages.study import Checkpoint, Study, load_study, split_query_id
from its.types import Response, Verdict

RESULTS_VERSION = 1
BLOCKS = ("NN", "NX", "XN", "XX")


@dataclass
class _Cell:
    """One cell's verdicts by problem, in sampling order; problems in the order of the benchmark."""

    checkpoint: Checkpoint
    benchmark: str
    test: str
    block: str
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    responses: list[Response] = field(default_factory=list)

    @property
    def correct_P_N(self) -> list[list[bool]]:
        return [[verdict.verdict == "correct" for verdict in row] for row in self.verdicts.values()]

    @property
    def means_P(self) -> list[float]:
        return [fmean(row) for row in self.correct_P_N]


def run() -> str:
    """Measure every cell, compare blocks paired by problem, let checkpoints vote."""
    study = load_study()
    design = study.recipe.design
    cells = [
        _read(study, checkpoint, benchmark, test)
        for checkpoint in study.checkpoints()
        for benchmark in design.benchmarks
        for test in design.test
    ]
    rows = [_row(study, cell) for cell in cells]
    settings = read_json(study.sessions_path())
    blocks, comparisons, votes = [], [], []
    for benchmark in design.benchmarks:
        own = [cell for cell in cells if cell.benchmark == benchmark]
        means = {name: _block_means([cell for cell in own if cell.block == name]) for name in ("base", *BLOCKS)}
        blocks += [_block(study, benchmark, name, means[name], own) for name in means if means[name]]
        comparisons += [
            {"benchmark": benchmark, **asdict(item), "unlike": _unlike(settings, item.name, own)}
            for item in _contrasts(study, benchmark, means, own)
        ]
        votes += [_vote(study, benchmark, test, own) for test in design.test]
    votes = [vote for vote in votes if vote]
    write_json(study.results("cells.json"), {"version": RESULTS_VERSION, "cells": rows, "blocks": blocks})
    write_json(study.results("comparisons.json"), {"version": RESULTS_VERSION, "comparisons": comparisons})
    write_json(study.results("votes.json"), {"version": RESULTS_VERSION, "votes": votes})
    write_json(study.results("metrics.json"), _metrics(rows, blocks, comparisons, votes))
    with atomic_file(study.results("plots", "cells.csv")) as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["benchmark", "train", "test", "accuracy", "low", "high"])
        for row in rows:
            name = "base" if row["train"] is None else f"{row['train']}, seed {row['seed']}"
            writer.writerow([row["benchmark"], name, row["test"], row["avg"], row["low"], row["high"]])
    return f"results: {len(rows)} cells, {len(comparisons)} comparisons, {len(votes)} votes"


def _read(study: Study, checkpoint: Checkpoint, benchmark: str, test: str) -> _Cell:
    strategies = study.recipe.strategies
    block = "base"
    if checkpoint.train is not None:
        block = "".join("X" if strategies[name].persona is not None else "N" for name in (checkpoint.train, test))
    cell = _Cell(checkpoint, benchmark, test, block)
    cell.verdicts = {problem.problem_id: [] for problem in study.problems(benchmark)}
    path = study.verdicts_path(checkpoint, benchmark, test)
    for verdict in read_rows(path, Verdict, key=lambda row: (row.query_id, row.sample_index)):
        cell.verdicts[split_query_id(verdict.query_id)[1]].append(verdict)
    n = study.recipe.generation.n
    for problem_id, verdicts in cell.verdicts.items():
        if len(verdicts) != n:
            raise DataError(f"{path}: `{problem_id}` has {len(verdicts)} verdicts, n is {n}", "`dvc repro -f generate`")
    cell.responses = list(read_rows(study.responses_path(checkpoint, benchmark, test), Response))
    return cell


def _row(study: Study, cell: _Cell) -> dict[str, Any]:
    recipe, checkpoint = study.recipe, cell.checkpoint
    verdicts = [verdict for row in cell.verdicts.values() for verdict in row]
    correct = cell.correct_P_N
    seed = derive_seed(recipe.seed, "interval", checkpoint.name, cell.benchmark, cell.test)
    interval = interval_of(correct, seed=seed, draws=recipe.measure.draws)
    maj = {
        str(k): fmean(
            maj_at_k(
                [verdict.answer for verdict in row],
                {verdict.answer: verdict.verdict == "correct" for verdict in row if verdict.answer is not None},
                k,
                derive_seed(seed, problem_id),
            )
            for problem_id, row in cell.verdicts.items()
        )
        for k in recipe.measure.maj_k
    }
    last = max(recipe.measure.maj_k, default=1)
    count = len(verdicts)
    return {
        "checkpoint": checkpoint.name,
        "model": checkpoint.model,
        "dataset": checkpoint.dataset,
        "train": checkpoint.train,
        "seed": checkpoint.seed,
        "benchmark": cell.benchmark,
        "role": recipe.benchmarks[cell.benchmark].role,
        "test": cell.test,
        "block": cell.block,
        "problems": len(cell.verdicts),
        "n": recipe.generation.n,
        "avg": avg_at_n(correct),
        "low": interval.low,
        "high": interval.high,
        "interval": interval.method,
        "correct": sum(map(sum, correct)),
        "maj": maj.get(str(last)),
        "k": last,
        "maj_at_k": maj,
        "no_answer": sum(verdict.verdict == "no_answer" for verdict in verdicts) / count,
        "truncated": sum(response.finish_reason == "length" for response in cell.responses) / count,
        "grader_error": sum(verdict.verdict == "grader_error" for verdict in verdicts),
        "prompt_tokens": fmean(response.prompt_tokens for response in cell.responses),
        "completion_tokens": fmean(response.completion_tokens for response in cell.responses),
        "grader_version": verdicts[0].grader_version,
    }


def _block_means(cells: list[_Cell]) -> list[float]:
    """Mean correctness of a block on each problem, over its cells; [] for a block without cells."""
    return [fmean(values) for values in zip(*(cell.means_P for cell in cells), strict=True)] if cells else []


def _block(study: Study, benchmark: str, name: str, means: list[float], cells: list[_Cell]) -> dict[str, Any]:
    seed = derive_seed(study.recipe.seed, "block", benchmark, name)
    interval = cluster_bootstrap(means, seed=seed, draws=study.recipe.measure.draws)
    count = sum(cell.block == name for cell in cells)
    return {
        "benchmark": benchmark,
        "block": name,
        "avg": fmean(means),
        "low": interval.low,
        "high": interval.high,
        "interval": interval.method,
        "problems": len(means),
        "cells": count,
    }


def _contrasts(study: Study, benchmark: str, means: dict[str, list[float]], cells: list[_Cell]) -> list[Contrast]:
    """Planned comparisons of one benchmark, Holm-adjusted together; those whose blocks have no cell are left out."""
    trained = _block_means([cell for cell in cells if cell.block != "base"])
    pairs = [("trained - base", trained, means["base"])]
    pairs += [(f"XX - {other}", means["XX"], means[other]) for other in ("NN", "NX", "XN")]
    if all(means[name] for name in BLOCKS):
        both = [[(a + b) for a, b in zip(means[x], means[y], strict=True)] for x, y in (("XX", "NN"), ("XN", "NX"))]
        pairs.append(("co-design: (XX - XN) - (NX - NN)", both[0], both[1]))
    done = [
        contrast(
            name,
            treated,
            control,
            seed=derive_seed(study.recipe.seed, "contrast", benchmark, name),
            draws=study.recipe.measure.draws,
        )
        for name, treated, control in pairs
        if treated and control
    ]
    return holm(done) if done else []


def _unlike(settings: dict[str, Any], name: str, cells: list[_Cell]) -> dict[str, list[str]]:
    """Where the cells of a comparison were generated under unlike settings: the setting and its values."""
    blocks = {"trained - base": ("base", *BLOCKS)}.get(name) or [block for block in BLOCKS if block in name]
    compared = {cell.checkpoint.name for cell in cells if cell.block in blocks}
    return unlike_settings([settings[checkpoint] for checkpoint in sorted(compared)])


def _vote(study: Study, benchmark: str, test: str, cells: list[_Cell]) -> dict[str, Any]:
    """The vote of several checkpoints under one test strategy; {} with fewer than two members.

    Each response is a ballot; votes merge by normalised answer. Ties go to the answer met first, in the design's order
    of checkpoints, and are counted; a blank never wins.
    """
    include_base = study.recipe.vote.members == "all"
    members = [cell for cell in cells if cell.test == test and (include_base or cell.block != "base")]
    if len(members) < 2:
        return {}
    right = tied = blank = 0
    problem_ids = list(members[0].verdicts)
    for problem_id in problem_ids:
        ballots = [verdict for cell in members for verdict in cell.verdicts[problem_id]]
        vote = majority_vote([ballot.answer for ballot in ballots])
        tied += vote.tied
        blank += vote.answer is None
        right += any(ballot.answer == vote.answer and ballot.verdict == "correct" for ballot in ballots)
    interval = wilson(right, len(problem_ids))
    return {
        "benchmark": benchmark,
        "name": f"ensemble@{len(members)}, test {test}",
        "test": test,
        "members": [cell.checkpoint.name for cell in members],
        "accuracy": right / len(problem_ids),
        "low": interval.low,
        "high": interval.high,
        "problems": len(problem_ids),
        "tied": tied,
        "blank": blank,
    }


def _metrics(
    rows: list[dict[str, Any]],
    blocks: list[dict[str, Any]],
    comparisons: list[dict[str, Any]],
    votes: list[dict[str, Any]],
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
    return out
