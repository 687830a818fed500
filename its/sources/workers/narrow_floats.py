"""Floats of 32 and 16 bits as they were written: 0.1 and not 0.10000000149011612.

Python has floats of 64 bits alone. What Arrow makes of a narrower one is exact, and has digits that nobody wrote: the
reference `0.1` of a float32 column would be a number that no answer equals. The shortest digits that give the same
narrow float back are what was written, or as good as. A whole number stays what it is: 2^30 in 32 bits is 1073741824,
whose shortest digits are 1073741800.

Beside the workers, of which one imports it, and used by the hub's reader, too.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any


def is_narrow(kind: Any) -> bool:
    """Whether an Arrow type is, or holds at any depth, floats of less than 64 bits."""
    import pyarrow

    if pyarrow.types.is_float32(kind) or pyarrow.types.is_float16(kind):
        return True
    if isinstance(kind, pyarrow.BaseExtensionType):
        return is_narrow(kind.storage_type)
    if pyarrow.types.is_dictionary(kind) or pyarrow.types.is_run_end_encoded(kind):
        return is_narrow(kind.value_type)
    return pyarrow.types.is_nested(kind) and any(is_narrow(kind.field(index).type) for index in range(kind.num_fields))


def as_written(values: list[Any], kind: Any) -> list[Any]:
    """Values of an Arrow type, as `to_pylist` gives them, with each narrow float that is not a whole number as the
    nearest of its shortest digits.

    Args:
        kind: the Arrow type of each of the values.
    """
    import numpy
    import pyarrow

    types = pyarrow.types
    if not is_narrow(kind):
        return values
    if types.is_float32(kind):  # Arrow writes the shortest digits of these
        short = pyarrow.array(values, kind).cast(pyarrow.string()).cast(pyarrow.float64()).to_pylist()
        return [one if one is None or one.is_integer() else other for one, other in zip(values, short, strict=True)]
    if types.is_float16(kind):
        short = [None if value is None else float(str(numpy.float16(value))) for value in values]
        return [one if one is None or one.is_integer() else other for one, other in zip(values, short, strict=True)]
    if isinstance(kind, pyarrow.BaseExtensionType):
        return as_written(values, kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return as_written(values, kind.value_type)
    if types.is_struct(kind):
        rows = [None if value is None else dict(value) for value in values]
        held = [row for row in rows if row is not None]
        for field in (kind.field(index) for index in range(kind.num_fields)):
            for row, item in zip(held, as_written([row[field.name] for row in held], field.type), strict=True):
                row[field.name] = item
        return rows
    if types.is_map(kind):
        pairs = _inside(
            values,
            lambda flat: list(
                zip(
                    as_written([key for key, _ in flat], kind.key_type),
                    as_written([item for _, item in flat], kind.item_type),
                    strict=True,
                )
            ),
        )
        return pairs
    if hasattr(kind, "value_type"):  # the several kinds of lists
        return _inside(values, lambda flat: as_written(flat, kind.value_type))
    return values


def _inside(lists: list[Any], act: Any) -> list[Any]:
    """The lists with what `act` makes of all their items, taken as one list; None stays None."""
    flat = act([item for items in lists if items is not None for item in items])
    ends = [0, *accumulate(0 if items is None else len(items) for items in lists)]
    return [
        None if items is None else flat[first:last] for items, (first, last) in zip(lists, pairwise(ends), strict=True)
    ]


def rows_as_written(rows: list[dict[str, Any]], schema: Any) -> list[dict[str, Any]]:
    """Rows of an Arrow schema, their narrow floats as in `as_written`; a row may lack a column."""
    for field in schema:
        if is_narrow(field.type):
            held = [row for row in rows if field.name in row]
            for row, value in zip(held, as_written([row[field.name] for row in held], field.type), strict=True):
                row[field.name] = value
    return rows
