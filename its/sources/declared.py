"""What is wrong with how a problem set is declared, before any of its rows is seen."""

from __future__ import annotations

from its.errors import SettingFault
from its.recipe.schema import Benchmark, Dataset, ProceduralSource
from its.sources.fields import field_faults
from its.sources.load import declared_fields


def required_fields(declared: Dataset | Benchmark) -> tuple[str, ...]:
    """The fields beside `problem` that every row of the set needs."""
    return ("reference",) if isinstance(declared, Benchmark) else ("solution",)


def mapping_faults(section: str, name: str, declared: Dataset | Benchmark) -> list[SettingFault]:
    """The faults of `fields` or the preset."""
    if isinstance(declared.source, ProceduralSource):
        return []
    out: list[SettingFault] = []
    for field, fault in field_faults(declared_fields(declared), required_fields(declared)):
        here = (section, name, *(["fields", *field.split(".")] if declared.fields else ["preset"]))
        out.append(SettingFault(here, f"`{'.'.join(here)}`: {fault.message}", fault.hint))
    return out
