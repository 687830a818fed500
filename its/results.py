"""The rows of `results/*.json`: what `measure` writes, and what the report, `its results` and any other reader get.

    from its.results import Cells, read_results

    for cell in read_results("results/cells.json", Cells).cells:
        print(cell.checkpoint, cell.test, cell.avg)

The text under each field is its reference: unit, range, and after `None:` what a missing value means. docs/results.md
is generated from it (`python tests/results_reference.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from its.errors import Fault, FaultsError
from its.rows import MAX_FAULTS, read_json, write_json
from its.shown import counted, shown, unshowable

RESULTS_VERSION = 5
"""Of the files below: it changes with their keys. An earlier version is measured again, never converted."""


def _share(value: float) -> float:
    if not -1e-9 <= value <= 1 + 1e-9:  # sums of floats miss 1 by their last digits
        raise PydanticCustomError("share", "a share is between 0 and 1")
    return value


def _difference(value: float) -> float:
    if not abs(value) <= 1 + 1e-9:
        raise PydanticCustomError("difference", "a difference of shares is between -1 and 1")
    return value


def _text(value: str) -> str:
    if found := unshowable(value):
        what = f"has {found}, which is not allowed in text"
        raise PydanticCustomError("text", "{what}", {"what": what})
    return value


def _checkpoint(value: str) -> str:
    if not re.fullmatch("last|[1-9][0-9]?/[1-9][0-9]?", value):
        raise PydanticCustomError("checkpoint", "`last` or a share of the steps such as `1/3` is expected")
    return value


Text = Annotated[str, AfterValidator(_text)]
SavedAt = Annotated[str, AfterValidator(_checkpoint)]
Share = Annotated[float, AfterValidator(_share), Field(json_schema_extra={"format": "share"})]
Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Difference = Annotated[Number, AfterValidator(_difference)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Bounds = Annotated[list[Share], Field(min_length=2, max_length=2)]
IntervalMethod = Literal["nearest_coverage", "agresti_coull", "cluster_agresti_coull", "seeds_and_problems", "none"]
Role = Literal["select", "report"]
Block = Literal["base", "NN", "NX", "XN", "XX", "NC", "CN", "XC", "CX", "CC"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class CellResult(_Model):
    """One cell: a checkpoint on a benchmark under a test strategy."""

    checkpoint: Text
    """`MODEL-DATASET-TRAIN-SEED`, with `-VARIANT` and `-1of3` behind it where they are not the usual ones, or
    `MODEL-base` for the untrained model."""
    model: Text
    """The model's name in the recipe."""
    dataset: Text | None
    """The dataset it was trained on. None: base, which was not trained."""
    train: Text | None
    """The train strategy. None: base."""
    variant: Text | None
    """The variant of the training; `default` is `train` without a variant's settings. None: base."""
    seed: int | None
    """The training seed. None: base."""
    saved_at: SavedAt | None
    """`last`, or the share of its steps after which an earlier checkpoint was saved (`1/3`). None: base."""
    benchmark: Text
    """The benchmark's name in the recipe, or that of a pool."""
    pool: list[Text] | None
    """The benchmarks that are measured as one. None: a single benchmark."""
    role: Role
    """`select` benchmarks choose the pair of strategies, `report` benchmarks measure it."""
    test: Text
    """The test strategy."""
    block: Block
    """Whether the train side (first letter) and the test side use a persona or other context (X), none (N) or a control
    (C: `noise`, `shuffled`); `base`: untrained."""
    problems: Count
    """Problems of the benchmark, all of which are in the denominator."""
    n: Count
    """Responses to each problem."""
    avg: Share
    """avg@n, the mean correctness over all responses, as a share."""
    low: Share
    """Lower 95 % bound of `avg` for problems that could have been drawn."""
    high: Share
    """Upper 95 % bound of `avg`."""
    interval_method: IntervalMethod
    """How `low` and `high` were computed (docs/statistics.md, Intervals); `none`: one problem, bounds 0 and 1."""
    correct: Count
    """Correct responses, of problems x n."""
    maj: Share | None
    """maj@k for the largest k of `measure.maj_k`, as a share. None: `measure.maj_k` is empty."""
    maj_k: Count | None
    """The k of `maj`. None: `measure.maj_k` is empty."""
    maj_at_k: dict[Text, Share]
    """k -> the chance that the most common answer of k responses is correct, for each k of `measure.maj_k`."""
    pass_at_k: dict[Text, Share]
    """k -> the chance that at least one of k responses is correct, for each k of `measure.pass_k`."""
    all_at_k: dict[Text, Share]
    """k -> the chance that all of k responses are correct, for each k of `measure.all_k`."""
    g_pass_at_k: dict[Text, dict[Text, Share]]
    """k -> tau -> the chance that at least tau x k of k responses are correct, for each k of `measure.all_k`."""
    intervals: dict[Text, Bounds]
    """Metric (`pass@4`, `all@4`, `maj@3`) -> its 95 % bounds [low, high] over problems."""
    no_answer_rate: Share
    """Share of responses in which no answer was found; they count as not correct."""
    fallback_rate: Share
    """Share of responses whose answer was not stated, but is the last number or formula (docs/grading.md)."""
    truncated_rate: Share
    """Share of responses that were cut at `generation.max_tokens`."""
    loop_rate: Share
    """Share of responses that end in a repetition loop, in their thinking where there is no text."""
    errors: Count
    """Responses with `finish_reason` error: refused, withheld or interrupted; they count as not correct."""
    equal_samples: Count
    """Problems whose responses are one text, or less than half as many texts as responses; 0 where n is 1."""
    grader_errors: Count
    """Responses that the grader could not decide; they count as not correct."""
    prompt_tokens: Amount
    """Mean tokens of a prompt, per response."""
    thinking_tokens: Amount
    """Mean tokens of thinking, per response; part of `completion_tokens`."""
    response_tokens: Amount
    """Mean tokens of the text after the thinking, per response."""
    completion_tokens: Amount
    """Mean tokens generated, per response: thinking and text."""
    correct_per_1000_tokens: Amount
    """Correct responses per 1,000 completion tokens; 0 where there are no tokens."""
    correct_per_1000_tokens_low: Amount
    """Lower 95 % bound of `correct_per_1000_tokens`: percentile bootstrap over problems."""
    correct_per_1000_tokens_high: Amount
    """Upper 95 % bound of `correct_per_1000_tokens`."""
    grader_version: Text
    """GRADER_VERSION of the verdicts; several are joined by a comma."""


class BlockResult(_Model):
    """A block of cells on one benchmark: the mean over its cells, with an interval over problems.

    Cells of earlier checkpoints are in no block.
    """

    benchmark: Text
    """The benchmark's name, or that of a pool."""
    pool: list[Text] | None
    """The benchmarks of a pool. None: a single benchmark."""
    block: Block
    """See `block` of a cell."""
    avg: Share
    """Mean correctness over cells and problems, as a share."""
    low: Share
    """Lower 95 % bound of `avg`."""
    high: Share
    """Upper 95 % bound of `avg`."""
    interval_method: IntervalMethod
    """How `low` and `high` were computed."""
    problems: Count
    """Problems of the benchmark."""
    cells: Count
    """Cells in the block."""


class CheckpointSpread(_Model):
    """How much a mean depends on where in the second half of a training its checkpoint was saved."""

    checkpoints: list[Text]
    """The checkpoints from half of the steps on, in the order of the training; the last one is `last`."""
    lowest: Share
    """The lowest of their means."""
    highest: Share
    """The highest of their means."""


class PairResult(_Model):
    """A pair of strategies on one benchmark: the mean over its training seeds, at the last checkpoint."""

    model: Text
    """The model's name."""
    dataset: Text
    """The dataset it was trained on."""
    train: Text
    """The train strategy."""
    variant: Text
    """The variant of the training."""
    test: Text
    """The test strategy."""
    benchmark: Text
    """The benchmark's name, or that of a pool."""
    pool: list[Text] | None
    """The benchmarks of a pool. None: a single benchmark."""
    role: Role
    """The benchmark's role."""
    block: Block
    """The block of its cells."""
    seeds: list[int]
    """The training seeds, in the order of the design."""
    problems: Count
    """Problems of the benchmark."""
    n: Count
    """Responses to each problem, per seed."""
    avg: Share
    """Mean correctness over seeds and problems, as a share."""
    low: Share
    """Lower 95 % bound of `avg`: for other problems and, with several seeds, for other training seeds."""
    high: Share
    """Upper 95 % bound of `avg`."""
    interval_method: IntervalMethod
    """How `low` and `high` were computed; `seeds_and_problems` with several seeds that differ."""
    over_checkpoints: CheckpointSpread | None
    """The range of the mean over checkpoints near the end. None: no earlier one of the second half was evaluated."""


class CurvePoint(_Model):
    """One point of a learning curve."""

    at: Amount
    """The place on the axis: the share of the training's steps, the rows trained on, or k."""
    label: Text
    """The checkpoint, the dataset, or `maj@k`."""
    avg: Share
    """avg@n, or maj@k, over seeds and problems, as a share."""
    low: Share
    """Lower 95 % bound of `avg`, as that of a pair."""
    high: Share
    """Upper 95 % bound of `avg`."""
    interval_method: IntervalMethod
    """How `low` and `high` were computed."""
    seeds: list[int]
    """The training seeds that are averaged; empty for base."""


class Curve(_Model):
    """A learning curve of a pair of strategies on one benchmark: correctness along one ordered axis."""

    benchmark: Text
    """The benchmark's name, or that of a pool."""
    axis: Literal["checkpoint", "rows", "k"]
    """What changes along the curve: the `checkpoint` of a training, the `rows` of the dataset (also which rows they
    are: datasets differ in more than size), or the number of responses that vote, `k`."""
    model: Text
    """The model's name."""
    dataset: Text | None
    """The dataset it was trained on. None: base, or the axis is `rows`."""
    train: Text | None
    """The train strategy. None: base."""
    variant: Text | None
    """The variant of the training. None: base."""
    test: Text
    """The test strategy."""
    points: Annotated[list[CurvePoint], Field(min_length=2)]
    """In the order of the axis."""


class PoolResult(_Model):
    """Benchmarks that are measured as one, in addition to each alone."""

    name: Text
    """The pool's name, which its rows have as `benchmark`."""
    benchmarks: list[Text]
    """The benchmarks whose problems are one set; a problem of it is named `BENCHMARK/PROBLEM`."""
    problems: Count
    """Their problems, in all."""
    cells: Count
    """Cells that were measured on all of them."""
    left_out: list[Text]
    """Cells (`CHECKPOINT/TEST`) that were measured on some of them only, which are not pooled."""


class NotPossible(_Model):
    """What the recipe asks for and the cells do not allow."""

    kind: Literal["comparison", "cells", "choice"]
    """A comparison of blocks or a contrast, a test of two pairs of strategies, or the choice of a pair."""
    benchmark: Text | None
    """The benchmark or pool. None: the choice of a pair, over several."""
    name: Text
    """The comparison (for two pairs of strategies `MODEL-DATASET: TRAIN/TEST - TRAIN/TEST`), or the table of a
    choice."""
    reason: Text
    """Why there is no result."""


class Comparison(_Model):
    """A comparison on one benchmark, paired by problem: a planned one of blocks, or a contrast of the recipe.

    Cells are paired by what both sides share, and a cell without a partner is left out. Planned comparisons pair by
    model, dataset, variant and seed, `trained - base` by test strategy too; earlier checkpoints are in none. A contrast
    pairs by every axis on which its sides do not differ; a side that names no checkpoint is that of the last ones.
    """

    benchmark: Text
    """The benchmark's name, or that of a pool."""
    pool: list[Text] | None
    """The benchmarks of a pool. None: a single benchmark."""
    name: Text
    """What is compared: `trained - base`, `XX - NN`, ..., `co-design: (XX - XN) - (NX - NN)`, or the name of a contrast
    in `measure.contrasts`."""
    of: dict[Text, list[Text | int]] | None
    """Axis -> the values that the contrast names, of the side that is compared; `checkpoint` is `last` where only the
    other side names it. None: a planned comparison."""
    against: dict[Text, list[Text | int]] | None
    """The same of the other side. None: a planned comparison."""
    of_cells: Count
    """Cells on the first side; of co-design XX and NN."""
    against_cells: Count
    """Cells on the other side; a base cell that is the partner of several counts once."""
    unmatched_cells: Count
    """Cells that were left out, since the other side has no partner for them."""
    difference: Annotated[Number, Field(ge=-2, le=2)]
    """Mean difference over problems, as a share: 0.03 is 3 points; in [-1, 1], for co-design in [-2, 2]."""
    low: Number
    """Lower 95 % bound of `difference`, not corrected for the number of comparisons."""
    high: Number
    """Upper 95 % bound of `difference`, not corrected."""
    p_value: Share
    """Two-sided p value, Holm-adjusted for the comparisons of the benchmark, contrasts among them."""
    problems: Count
    """Problems compared."""
    significant: bool
    """Whether `p_value` is below 0.05."""
    minimum_detectable_difference: Number | None
    """True difference that the corrected test finds with 80 % power, as a share. None: so few problems find none."""
    one_sided_lower_bound: Number
    """One-sided 95 % lower bound of `difference`, corrected for all comparisons of the benchmark."""
    p_value_method: Literal["mcnemar", "sign_flip_exact", "sign_flip", "seeds"]
    """The test behind `p_value`: McNemar's exact, sign flips (all, or drawn), or the variance between seeds."""
    seeds: Count
    """Training seeds that are paired; with one, the result applies to these checkpoints and may change with another
    seed. A contrast whose sides differ in seed has 1."""
    different_settings: dict[Text, list[Text]]
    """Setting of the engine -> its values, where the compared cells were generated differently; mostly empty."""

    @field_validator("difference")
    @classmethod
    def _in_range(cls, value: float, info: ValidationInfo) -> float:
        return value if str(info.data.get("name")).startswith("co-design") else _difference(value)


class CellTest(_Model):
    """Two pairs of strategies of one table compared (means over the seeds that both have), paired by problem."""

    benchmark: Text
    """The benchmark's name."""
    model: Text
    """The model's name."""
    dataset: Text | None
    """The dataset of the trained cells. None: no cell of the table is trained."""
    variant: Text | None
    """The variant of the trained cells. None: no cell of the table is trained."""
    first: Text
    """`TRAIN/TEST`."""
    second: Text
    """`TRAIN/TEST`, or `base/TEST` for the untrained model."""
    seeds: list[int]
    """The training seeds that are averaged: those of both."""
    difference: Difference
    """`first` minus `second`, mean over problems, as a share in [-1, 1]."""
    low: Number
    """Lower bound of `difference`; the bounds are simultaneous 95 % bounds for all tests of the table."""
    high: Number
    """Upper bound of `difference`."""
    p_value: Share
    """Two-sided p value, adjusted for all tests of the table (step-down max-T)."""
    raw_p_value: Share
    """The p value before adjustment."""
    problems: Count
    """Problems compared."""
    significant: bool
    """Whether `p_value` is below 0.05."""
    minimum_detectable_difference: Number | None
    """True difference that the corrected test finds with 80 % power, as a share. None: so few problems find none."""


class TokenComparison(_Model):
    """Completion tokens of one block against another, with the difference in accuracy."""

    benchmark: Text
    """The benchmark's name."""
    name: Text
    """What is compared, as in `comparisons`; planned comparisons only."""
    ratio: Number
    """Geometric mean over problems of treated / control completion tokens; 0.8 is 20 % fewer."""
    low: Number
    """Lower 95 % bound of `ratio`, not corrected."""
    high: Number | None
    """Upper 95 % bound of `ratio`, not corrected. None: one problem, so there is no bound."""
    p_value: Share
    """Two-sided p value of `ratio` against 1, Holm-adjusted for the rows of the benchmark."""
    problems: Count
    """Problems compared."""
    tokens: Literal["fewer", "more", "undecided"]
    """`undecided`: the ratio is not significant."""
    accuracy: Literal["better", "worse", "equal", "undecided"]
    """`equal`: not significant, and a loss of 3 points is ruled out; `undecided`: neither."""
    difference: Difference
    """The difference in accuracy, as in `comparisons`."""
    difference_lower_bound: Number
    """One-sided 95 % lower bound of `difference`, corrected for all comparisons of the benchmark."""
    shown: bool
    """Whether fewer tokens at equal or better accuracy was shown."""
    claim: Text
    """`tokens` and `accuracy` as text."""


class VoteMember(_Model):
    """A cell that votes."""

    checkpoint: Text
    """Its name."""
    test: Text
    """The test strategy."""


class VoteResult(_Model):
    """The vote of several cells on one benchmark; every response is a ballot."""

    benchmark: Text
    """The benchmark's name, or that of a pool."""
    pool: list[Text] | None
    """The benchmarks of a pool. None: a single benchmark."""
    name: Text
    """`ensemble@M, test STRATEGY`, or `ensemble@M, MODEL-DATASET-VARIANT, test STRATEGY` where the design has several
    models, datasets or variants (`default` is left out); `NAME, ensemble@M` for a vote of `vote.ensembles`, and
    `NAME, strategies@M, CHECKPOINT` for one of `vote.strategies`. M is the number of members."""
    ensemble: Text | None
    """Its name in `vote.ensembles`. None: another vote."""
    strategies: Text | None
    """Its name in `vote.strategies`: one checkpoint under several test strategies. None: another vote."""
    model: Text | None
    """The model of the members. None: they have several."""
    dataset: Text | None
    """The dataset that the members were trained on, base aside. None: there are several, or all members are base."""
    variant: Text | None
    """The variant of the members, base aside. None: there are several, or all members are base."""
    test: Text | None
    """The test strategy of the members. None: they have several."""
    members: list[VoteMember]
    """The cells that vote."""
    n: Count
    """Ballots of each member on each problem: its responses."""
    accuracy: Share
    """Share of problems that the vote gets right; a tie counts by the share of the tied answers that are correct."""
    low: Share
    """Lower 95 % bound of `accuracy` over problems."""
    high: Share
    """Upper 95 % bound of `accuracy`."""
    interval_method: IntervalMethod
    """How `low` and `high` were computed."""
    problems: Count
    """Problems of the benchmark."""
    tie_rule: Text
    """The tie rule of `accuracy`, in words."""
    accuracy_first_wins: Share
    """Accuracy if the answer met first, in the order of the members, wins a tie."""
    accuracy_ties_won: Share
    """Accuracy if every tie that contains the correct answer is won."""
    accuracy_ties_lost: Share
    """Accuracy if every tie is lost."""
    tied: Count
    """Problems where answers tie for the most ballots."""
    blank: Count
    """Problems to which no response gives an answer."""
    changed_by_equivalence: Count
    """Problems whose result would differ if answers were compared only as strings."""
    different_settings: dict[Text, list[Text]]
    """Engine setting or setting of `generation` -> its values, where the members' responses were generated with
    different ones. Empty: the settings were equal."""


class ChosenOn(_Model):
    """Where a pair was chosen."""

    benchmarks: Annotated[list[Text], Field(min_length=1)]
    """The benchmarks with the role `select`; they weigh the same. A pool stands for its benchmarks."""
    problems: Count
    """Their problems, in all."""
    avg: Share
    """The pair's mean over them, as a share; it is the largest, so it is biased upwards."""
    gain: Number
    """`avg` minus the mean of all pairs of the table, as a share."""


class ReportedOn(_Model):
    """The chosen pair on one benchmark that did not choose it."""

    benchmark: Text
    """A benchmark with the role `report`, or a pool of such."""
    problems: Count
    """Its problems."""
    n: Count
    """Responses to each problem, per seed."""
    seeds: list[int]
    """The training seeds."""
    avg: Share
    """The held-out score: mean correctness over seeds and problems, as a share."""
    low: Share
    """Lower 95 % bound of `avg`."""
    high: Share
    """Upper 95 % bound of `avg`."""
    interval_method: IntervalMethod
    """How `low` and `high` were computed."""
    gain: Number
    """`avg` minus the mean of all pairs of the table here, as a share."""
    shrinkage: Number
    """The gain where the pair was chosen minus the gain here."""


class ChosenPair(_Model):
    """The pair of strategies of one model, dataset and variant that the `select` benchmarks choose."""

    model: Text
    """The model's name."""
    dataset: Text
    """The dataset it was trained on."""
    variant: Text
    """The variant of the training."""
    train: Text
    """The train strategy of the pair."""
    test: Text
    """The test strategy of the pair."""
    pairs: Count
    """Pairs it was chosen from: those that were measured on every `select` and `report` benchmark of the table."""
    left_out: list[Text]
    """Pairs (`TRAIN/TEST`) that were measured on some of these benchmarks only."""
    tied: list[Text]
    """Other pairs (`TRAIN/TEST`) with the same mean; the first of the design was taken."""
    select: ChosenOn
    """Where it was chosen."""
    report: list[ReportedOn]
    """A row for each `report` benchmark."""


class Maximum(_Model):
    """The largest cell of a table, chosen on the problems it is measured on."""

    pair: Text
    """`TRAIN/TEST`; the first of the design where several tie."""
    avg: Share
    """Its mean over seeds and problems, as a share: biased upwards by about `optimism`."""
    warning: Text
    """How it was chosen and by how much that overstates; to be shown with `avg`."""


class HeldOutChoice(_Model):
    """What the best pair of a table scores on problems that did not choose it, by repeated splits of the problems."""

    benchmark: Text
    """A benchmark with the role `report`, or a pool of such; a benchmark of a pool has no row."""
    model: Text
    """The model's name."""
    dataset: Text
    """The dataset it was trained on."""
    variant: Text
    """The variant of the training."""
    pairs: Count
    """Pairs that were chosen from."""
    problems: Count
    """Problems of the benchmark, at least 2."""
    n: Count
    """Responses to each problem, per seed."""
    held_out_score: Share
    """Mean correctness of the pair that four fifths of the problems choose, on the last fifth; 200 repeats."""
    low: Share
    """Lower 95 % bound of `held_out_score`, at twice the variance that the problems show."""
    high: Share
    """Upper 95 % bound of `held_out_score`."""
    optimism: Number
    """The largest pair's mean minus `held_out_score`, as a share."""
    chosen: dict[Text, Share]
    """`TRAIN/TEST` -> share of the choices it won, most often first; pairs that were never chosen are left out."""
    maximum: Maximum | None
    """The largest cell, by name. None: `measure.maximum` is false in the recipe."""


class _File(_Model):
    version: int
    """RESULTS_VERSION of the ITS that wrote the file."""
    recipe: Text
    """The recipe that was measured."""


class Cells(_File):
    """`results/cells.json`: every cell, grouped into blocks, into pairs over seeds and into learning curves."""

    cells: list[CellResult]
    """Checkpoint by checkpoint within each benchmark; those of pools come last."""
    blocks: list[BlockResult]
    """A row for each block that has cells, per benchmark."""
    pairs: list[PairResult]
    """A row for each trained pair of strategies at the last checkpoint, per benchmark."""
    curves: list[Curve]
    """A row for each pair of strategies with at least two points on an axis, per benchmark."""
    pools: list[PoolResult]
    """The pools of `measure.pool`."""


class Comparisons(_File):
    """`results/comparisons.json`: what differs, paired by problem and corrected for the number of comparisons."""

    comparisons: list[Comparison]
    """By benchmark: blocks, as planned, without those that have no cells; then the contrasts of the recipe."""
    tests: list[CellTest]
    """All pairs of a table, and each against base under its test strategy."""
    efficiency: list[TokenComparison]
    """Tokens against accuracy, for the planned comparisons of two blocks."""
    not_possible: list[NotPossible]
    """Comparisons whose sides have cells but no partners, and contrasts of the recipe without cells."""


class Votes(_File):
    """`results/votes.json`: votes of several checkpoints."""

    votes: list[VoteResult]
    """By benchmark: a row for each model, dataset, variant and test strategy with at least two members, then a row for
    each vote of `vote.ensembles`, then one for each vote of `vote.strategies` and each checkpoint that has all of its
    test strategies. Earlier checkpoints vote only in the last two."""


class Selection(_File):
    """`results/selection.json`: the pair to report, and what choosing on the same problems would overstate."""

    selection: list[ChosenPair]
    """A row for each model, dataset and variant; empty where no benchmark has the role `select`, or none has
    `report`."""
    nested: list[HeldOutChoice]
    """A row for each table of a `report` benchmark with at least two pairs and two problems."""
    not_possible: list[NotPossible]
    """Tables of which no pair was measured on every `select` and `report` benchmark."""


class BenchmarkMetrics(_Model):
    """One benchmark for `dvc metrics show` and `dvc exp show`: shares rounded to 4 digits, None where there is none.

    A contrast of the recipe may have any of these names: it is in `comparisons.json` alone.
    """

    base: Number | None = None
    """Mean correctness of block `base`. None: the design has no base."""
    NN: Number | None = None
    """Mean correctness of block `NN`. None: no such cell."""
    XX: Number | None = None
    """Mean correctness of block `XX`. None: no such cell."""
    XX_NN: Number | None = None
    """Difference of the planned comparison `XX - NN`, of paired cells. None: not compared."""
    codesign: Number | None = None
    """Difference of the planned comparison `co-design: (XX - XN) - (NX - NN)`. None: not compared."""


class Metrics(RootModel[dict[Text, BenchmarkMetrics]]):
    """`results/metrics.json`: benchmark or pool -> its metrics, which DVC flattens to columns such as `NAME.XX`.

    The benchmarks of a pool are left out, and those with the role `select` unless there is no other.
    """


class CostRow(_Model):
    """`results/cost/*.json`: lists of these rows, written by `persona`, `train` and `generate`.

    A key that was not recorded is absent. Seconds differ between runs.
    """

    what: Text
    """What the row accounts for: `train CHECKPOINT`, `generate CHECKPOINT`, `personas`, `servers`, ..."""
    responses: Count | None = None
    """Responses that were needed. None: the row is not about responses."""
    generated: Count | None = None
    """Responses that an engine generated in this run. None: not about responses."""
    from_store: Count | None = None
    """Responses that the store already contained. None: not about responses."""
    tokens: Count | None = None
    """Completion tokens of all responses, stored ones too; tokens of a training. None: not recorded."""
    seconds: Amount | None = None
    """Wall-clock time. None: not recorded."""
    first_day: Day | None = None
    """The day in UTC on which the first of the responses of `generate CHECKPOINT` was generated. None: not recorded."""
    last_day: Day | None = None
    """The same of the last one; a response from the store or an import keeps its day. None: not recorded."""
    counts: dict[Text, Number | Count] | None = None
    """What the engine counts beyond that (retries, price of servers). None: the row has the columns above."""


_WANTED = {
    **dict.fromkeys(("model_type", "dict_type"), "an object"),
    "list_type": "a list",
    "string_type": "text",
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "an integer",
    "bool_type": "true or false",
}
"""What a value has to be, by pydantic's name of the fault; for others its own message is shown."""

File = TypeVar("File", Cells, Comparisons, Votes, Selection)
Value = TypeVar("Value")


def read_results(path: Path | str, kind: type[File]) -> File:
    """Read one of the files of `measure`: `read_results("results/cells.json", Cells)`.

    Raises:
        MissingError: if there is no such file.
        DataError: if it is not readable JSON, or of another RESULTS_VERSION.
        FaultsError: naming every value that does not fit, by row and key.
    """
    value = _document(path, "measure")
    version = value.get("version") if isinstance(value, dict) else None
    if type(version) is int and version != RESULTS_VERSION:
        what = f"version {version} of the results; this ITS reads version {RESULTS_VERSION}"
        raise FaultsError([Fault(str(path), what, _again("measure"))])
    return fitting(value, kind, path, "measure")


def read_metrics(path: Path | str) -> Metrics:
    """Read `results/metrics.json`; it raises as `read_results` does."""
    return fitting(_document(path, "measure"), Metrics, path, "measure")


def read_cost(path: Path | str) -> list[CostRow]:
    """Read one of `results/cost/*.json`; it raises as `read_results` does."""
    stage = Path(path).stem.partition("-")[0]
    return fitting(_document(path, stage), list[CostRow], path, stage)


def write_results(path: Path, value: BaseModel) -> None:
    """Write one of the files of `measure`, atomically."""
    write_json(path, value.model_dump())


def _again(stage: str) -> str:
    return f"`dvc repro -f {stage}` writes it again"


def _document(path: Path | str, stage: str) -> Any:
    """The JSON of a file that a stage wrote."""
    try:
        return read_json(Path(path))
    except FaultsError as error:
        raise FaultsError([replace(fault, hint=_again(stage)) for fault in error.faults]) from error


def fitting(value: Any, kind: type[Value], path: Path | str, stage: str) -> Value:
    """A value read from a file, as its type.

    Args:
        stage: what wrote the file.

    Raises:
        FaultsError: naming every value that does not fit, by row and key.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        messages = _messages(error.errors(include_url=False))
    more = len(messages) - MAX_FAULTS
    if more > 0:
        messages = [*messages[:MAX_FAULTS], counted(more, "more fault")]
    hints = [*[None] * (len(messages) - 1), _again(stage)]
    raise FaultsError([Fault(str(path), message, hint) for message, hint in zip(messages, hints, strict=True)])


def _messages(errors: Sequence[ErrorDetails]) -> list[str]:
    """One message for each value that does not fit, and one for all keys that a row lacks."""
    out: dict[str, str] = {}
    for item in errors:
        *above, last = [part for part in item["loc"] if part != "[key]"] or [""]
        row = _place(above)
        if item["type"] == "missing":
            lacking = f"`{row}` lacks" if row else "lacks"
            out[lacking] = f"{out[lacking]}, `{last}`" if lacking in out else f"{lacking} `{last}`"
            continue
        place = _place([*above, last])
        if item["type"] == "extra_forbidden":
            out[place] = f"`{place}` is not a key of these results"
            continue
        wanted = _WANTED.get(item["type"])
        value = _seen(item["input"])
        message = f"{item['msg'][:1].lower()}{item['msg'][1:]}"
        what = f"is {value}, expected {wanted}" if wanted else f"is {value}: {message}"
        out[place] = f"`{place}` {what}" if place else f"the file {what}"
    return list(out.values())


def _seen(value: Any) -> str:
    """A value as the file has it."""
    if value is None or isinstance(value, bool | float):
        return json.dumps(value)
    return shown(repr(value))[:60]


def _place(parts: Sequence[int | str]) -> str:
    """`cells[2].avg`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
