"""What the loader makes of rows, taken to the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from its.recipe.schema import Fields
from its.sources.problems import map_series
from its.sources.records import Record, Series, Table
from its.streams import Stream
from its.types import Problem, Rejected

Loaded = tuple[list[Problem], list[Rejected]]


def parted(rows: Iterable[Problem | Rejected]) -> Loaded:
    """The problems, and the rows that were set aside."""
    problems: list[Problem] = []
    rejected: list[Rejected] = []
    for row in rows:
        if isinstance(row, Rejected):
            rejected.append(row)
        else:
            problems.append(row)
    return problems, rejected


def mapped_table(
    table: Table, fields: Fields, source: str, required: tuple[str, ...] = (), *, tolerated: int = 0
) -> Loaded:
    """The rows of one table."""
    return parted(map_series([Series(source, iter([table]))], fields, source, required, tolerated=tolerated))


def table_of(rows: Sequence[Any]) -> Table:
    """A table `f` of the rows, numbered from 1."""
    return Table("f", lambda n: f"f:{n}", Stream(Record(number, row) for number, row in enumerate(rows, start=1)))
