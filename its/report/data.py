"""What the page and the tables are made from: the results of a study and what surrounds them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from its.report.explorer.pack import Explored
from its.results import (
    BlockResult,
    CellResult,
    CellTest,
    ChosenPair,
    Comparison,
    CostRow,
    Curve,
    HeldOutChoice,
    NotPossible,
    PairResult,
    PoolResult,
    TokenComparison,
    VoteResult,
)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class _Excerpt(_Data):
    """Of a file of another stage, the keys that the page shows."""

    model_config = ConfigDict(extra="ignore")


class ReportedCell(CellResult):
    """A cell with the denominator of its benchmark, and how its responses were sampled."""

    rows_read: int | None = None
    """Rows of the benchmark before rules removed some. None: there is no card of these problems."""
    sampling: str | None = None
    """The settings in which the cells of the study differ: `temperature 0.6`. None: all were sampled the same way."""


class Setting(_Data):
    """A value of the recipe."""

    group: str = ""
    name: str
    value: str


class SetCard(_Data):
    """Where the card of a problem set is."""

    set: str
    path: str
    rows: str | None = None
    """The denominator as text. None: not a benchmark, or no rows were removed by a rule of a card."""
    left_out: str | None = None
    """Which problems are not trained on, as text. None: no row is longer than `train.sequence_length`."""


class LossStep(_Data):
    """The training loss at an optimizer step."""

    step: int
    loss: float | None


class Similarity(_Excerpt):
    """How similar personas are to their own problem and to others."""

    mean: float
    others: float | None
    auc: float | None
    auc_interval: list[float] | None = None


class PersonaAccount(_Excerpt):
    """A row of `data/personas/summary.json`."""

    set: str
    strategy: str
    personas: int
    asked: int | None = None
    retried: int | None = None
    flagged: int | None = None
    distinct: int | None = None
    similarity: Similarity | None = None
    flags: dict[str, int] = {}
    examples: list[str] = []


class MixAccount(_Excerpt):
    """A mix of a set in `data/personas/summary.json`: the declared share and the problems of each member."""

    set: str
    strategy: str
    shares: dict[str, float]
    problems: dict[str, int]


class SolutionAccount(_Excerpt):
    """A row of `solutions` in `data/solutions/summary.json`."""

    set: str
    strategy: str
    problems: int
    not_asked: int = 0
    kept: int
    lost: int
    attempts: int
    attempts_per_kept: float | None = None
    verdicts: dict[str, int] = {}
    unfit: dict[str, int] = {}


class TrainedAccount(_Excerpt):
    """A row of `trained` in `data/solutions/summary.json`: what a train strategy lost without a solution."""

    set: str
    strategy: str
    rows: int
    rows_lost: int
    problems: int
    problems_lost: int


class ParityAccount(_Excerpt):
    """The proof of parity of a checkpoint, `its_parity.json`."""

    checkpoint: str
    rows: int | None = None
    trained_tokens: int | None = None
    prompt_tokens: int | None = None
    faults: int | None = None


class ReportData(_Data):
    """A study as its report shows it; a list that is empty leaves its section out."""

    recipe: str = "unnamed"
    description: str | None = None
    commit: str | None = None
    dirty: bool = False
    """Whether code, recipes or environments differ from the commit; what ITS writes does not count."""
    changed: list[str] = []
    """The files that differ, as far as a line takes them."""
    created: str | None = None
    """The commit's date."""
    built: str | None = None
    """The date of the report. None: the page does not name it."""
    departures: list[str] = []
    """How params.yaml differs from the committed recipe that it names, a line a value."""
    design: dict[str, Any] = {}
    confidence: float | None = None
    """Of the intervals: 0.95. None: the page does not name it."""
    cells: list[ReportedCell] = []
    blocks: list[BlockResult] = []
    pairs: list[PairResult] = []
    curves: list[Curve] = []
    pools: list[PoolResult] = []
    comparisons: list[Comparison] = []
    tests: list[CellTest] = []
    efficiency: list[TokenComparison] = []
    not_possible: list[NotPossible] = []
    """Comparisons and choices of a pair that the cells do not allow."""
    selection: list[ChosenPair] = []
    nested: list[HeldOutChoice] = []
    votes: list[VoteResult] = []
    settings: list[Setting] = []
    parameters: str = ""
    """The recipe as YAML, without secrets. Empty: the page lists `settings`."""
    losses: dict[str, list[LossStep]] = {}
    """Checkpoint -> its steps."""
    personas: list[PersonaAccount] = []
    mixes: list[MixAccount] = []
    solutions: list[SolutionAccount] = []
    teacher: str | None = None
    """The model that wrote them. None: none were written."""
    cards: list[SetCard] = []
    parity: list[ParityAccount] = []
    cost: list[CostRow] = []
    explorer: Explored | None = None
    """The responses behind the cells. None: the page has no section of them."""
    warnings: list[str] = []
    caveats: list[str] = []
    provenance: dict[str, Any] = {}
