"""The columns that filters name: kept in `meta` like mapped ones, so that a filter can look at them."""

from __future__ import annotations

from its.recipe.schema import Benchmark, ColumnFilter, Dataset, ProceduralSource
from its.sources.fields import KEPT
from its.sources.load import declared_fields


def with_filter_columns(declared: Dataset | Benchmark) -> Dataset | Benchmark:
    """The set with the columns that its filters name added to what `fields` keeps.

    A name that `fields.meta` or the preset's has is that, and what the loader itself writes is not looked for in rows;
    any other is a path into the row. A procedural set has no rows to look into: its meta is what it is.

    Raises:
        DataError: as `declared_fields`.
    """
    named = [step.of for step in declared.filters if isinstance(step, ColumnFilter)]
    if not named or isinstance(declared.source, ProceduralSource):
        return declared
    fields = declared_fields(declared)
    more = {name: name for name in named if name not in fields.meta and name not in KEPT}
    return declared.model_copy(
        update={"preset": None, "fields": fields.model_copy(update={"meta": {**fields.meta, **more}})}
    )
