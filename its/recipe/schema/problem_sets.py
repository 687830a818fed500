"""Datasets and benchmarks of a recipe: sources, fields of their rows, filters, splits, samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from its.recipe.schema.base import (
    FEW,
    MANY,
    ONE,
    PATH,
    SEVERAL,
    AnswerKind,
    Count,
    FilePath,
    HubId,
    HubRevision,
    HubSplit,
    HubSubset,
    LanguageCode,
    Licence,
    Name,
    Number,
    PartName,
    Scalar,
    Section,
    Seed,
    Sha256,
    TemplateName,
    Tokens,
    Unit,
    one_or_several,
)


class ProceduralSource(Section):
    """Generated arithmetic word problems with worked solutions; see `its.sources.procedural`.

    The generator makes 100,000 in 3 s, which `its recipe check` waits for; soon after it runs out of new ones.
    """

    kind: Literal["procedural"]
    """Generated problems; nothing is read."""
    generator: Literal["arithmetic"]
    """Kind of problems."""
    size: Annotated[int, Field(ge=1, le=100_000), Unit("problems")]
    """How many problems; a larger set begins with the rows of a smaller one."""
    split: Literal["train", "test"]
    """Side of the set; no text is on both sides, whatever the seed."""
    steps: Annotated[list[int], Field(min_length=2, max_length=2)]
    """Fewest and most equations of a solution, within 2 to 4: `[2, 4]`."""
    templates: Annotated[list[TemplateName], Field(min_length=1, max_length=FEW)]
    """Stories that the problems are drawn from; one listed twice is drawn twice as often."""


class FilesSource(Section):
    """Local files: one file, the files of a folder, or those that match a pattern, read as one set.

    JSON lines, JSON (an array), CSV, TSV or Parquet by the ending, which all files share; the text formats also as
    `.gz` and `.zst`. See docs/sources.md.
    """

    kind: Literal["files"]
    """Local files."""
    path: FilePath
    """File, folder or pattern (`data/sources/openr1/*.parquet`), relative to the project. The graph watches
    `data/sources/`; any other path needs `sha256`."""
    sha256: Sha256 | None = None
    """SHA-256 of the file; of several files a hash of names and contents (docs/sources.md). `its recipe check` states
    it. Absent: the content is not pinned, which is allowed under `data/sources/` only."""


class HubSource(Section):
    """A dataset on the Hugging Face hub, streamed."""

    kind: Literal["hub"]
    """A dataset on the Hugging Face hub."""
    id: HubId
    """The repository, `owner/name`."""
    subset: (
        Annotated[
            Annotated[HubSubset, Tag(ONE)]
            | Annotated[list[HubSubset], Field(min_length=1, max_length=FEW), Tag(SEVERAL)],
            Discriminator(one_or_several),
        ]
        | None
    ) = None
    """Subset (configuration), or a list of them; each of a list is a part of the set, in this order. Absent: the
    default one."""
    split: HubSplit
    """Split of the dataset, for example `train`."""
    revision: HubRevision | None = None
    """Commit, branch or tag. Absent: the newest commit when the stage runs, recorded on the card."""


class FilesPart(FilesSource):
    """Local files as a part of a set."""

    name: PartName | None = None
    """Prefix of the problem ids of this part, `NAME/ID`. Absent: the last word of the path, without its ending."""


class HubPart(HubSource):
    """A dataset of the hub as a part of a set."""

    name: PartName | None = None
    """Prefix of the problem ids of this part, `NAME/ID`. Absent: the last word of the id. A subset adds
    `_SUBSET` if there is no `name`, several always do."""


class Choices(Section):
    """Where a multiple-choice row keeps its options; they are shuffled in an order drawn from the problem_id."""

    correct: str
    """Path or expression of the correct option."""
    wrong: Annotated[list[str], Field(min_length=1, max_length=FEW)]
    """Paths or expressions of the other options, one each."""


class Fields(Section):
    """How fields map to columns.

    Each value is a dotted path into nested objects and lists (`conversations.1.value`), or, if it contains `{{`, a
    Jinja2 expression over `row`.
    """

    problem: str
    """Text of the problem."""
    reference: str | None = None
    """Known answer; required in a benchmark unless there are `choices`. Absent: rows have none."""
    solution: str | None = None
    """Worked solution; required in a dataset. Absent: rows have none."""
    thinking: str | None = None
    """Reasoning trace, if it is in a separate column. Absent: it is part of the solution, or there is none."""
    problem_id: str | None = None
    """Id of the problem, unique in its set or part. Absent: the position of the row."""
    choices: Choices | None = None
    """Options of a multiple-choice problem; the reference is then the letter of the correct one. Absent: no options."""
    meta: Annotated[dict[Name, str], Field(max_length=FEW)] = Field(default_factory=dict)
    """Further columns to keep, by their new names: `{subject: type}` keeps column `type` as `subject`.
    Default: nothing."""


class Tolerance(Section):
    """Faulty rows that a set may have; each goes to `data/cards/NAME/quarantine.jsonl` with the reason.

    A row is faulty if it cannot be read as `fields` says and, in a benchmark, if its reference cannot be graded.
    """

    rows: Annotated[int, Field(ge=1, le=1_000_000), Unit("rows")]
    """Maximum number of faulty rows; one more stops the stage. They are kept in memory until the file is written."""


class Sample(Section):
    """A seeded sample: a larger one contains the rows of a smaller one with the same seed."""

    size: Annotated[Count, Unit("problems")]
    """Problems to keep; fewer than that in the set is an error."""
    seed: Seed
    """Seed of the ranking by hash of (seed, problem_id)."""
    stratify_by: Name | None = None
    """`source`, or a name of `fields.meta`: each value keeps its share of the problems. Absent: no strata."""


class Split(Section):
    """One side of a set cut in two; near duplicates are on the same side.

    A dataset and a benchmark with the same source and the same `split` but for `keep` share no problem.
    """

    seed: Seed
    """Seed of the draws."""
    select: Annotated[Number, Field(gt=0, lt=1)]
    """Share of the problems on the side `select`, met on average."""
    keep: Literal["train", "select"]
    """Side that this set consists of."""


class ProblemSet(Section):
    """What datasets and benchmarks share. `fields` or `preset` says where rows keep what."""

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
        Discriminator(one_or_several),
    ]
    """Where the rows come from. A list is read part by part, as one set; each problem_id begins with its part."""
    preset: Name | None = None
    """Field mapping of a published set (docs/sources.md lists them). Absent: `fields`; procedural sources need
    neither."""
    fields: Fields | None = None
    """Field mapping. Absent: `preset`."""
    licence: Licence | None = None
    """Licence of the rows as their publisher states it, by the hub's id, for example `cc-by-4.0`; it is written on
    cards and changes no row. Absent: unknown."""
    tolerate: Tolerance | None = None
    """Faulty rows that are set aside. Absent: one faulty row stops the stage."""
    split: Split | None = None
    """One side of the set, cut before everything else. Absent: the whole set."""
    sample: Sample | None = None
    """Sample taken at the end. Absent: all problems, in order of the source."""


class TokensFilter(Section):
    """Keeps problems by the length of a text; both bounds are inclusive, at least one is given."""

    name: Literal["tokens"]
    """The filter by length."""
    of: Literal["problem", "solution"]
    """Text to count; for a benchmark only `problem`."""
    model: Name
    """Model, by its name under `models`, whose tokenizer counts the tokens; special tokens are not counted."""
    at_least: Tokens | None = None
    """Lower bound. Absent: none."""
    at_most: Tokens | None = None
    """Upper bound. Absent: none."""


class LanguageFilter(Section):
    """Keeps problems by the language of their text; one with too little prose to tell stays."""

    name: Literal["language"]
    """The filter by language."""
    keep: Annotated[list[LanguageCode], Field(min_length=1, max_length=FEW)]
    """Languages to keep, as ISO 639-1 codes of those that ITS can detect: `[en, de]`."""


Scalars = Annotated[list[Scalar], Field(min_length=1, max_length=MANY)]


class ColumnFilter(Section):
    """Keeps rows by one column: one of `keep`, `drop` and the bounds is given.

    Values are JSON's: `1` is `1.0` and neither `"1"` nor `true`; `null` also matches a row without the column.
    """

    name: Literal["column"]
    """The filter by a column."""
    of: Annotated[str, Field(min_length=1, max_length=200, pattern=PATH)]
    """A name of `fields.meta` or of the preset, else a column of the row or a dotted path into it, which is then kept
    in `meta` under this name."""
    keep: Scalars | None = None
    """Values to keep. Absent: any."""
    drop: Scalars | None = None
    """Values to remove. Absent: none."""
    at_least: Number | None = None
    """Lower bound, inclusive; text that is a number counts as that number, anything else is removed. Absent: none."""
    at_most: Number | None = None
    """Upper bound, inclusive; text that is a number counts as that number, anything else is removed. Absent: none."""


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
"""Those that do not read a solution: what a benchmark measures may not depend on how somebody solved it."""


def _filter_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "plain"
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return name if name in ("tokens", "language", "column") else None


class Duplicates(Section):
    """Repeated problems: the first one stays, the others go."""

    kind: Literal["exact", "near"]
    """`exact`: the same text apart from spelling, with agreeing references; `near`: also texts that differ slightly,
    with the same numbers (docs/curation.md)."""


OverlapRule = Literal["same", "contained", "words13", "words8", "maths", "rewritten"]


class Decontamination(Section):
    """What happens to a row that overlaps a benchmark problem."""

    against: Annotated[list[Name], Field(min_length=1, max_length=MANY)]
    """Names under `benchmarks`; each is compared as a whole, regardless of its filters and sample."""
    rules: Annotated[list[OverlapRule], Field(min_length=1, max_length=FEW)] | None = None
    """Rules that count as an overlap (docs/curation.md); problems made from templates resemble each other and need
    `[same]`. Absent: all."""
    action: Literal["drop", "flag", "fail"]
    """`drop` removes the row, `flag` keeps it and marks it in `meta.overlaps`, `fail` stops the stage."""


class Dataset(ProblemSet):
    """Problems to train on; every row needs a solution."""

    filters: Annotated[list[Filter], Field(max_length=FEW)] = Field(default_factory=list)
    """Which problems stay, applied in order (docs/curation.md). Default: all."""
    duplicates: Duplicates | None = None
    """Repeated problems to remove. Absent: they stay."""
    decontamination: Decontamination | None = None
    """Overlap with benchmarks. Absent: not checked."""


class Benchmark(ProblemSet):
    """Problems to evaluate on; every row needs a reference."""

    filters: Annotated[list[BenchmarkFilter], Field(max_length=FEW)] = Field(default_factory=list)
    """Which problems stay, applied in order before everything but the split (docs/curation.md). Default: all."""
    duplicates: Duplicates | None = None
    """Repeated problems to remove. Absent: a problem whose text repeats another's is a fault, since each counts as an
    independent one."""
    answer: AnswerKind
    """Kind of the references, which decides how answers are extracted and compared (docs/grading.md)."""
    role: Literal["select", "report"]
    """`select`: the pair of strategies is chosen on it; `report`: the chosen pair is measured on it."""
