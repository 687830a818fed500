"""The stages of a recipe: design, prompt, training, engine, generation, grading, measures, report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from its.recipe.schema.base import (
    FEW,
    FRACTION,
    MANY,
    MAX_NAME,
    MAX_ROWS,
    MAX_TOKENS,
    MEMBER,
    ONE,
    SEVERAL,
    URL,
    Draws,
    FilePath,
    Name,
    Number,
    Passed,
    Penalty,
    Probability,
    RepetitionPenalty,
    Section,
    Seed,
    ServedName,
    StopTexts,
    Temperature,
    ThinkingBudget,
    Tokens,
    TopK,
    Unit,
    one_or_several,
    ordered,
)
from its.recipe.schema.models import Sampling
from its.types import DEFAULT_VARIANT, LAST

AXES = {
    "model": "models",
    "dataset": "datasets",
    "train": "train",
    "variant": "variants",
    "seed": "seeds",
    "checkpoint": "checkpoints",
    "benchmark": "benchmarks",
    "test": "test",
}
"""Axis of the design -> its list in `design`; those of a training first, then those of a cell."""
BASE = "base"
"""The untrained model, in the place of a train strategy."""
TRAINED_AXES = ("dataset", "train", "variant", "seed", "checkpoint")
"""Axes that the untrained model has no value on."""
Fraction = Annotated[str, Field(pattern=FRACTION)]


Names = Annotated[
    Annotated[Name, Tag(ONE)] | Annotated[list[Name], Field(min_length=1, max_length=MANY), Tag(SEVERAL)],
    Discriminator(one_or_several),
]
Seeds = Annotated[
    Annotated[Seed, Tag(ONE)] | Annotated[list[Seed], Field(min_length=1, max_length=MANY), Tag(SEVERAL)],
    Discriminator(one_or_several),
]
Fractions = Annotated[
    Annotated[Fraction, Tag(ONE)] | Annotated[list[Fraction], Field(min_length=1, max_length=FEW), Tag(SEVERAL)],
    Discriminator(one_or_several),
]


class Selection(Section):
    """Cells of the design by their values on its axes: one value or a list; an axis that is not given matches all."""

    model: Names | None = None
    """Models. Absent: any."""
    dataset: Names | None = None
    """Datasets. Absent: any."""
    train: Names | None = None
    """Train strategies; `base` is the untrained model. Absent: any."""
    variant: Names | None = None
    """Variants of the training; `default` is that without changes. Absent: any."""
    seed: Seeds | None = None
    """Training seeds. Absent: any."""
    checkpoint: Fractions | None = None
    """Checkpoints of a training, as in `design.checkpoints`. Absent: any; in a contrast, the last ones."""
    test: Names | None = None
    """Test strategies. Absent: any."""

    def given(self) -> dict[str, list[Any]]:
        """Axis -> its values, for the axes that are given."""
        out: dict[str, list[Any]] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in AXES and value is not None:
                out[name] = value if isinstance(value, list) else [value]
        return out

    @property
    def reaches_base(self) -> bool:
        """Whether a base cell can match: it names no axis of a training, or `train: base`."""
        given = self.given()
        return BASE in given["train"] if "train" in given else not given.keys() & set(TRAINED_AXES)

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Whether a cell has one of the values on each axis that is given and that `values` contains.

        Args:
            values: axis -> the cell's value; those of a base cell have `train: base` and None on the other axes of a
                training, which only a selection with `train: base` can name.
        """
        if values.get("train") == BASE and not self.reaches_base:
            return False
        return all(values[axis] in wanted for axis, wanted in self.given().items() if axis in values)


class CellSelection(Selection):
    """Cells of the design, by benchmark too."""

    benchmark: Names | None = None
    """Benchmarks. Absent: any."""


class Design(Section):
    """Which cells exist: every checkpoint (model, dataset, train strategy, variant, seed, share of the training) on
    every benchmark under every test strategy, but for those that `only` and `except` leave out."""

    models: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    """Models to train, names under `models`."""
    datasets: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    """Datasets to train on, names under `datasets`."""
    train: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    """Train strategies, names under `strategies`."""
    variants: Annotated[list[Name], Field(min_length=1, max_length=MANY)] = Field(
        default_factory=lambda: [DEFAULT_VARIANT]
    )
    """Variants of the training, names under `train.variants`; `default` is `train` without changes. Default:
    `[default]`."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MANY)]
    """Training seeds; each one trains every combination of model, dataset, train strategy and variant again."""
    checkpoints: Annotated[list[Fraction], Field(min_length=1, max_length=FEW)] = Field(default_factory=lambda: [LAST])
    """Which checkpoints of each training are evaluated: `last`, and earlier ones as a share of its steps (`1/3`), saved
    by the same training. Default: `[last]`."""
    benchmarks: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    """Benchmarks to evaluate on, names under `benchmarks`."""
    test: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    """Test strategies, names under `strategies`."""
    base: bool
    """Whether the untrained models are evaluated too."""
    only: Annotated[list[CellSelection], Field(min_length=1, max_length=MANY)] | None = None
    """Cells to keep: those that an entry matches. Base stays whole unless an entry can match it, which is one without
    an axis of a training or with `train: base`. Absent: all."""
    except_: Annotated[list[CellSelection], Field(min_length=1, max_length=MANY)] | None = Field(
        default=None, alias="except"
    )
    """Cells to leave out: those that an entry matches; base cells only by an entry that names no axis of a training, or
    `train: base`. Absent: none."""


class ModelPrompt(Section):
    """What one model's frame has in place of `prompt`'s; what is not given stays."""

    system: str | None = None
    """Text of the system turn; `null` removes it. Absent: that of `prompt`."""
    user: str | None = None
    """Template of the user turn. Absent: that of `prompt`."""


class Prompt(Section):
    """The frame around every query, the same in training and at test."""

    system: str | None = None
    """Text of the system turn. Absent: no system turn, unless a strategy has `place: system`."""
    user: str
    """Jinja2 template of the user turn, written here; it receives `query`: `"{{ query }}"`."""
    control_tokens: Literal["allow"] | None = None
    """`allow` accepts problems, personas and solutions with tokens such as `<|im_end|>`, which the tokenizer takes for
    control tokens. Absent: such a text is a fault."""
    models: Annotated[dict[Name, ModelPrompt], Field(max_length=MANY)] = Field(default_factory=dict)
    """Frames of single models, in training and at test, by names under `models`. Default: none; all have the same."""

    def of(self, model: str) -> Prompt:
        """The frame of one model, without `models`."""
        own = self.models.get(model)
        given = {} if own is None else {name: getattr(own, name) for name in own.model_fields_set}
        if given.get("user", "") is None:
            del given["user"]
        return self.model_copy(update={**given, "models": {}})


class TrainOverlay(Section):
    """Settings of the training that differ from those of `train`; what is absent stays."""

    template: FilePath | None = None
    """Template of the Axolotl configuration. Absent: that of `train`."""
    launcher: Literal["python", "accelerate", "torchrun"] | None = None
    """Program that starts the training processes. Absent: that of `train`."""
    launcher_args: Annotated[list[str], Field(max_length=FEW)] | None = None
    """Arguments of the launcher. Absent: those of `train`."""
    epochs: Annotated[Number, Field(gt=0, le=10_000)] | None = None
    """Passes over the dataset. Absent: those of `train`."""
    learning_rate: Annotated[Number, Field(gt=0, le=100)] | None = None
    """Peak learning rate. Absent: that of `train`."""
    lr_scheduler: Literal["cosine", "linear", "constant"] | None = None
    """How the learning rate changes after the warmup. Absent: that of `train`."""
    warmup_ratio: Annotated[Number, Field(ge=0, lt=1)] | None = None
    """Share of the steps in which the learning rate rises. Absent: that of `train`."""
    weight_decay: Annotated[Number, Field(ge=0, le=100)] | None = None
    """Weight decay of the optimizer. Absent: that of `train`."""
    global_batch_size: Annotated[int, Field(ge=1, le=1_000_000), Unit("rows")] | None = None
    """Rows of one optimizer step over all devices. Absent: those of `train`."""
    micro_batch_size: Annotated[int, Field(ge=1, le=1_000_000), Unit("rows")] | None = None
    """Rows that one device processes at once. Absent: those of `train`."""
    devices: Annotated[int, Field(ge=1, le=100_000), Unit("processes")] | None = None
    """Processes that train together. Absent: those of `train`."""
    save_every_steps: Annotated[int, Field(ge=1, le=MAX_ROWS), Unit("steps")] | None = None
    """Optimizer steps between saved states. Absent: those of `train`."""
    axolotl: Passed | None = None
    """Further Axolotl settings; each replaces the one of that name in `train.axolotl`. Absent: those of `train`."""


class Train(Section):
    """Supervised fine-tuning with Axolotl: `template` rendered, then `axolotl`, then these fields; the last wins."""

    template: FilePath
    """Path, relative to `recipes/`, of a Jinja2 template in `axolotl/`: the Axolotl configuration."""
    hardware: Literal["cpu", "gpu"]
    """What the training runs on; on `cpu` in float32, with bf16 autocast if the model's `dtype` is `bfloat16`."""
    launcher: Literal["python", "accelerate", "torchrun"]
    """Program that starts the training processes; `python` starts one."""
    launcher_args: Annotated[list[str], Field(max_length=FEW)] = Field(default_factory=list)
    """Arguments of the launcher, for example `[--nproc_per_node=8]`. Default: none."""
    epochs: Annotated[Number, Field(gt=0, le=10_000)]
    """Passes over the dataset (Axolotl's `num_epochs`)."""
    learning_rate: Annotated[Number, Field(gt=0, le=100)]
    """Peak learning rate."""
    lr_scheduler: Literal["cosine", "linear", "constant"]
    """How the learning rate changes after the warmup."""
    warmup_ratio: Annotated[Number, Field(ge=0, lt=1)]
    """Share of the steps in which the learning rate rises to its peak."""
    weight_decay: Annotated[Number, Field(ge=0, le=100)]
    """Weight decay of the optimizer."""
    global_batch_size: Annotated[int, Field(ge=1, le=1_000_000), Unit("rows")]
    """Rows of one optimizer step over all devices; a multiple of micro_batch_size x devices, the rest is gradient
    accumulation."""
    micro_batch_size: Annotated[int, Field(ge=1, le=1_000_000), Unit("rows")]
    """Rows that one device processes at once."""
    devices: Annotated[int, Field(ge=1, le=100_000), Unit("processes")]
    """Processes that train together, one per GPU; as many as `launcher` starts."""
    sequence_length: Annotated[int, Field(ge=16, le=MAX_TOKENS), Unit("tokens")]
    """Maximum number of tokens of a row; `long_rows` says what happens to a longer one. None is cut."""
    long_rows: Literal["fail", "drop"] = "fail"
    """What `query` does with rows over `sequence_length`: `fail` names them; `drop` leaves their problems out under
    every strategy, and counts them, so that checkpoints stay comparable."""
    save_every_steps: Annotated[int, Field(ge=1, le=MAX_ROWS), Unit("steps")] | None = None
    """Optimizer steps between saved states, from which a killed training resumes; one is kept. Absent: it starts
    again."""
    axolotl: Passed = Field(default_factory=dict)
    """Further Axolotl settings; each replaces the template's of that name, a table such as `deepspeed` as a whole. What
    another field or ITS sets is refused here, and so is what may run code, unless ITS_ALLOW_CODE names it. Default:
    none."""
    models: Annotated[dict[Name, TrainOverlay], Field(max_length=MANY)] = Field(default_factory=dict)
    """Settings of single models, by names under `models`. Default: none."""
    datasets: Annotated[dict[Name, TrainOverlay], Field(max_length=MANY)] = Field(default_factory=dict)
    """Settings for single datasets, by names under `datasets`; they win over those of `models`. Default: none."""
    variants: Annotated[dict[Name, TrainOverlay], Field(max_length=MANY)] = Field(default_factory=dict)
    """Settings of variants that `design.variants` names; they win over both. Default: none."""

    def of(self, model: str, dataset: str, variant: str = DEFAULT_VARIANT) -> Train:
        """The settings of one training, without overlays; each setting of `axolotl` replaces the one of that name."""
        given: dict[str, Any] = {}
        further = dict(self.axolotl)
        for overlay in (self.models.get(model), self.datasets.get(dataset), self.variants.get(variant)):
            own = {} if overlay is None else overlay.model_dump(exclude_none=True)
            further |= own.pop("axolotl", {})
            given |= own
        return self.model_copy(
            update={**given, "axolotl": ordered(further), "models": {}, "datasets": {}, "variants": {}}
        )


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a broken address, a port beyond 65535
        good = False
    if not good:
        raise PydanticCustomError("url", "its host or port is not valid")
    return url


class Server(Section):
    """An OpenAI-compatible server."""

    url: Annotated[str, Field(max_length=2000, pattern=URL), AfterValidator(_address)]
    """Address up to `/chat/completions`, usually ending in `/v1`; without user, query and fragment."""
    key_variable: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable that contains the key; the key itself is not in any file. A server that is not known to have
    issued it needs an entry of ITS_ALLOW_CODE. Absent: no key is sent."""


class Price(Section):
    """What tokens cost, in the currency of the bill."""

    prompt: Annotated[Number, Field(ge=0, le=1e9), Unit("currency per million tokens")]
    """Price of prompt tokens."""
    completion: Annotated[Number, Field(ge=0, le=1e9), Unit("currency per million tokens")]
    """Price of response tokens."""


class OpenAISection(Section):
    """Servers for the `openai` engine. Only `served` is part of the key of a stored response."""

    servers: Annotated[list[Server], Field(min_length=1, max_length=FEW)]
    """Servers that share the requests."""
    served: Annotated[dict[ServedName, ServedName], Field(max_length=MANY)] = Field(default_factory=dict)
    """Model or checkpoint (`MODEL-DATASET-STRATEGY-SEED`) -> its name at the servers, by which its responses are
    stored. Default: its own name."""
    concurrency: Annotated[int, Field(ge=1, le=4096), Unit("requests")] = 64
    """Maximum number of requests in flight at one server; the actual number adapts to each server."""
    timeout_seconds: Annotated[Number, Field(gt=0, le=604_800), Unit("seconds")] = 600.0
    """Longest wait for one response, from sending to the last byte."""
    retries: Annotated[int, Field(ge=0, le=100)] = 8
    """Failures of one request that are retried; a busy server (429, 503) or one that cannot be reached does not
    count."""
    price: Price | None = None
    """Price of the tokens, for the cost of a stage. Absent: no cost is computed."""


class EngineSection(Section):
    """The engine that generates responses."""

    kind: Literal["vllm", "transformers", "openai", "replay"]
    """`vllm` and `transformers` run here, `openai` sends requests to servers, `replay` answers only from the store."""
    options: Passed = Field(default_factory=dict)
    """Further arguments of vLLM's `LLM(...)` or of transformers' `from_pretrained`, or further fields of every request
    of `openai`; `replay` uses none. What may run code needs ITS_ALLOW_CODE. Default: none."""
    environment: Annotated[dict[str, str], AfterValidator(ordered)] = Field(default_factory=dict)
    """Environment variables of the process of `vllm` or `transformers`; values are text. Default: none."""
    replicas: Annotated[int, Field(ge=1, le=1024, exclude_if=lambda value: value == 1), Unit("workers")] = 1
    """Workers of `vllm` or `transformers` that share the requests, each with its own GPUs or, without a GPU, its own
    cores; in no key of a response. `replay` starts none."""
    openai: OpenAISection | None = None
    """Servers; required with `kind: openai`."""


class GenerationOverlay(Section):
    """Settings that differ from those of `generation`; what is absent stays."""

    n: Annotated[Draws, Unit("responses per query")] | None = None
    """Responses sampled for each query. Absent: that of `generation`."""
    temperature: Temperature | None = None
    """Sampling temperature. Absent: that of `generation`."""
    top_p: Probability | None = None
    """Probability mass of the tokens that are sampled from. Absent: that of `generation`."""
    max_tokens: Tokens | None = None
    """Maximum number of tokens of a response. Absent: that of `generation`."""
    stop: StopTexts | None = None
    """Texts that end a response. Absent: that of `generation`."""
    top_k: TopK | None = None
    """Number of most likely tokens that are sampled from. Absent: that of `generation`."""
    min_p: Probability | None = None
    """Smallest probability of a sampled token, as a share of the most likely one's. Absent: that of `generation`."""
    repetition_penalty: RepetitionPenalty | None = None
    """Divides the scores of tokens that the prompt or the response contains. Absent: that of `generation`."""
    presence_penalty: Penalty | None = None
    """Subtracted from the scores of tokens that the response contains. Absent: that of `generation`."""
    frequency_penalty: Penalty | None = None
    """Subtracted from the score of a token for each time that it was generated. Absent: that of `generation`."""
    thinking_budget: ThinkingBudget | None = None
    """Maximum number of tokens of thinking. Absent: that of `generation`."""
    extra: Passed | None = None
    """Further settings of a request; replaces the whole table. Absent: that of `generation`."""


class Generation(Sampling):
    """How responses to test queries are sampled."""

    n: Annotated[Draws, Unit("responses per query")]
    """Responses sampled for each query; 1 at temperature 0."""
    models: Annotated[dict[Name, GenerationOverlay], Field(max_length=MANY)] = Field(default_factory=dict)
    """Settings of single models, base and trained, by names under `models`. Default: none."""
    benchmarks: Annotated[dict[Name, GenerationOverlay], Field(max_length=MANY)] = Field(default_factory=dict)
    """Settings of single benchmarks, by their names; they win over those of `models`. Default: none."""

    def of(self, model: str, benchmark: str) -> Generation:
        """The settings of one model on one benchmark, without overlays."""
        given: dict[str, Any] = {}
        for overlay in (self.models.get(model), self.benchmarks.get(benchmark)):
            given |= {} if overlay is None else overlay.model_dump(exclude_none=True)
        return self.model_copy(update={**given, "models": {}, "benchmarks": {}})


class Judge(Section):
    """A model that gives a second opinion on every distinct answer; disagreements are listed, verdicts stay."""

    model: Name
    """Name under `models`."""
    template: FilePath
    """Path, relative to `recipes/`, of a Jinja2 template in `prompts/`: the request. It receives `problem`,
    `reference` and `answer`."""
    sampling: Sampling
    """How an opinion is sampled."""


class Grading(Section):
    """How responses are graded."""

    timeout_seconds: Annotated[Number, Field(gt=0, le=600), Unit("seconds of processor time")]
    """Limit of one comparison that takes algebra; beyond it the verdict is `grader_error`."""
    workers: Annotated[int, Field(ge=1, le=256), Unit("processes")] | None = None
    """Processes for such comparisons; verdicts do not depend on it. Absent: one per core."""
    fallback: bool = True
    """Whether a response without a stated answer is read for its last number or formula; `false` makes it
    `no_answer`."""
    judge: Judge | None = None
    """Second opinion of a model. Absent: none."""


EnsembleMember = Annotated[str, Field(max_length=6 * MAX_NAME, pattern=MEMBER)]


class VoteSection(Section):
    """Which checkpoints vote together. The last of one model, dataset and variant vote under each test strategy."""

    members: Literal["trained", "all"]
    """`trained`: the last checkpoints of a model, dataset and variant; `all`: base of the model too."""
    ensembles: Annotated[
        dict[Name, Annotated[list[EnsembleMember], Field(min_length=2, max_length=FEW)]], Field(max_length=MANY)
    ] = Field(default_factory=dict)
    """Votes of named cells, by the name of the vote, also across models and datasets. A member is
    `CHECKPOINT/STRATEGY`, which votes on every benchmark and pool, or `CHECKPOINT/BENCHMARK/STRATEGY`, where the
    strategy is the test strategy and a checkpoint is `MODEL-base` or `MODEL-DATASET-STRATEGY-SEED`, with `-VARIANT` and
    `-1of3` behind it for a variant and an earlier checkpoint. Default: none."""
    strategies: Annotated[
        dict[Name, Annotated[list[Name], Field(min_length=2, max_length=FEW)]], Field(max_length=MANY)
    ] = Field(default_factory=dict)
    """Votes over test strategies: each checkpoint answers the same problem under each of them, and these answers vote.
    By the name of the vote. Default: none."""


class ContrastSection(Section):
    """Two groups of cells that are compared, paired by problem and by each axis on which they name no different values.

    A side that names no checkpoint is that of the last ones.
    """

    name: Name
    """Its name in results; none of those of planned comparisons."""
    of: Selection
    """Cells whose correctness is compared."""
    against: Selection
    """Cells that they are compared with; the difference is `of` minus `against`."""
    benchmarks: Annotated[list[Name], Field(min_length=1, max_length=MANY)] | None = None
    """Benchmarks of the design and names of `measure.pool` on which they are compared. Absent: all."""


class Measure(Section):
    """Which measures are computed."""

    maj_k: Annotated[list[Draws], Field(max_length=FEW)]
    """The k of maj@k (majority of k responses), each at most `generation.n`."""
    pass_k: Annotated[list[Draws], Field(max_length=FEW)] = Field(default_factory=list)
    """The k of pass@k (at least one of k is correct), each at most `generation.n`. Default: none."""
    all_k: Annotated[list[Draws], Field(max_length=FEW)] = Field(default_factory=list)
    """The k of all@k (all of k are correct), each at most `generation.n`. Default: none."""
    draws: Annotated[int, Field(ge=100, le=1_000_000)]
    """Draws of the bootstrap and of permutation tests. Each is kept, 8 bytes per column, and takes time per problem; a
    million takes minutes."""
    maximum: bool = False
    """Whether the best cell of a report benchmark may be named, labelled with how it was chosen."""
    pool: Annotated[dict[Name, Annotated[list[Name], Field(min_length=2, max_length=FEW)]], Field(max_length=FEW)] = (
        Field(default_factory=dict)
    )
    """Benchmarks that are measured together in addition, by the name of the pool: their problems are one set. They have
    the same kind of answers, role and n. Default: none."""
    contrasts: Annotated[list[ContrastSection], Field(max_length=FEW)] = Field(default_factory=list)
    """Comparisons in addition to the planned ones, corrected together with them. Default: none."""


class ReportSection(Section):
    """The content of the report in addition to its tables."""

    examples: Annotated[int, Field(ge=0, le=100), Unit("problems")]
    """Maximum number of problems, drawn at random, that the page shows in print and without JavaScript, with the first
    response in each cell. On the screen it shows all."""
    caveats: Annotated[list[str], Field(max_length=FEW)] = Field(default_factory=list)
    """Texts printed at the top of the report. Default: none."""
