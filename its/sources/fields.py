"""Map a row of any shape to a problem: dotted paths, values to text without loss, every fault named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from its.errors import Fault
from its.rows import raise_faults
from its.types import Problem

_ABSENT = object()


def map_problems(
    rows: Iterable[tuple[str, Any]], fields: Mapping[str, str | None], source: str, required: tuple[str, ...]
) -> Iterator[Problem]:
    """Yield a problem for each row; after the last good one raise every fault.

    Args:
        rows: (place, value) with place as errors name it, `path:line`.
        fields: of Problem -> dotted path into the value; None or absent is left out.
        source: kept in every problem.
        required: fields beside `problem` that a row must have (`reference` for benchmarks, `solution` for datasets).

    Raises:
        FaultsError: rows that are no mapping, lack a field, repeat a problem_id or hold an odd type.
    """
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    for index, (place, row) in enumerate(rows):
        values: dict[str, str] = {}
        row_faults: list[Fault] = []
        for name, path in fields.items():
            if path is None:
                continue
            value = _reach(row, path)
            if value is _ABSENT or value is None:
                if name == "problem" or name in required or name == "problem_id":
                    keys = ", ".join(f"`{key}`" for key in row) if isinstance(row, Mapping) else "none"
                    row_faults.append(Fault(place, f"no `{path}` ({name}); the row has: {keys}", "mend `fields:`"))
                continue
            try:
                values[name] = as_text(value)
            except TypeError:
                row_faults.append(Fault(place, f"`{path}` is a {type(value).__name__}: wanted text or a number"))
                continue
            if not values[name].strip() and name != "solution":
                row_faults.append(Fault(place, f"`{path}` ({name}) is empty", "remove the row or mend it"))
        row_faults.extend(
            Fault(place, f"no `{name}`: every row needs one here", f"map it: `fields: {{{name}: ...}}`")
            for name in required
            if not fields.get(name)
        )
        problem_id = values.get("problem_id", f"{index:06d}")
        if problem_id in seen:
            row_faults.append(Fault(place, f"duplicate problem_id `{problem_id}`; first at {seen[problem_id]}"))
        if row_faults:
            faults.extend(row_faults)
            continue
        seen[problem_id] = place
        try:
            yield Problem(
                problem_id=problem_id,
                text=values["problem"],
                reference=values.get("reference"),
                solution=values.get("solution"),
                source=source,
            )
        except ValidationError as error:
            faults.append(Fault(place, error.errors()[0]["msg"].lower()))
    raise_faults(faults)


def as_text(value: Any) -> str:
    """Text of a scalar: `27.0` becomes `27` (AMC answers are floats), other floats keep their digits.

    Raises:
        TypeError: if the value is neither text nor a finite number (NaN is how tables write "missing").
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(type(value).__name__)
    return str(int(value)) if float(value).is_integer() else repr(value)


def _reach(value: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _ABSENT
    return value
