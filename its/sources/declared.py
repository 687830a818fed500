"""What is wrong with how a problem set is declared, before any of its rows is seen."""

from __future__ import annotations

from its.recipe.schema import Benchmark, Dataset, ProceduralSource
from its.sources.fields import field_faults
from its.sources.load import declared_fields

Found = tuple[tuple[str | int, ...], str, str | None]


def required_fields(declared: Dataset | Benchmark) -> tuple[str, ...]:
    """The fields beside `problem` that every row of the set needs."""
    return ("reference",) if isinstance(declared, Benchmark) else ("solution",)


def mapping_faults(section: str, name: str, declared: Dataset | Benchmark) -> list[Found]:
    """The faults of `fields` or the preset, as (location in the recipe, message, hint)."""
    if isinstance(declared.source, ProceduralSource):
        return []
    out: list[Found] = []
    for field, fault in field_faults(declared_fields(declared), required_fields(declared)):
        here = (section, name, *(["fields", *field.split(".")] if declared.fields else ["preset"]))
        out.append((here, f"`{'.'.join(here)}`: {fault.message}", fault.hint))
    return out
