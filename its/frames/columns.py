"""Columns of data frames: name, type, meaning; and frames made of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from its.errors import DataError
from its.shown import shown

if TYPE_CHECKING:
    from pandas import DataFrame

Kind = Literal["text", "integer", "number", "share", "true or false", "list", "object"]
DTYPES: dict[Kind, str] = {
    "text": "object",
    "integer": "int64",
    "number": "float64",
    "share": "float64",
    "true or false": "bool",
    "list": "object",
    "object": "object",
}
"""Of a column without missing values. `str` of pandas 3 refuses half of a character, which a model may end with."""
MISSING: dict[Kind, str] = {"integer": "Int64", "true or false": "boolean"}
"""Of a column that may have missing values, where it is another."""
MOST_INTEGER = 2**63 - 1


class StudyWarning(UserWarning):
    """What a reader must know before the numbers: a study is unfinished or outdated, a log lacks scores."""


@dataclass(frozen=True)
class Column:
    """A column of a frame.

    Args:
        meaning: with its unit or range.
        missing: what a missing value means. None: it has none.
    """

    name: str
    kind: Kind
    meaning: str
    missing: str | None = None

    @property
    def dtype(self) -> str:
        return DTYPES[self.kind] if self.missing is None else MISSING.get(self.kind, DTYPES[self.kind])


def frame(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], name: str) -> DataFrame:
    """A data frame with these columns in this order, whatever its rows, also without any.

    Args:
        rows: with a value, or None, for each column.
        name: of the frame, for errors.

    Raises:
        DataError: if an integer does not fit into 64 bits.
    """
    import pandas

    values: dict[str, list[Any]] = {column.name: [] for column in columns}
    for row in rows:
        for key, column_values in values.items():
            column_values.append(row[key])
    for column in columns:
        if column.kind == "integer":
            large = next((v for v in values[column.name] if v is not None and abs(v) > MOST_INTEGER), None)
            if large is not None:
                hint = "`dvc repro -f` of the stage that wrote it writes it again"
                raise DataError(f"{name}: `{column.name}` has an integer of more than 64 bits", hint)
    series = {column.name: pandas.Series(values[column.name], dtype=column.dtype) for column in columns}
    return pandas.DataFrame(series)


def warn(notes: Iterable[str], depth: int) -> None:
    """Give each note as a StudyWarning.

    Args:
        depth: how many calls above this function the user's line is.
    """
    for note in notes:
        warnings.warn(shown(note), StudyWarning, stacklevel=depth + 1)
