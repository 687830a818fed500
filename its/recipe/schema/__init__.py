"""The schema of a recipe: what a study declares. One model a section, one field a choice, its meaning below it.

Strict and closed: no silent conversion, no unknown key. None means absent. Nothing that changes a result has a hidden
default, except where absence itself is the plain meaning (no system turn, no thinking marks, no limit).

Every number and list has an upper bound, far above what any study needs, so that no recipe makes a stage run forever
or fill the memory; a bound without a reason beside it is one of size alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from its.recipe.schema.base import (
    MANY,
    MAX_NAME,
    NAME_PATTERN,
    ONE,
    PATTERN_MESSAGES,
    RECIPE_VERSION,
    SEVERAL,
    AnswerKind,
    Name,
    PersonaCheck,
    Section,
    Seed,
    Unit,
    name_fault,
)
from its.recipe.schema.models import (
    FolderSource,
    HubModelSource,
    Model,
    Sampling,
    SolutionWriter,
    SpecialTokens,
    Thinking,
    WheelPart,
    WheelSource,
    WheelsSource,
    Writer,
)
from its.recipe.schema.problem_sets import (
    Benchmark,
    BenchmarkFilter,
    Choices,
    ColumnFilter,
    Dataset,
    Decontamination,
    Duplicates,
    Fields,
    FilesSource,
    Filter,
    HubSource,
    LanguageFilter,
    OverlapRule,
    PlainFilter,
    ProceduralSource,
    Sample,
    Split,
    TokensFilter,
)
from its.recipe.schema.strategies import COMBINED, DERIVED, Fixed, Limits, Mix, PersonaRequest, Strategy
from its.recipe.schema.study import (
    AXES,
    BASE,
    TRAINED_AXES,
    CellSelection,
    ContrastSection,
    Design,
    EngineSection,
    Generation,
    Grading,
    Judge,
    Measure,
    Prompt,
    ReportSection,
    Selection,
    Train,
    TrainOverlay,
    VoteSection,
)
from its.types import DEFAULT_VARIANT, LAST

__all__ = [
    "AXES",
    "BASE",
    "COMBINED",
    "DEFAULT_VARIANT",
    "DERIVED",
    "LAST",
    "MAX_NAME",
    "NAME_PATTERN",
    "ONE",
    "PATTERN_MESSAGES",
    "RECIPE_VERSION",
    "SEVERAL",
    "TRAINED_AXES",
    "AnswerKind",
    "Benchmark",
    "BenchmarkFilter",
    "CellSelection",
    "Choices",
    "ColumnFilter",
    "ContrastSection",
    "Dataset",
    "Decontamination",
    "Design",
    "Duplicates",
    "EngineSection",
    "Fields",
    "FilesSource",
    "Filter",
    "Fixed",
    "FolderSource",
    "HubModelSource",
    "HubSource",
    "Judge",
    "LanguageFilter",
    "Limits",
    "Mix",
    "Model",
    "OverlapRule",
    "PersonaCheck",
    "PersonaRequest",
    "PlainFilter",
    "ProceduralSource",
    "Prompt",
    "Recipe",
    "Sample",
    "Sampling",
    "Section",
    "Selection",
    "SolutionWriter",
    "SpecialTokens",
    "Split",
    "Strategy",
    "Thinking",
    "TokensFilter",
    "Train",
    "TrainOverlay",
    "Unit",
    "WheelPart",
    "WheelSource",
    "WheelsSource",
    "name_fault",
]


class Recipe(Section):
    """A complete study."""

    recipe_version: Literal[1]
    """Version of the recipe format."""
    recipe: Name
    """Name of the recipe, the same as its file's under `recipes/`."""
    description: str
    """One line about the study, for `its recipe list` and the report."""
    seed: Seed
    """Seed of the study: personas, responses, generated problems and measures are drawn from seeds derived from it and
    from the item."""
    models: Annotated[dict[Name, Model], Field(max_length=MANY)]
    """Models, by name."""
    writer: Writer
    """The model that writes the personas."""
    datasets: Annotated[dict[Name, Dataset], Field(max_length=MANY)]
    """Problems to train on, by name; names must differ from those of benchmarks."""
    benchmarks: Annotated[dict[Name, Benchmark], Field(max_length=MANY)]
    """Problems to evaluate on, by name."""
    strategies: Annotated[dict[Name, Strategy], Field(max_length=MANY)]
    """How problems get personas, by name; `base`, `default` and `last` are reserved words."""
    design: Design
    """Which checkpoints, benchmarks and strategies make up the study."""
    prompt: Prompt
    """The frame around every query."""
    train: Train
    """How checkpoints are trained."""
    engine: EngineSection
    """What generates personas, responses and opinions."""
    generation: Generation
    """How responses to test queries are sampled."""
    grading: Grading
    """How responses are graded."""
    vote: VoteSection
    """Which checkpoints vote."""
    measure: Measure
    """Which measures are computed."""
    report: ReportSection
    """What the report shows in addition to its tables."""
