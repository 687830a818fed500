"""The scores in a data frame that a user made or read: one side of a comparison."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, get_args

from its.commands.scores import Kind, Scores
from its.errors import DataError, Fault
from its.rows import MAX_FAULTS, raise_faults
from its.shown import quoted

if TYPE_CHECKING:
    from pandas import DataFrame, Series

NEEDED = ("problem_id", "score")
TEXTS = ("problem", "reference", "rule")
GRADERS = {"grader": "", "grader_version": "ITS "}
"""Columns that say who scored -> what precedes their values: `read_log` has the first, `responses` the second."""


def frame_scores(table: DataFrame, name: str) -> Scores:
    """The scores of a frame with `problem_id` and `score`; other columns of `read_log` are used if it has them.

    Several rows of a problem are several responses. The kind, which says whether row numbers of two sides are of one
    program, is `its` unless there is a column `kind`.

    Args:
        name: of the side, where there is no column `name` with one value.

    Raises:
        DataError: if it is not a data frame, lacks a column, has one twice, or has no rows.
        FaultsError: with every row without a problem or a score from 0 to 1, and a sample that is there twice: those
            are rows of two cells.
    """
    import pandas

    if not isinstance(table, pandas.DataFrame):
        hint = "`to_pandas()` of the other libraries for tables gives one"
        what = f"a `{quoted(type(table).__name__)}`; expected a name, a path or a data frame"
        raise DataError(f"side {name}: {what}", hint)
    columns = [each for each in table.columns if isinstance(each, str)]
    if lacking := [each for each in NEEDED if each not in columns]:
        what = " and no column ".join(f"`{each}`" for each in lacking)
        raise DataError(f"frame {name}: has no column {what}", f"`rename(columns={{...: '{lacking[0]}'}})` renames one")
    used = [each for each in (*NEEDED, "sample_index", "name", "kind", *GRADERS, *TEXTS) if each in columns]
    if twice := next((each for each in used if columns.count(each) > 1), None):
        raise DataError(f"frame {name}: has the column `{twice}` twice", "drop one of them")
    if not len(table):
        raise DataError(f"frame {name}: has no rows", "is its selection right?")
    values = {each: _plain(table[each]) for each in used}
    out = Scores(_only(values.get("name"), name), _kind(values.get("kind"), name))
    seen: dict[tuple[str, Any], int] = {}
    faults: list[Fault] = []
    for place in range(len(table)):
        row = {each: several[place] for each, several in values.items()}
        wrong = _take(out, row, place, seen)
        if wrong is not None:
            faults.append(Fault(f"frame {name}, row {place}", wrong))
        if len(faults) > MAX_FAULTS:
            break
    raise_faults(faults)
    return out


def _take(out: Scores, row: dict[str, Any], place: int, seen: dict[tuple[str, Any], int]) -> str | None:
    """Add a row; what is wrong with it, or None."""
    problem, value = row["problem_id"], row["score"]
    if isinstance(problem, numbers.Integral) and not isinstance(problem, bool):
        problem = str(int(problem))
    if not isinstance(problem, str) or not problem:
        return f"`problem_id`: {quoted(problem)}; expected a text or an integer"
    is_number = isinstance(value, numbers.Real)
    if not is_number or not 0 <= value <= 1:
        return f"`score`: {quoted(value)}; expected a number from 0 to 1"
    score = float(value)
    if (sample := row.get("sample_index")) is not None:
        if not isinstance(sample, numbers.Real | str):
            return f"`sample_index`: {quoted(sample)}; expected an integer"
        if (problem, sample) in seen:
            first = seen[problem, sample]
            return f"sample {quoted(sample)} of {quoted(problem)} is in row {first}, too: one cell or log a frame"
        seen[problem, sample] = place
    for each, kept in (("problem", out.texts), ("reference", out.references)):
        if isinstance(row.get(each), str):
            kept.setdefault(problem, row[each])
    rule = row.get("rule")
    grader = next((f"{prefix}{row[each]}" for each, prefix in GRADERS.items() if isinstance(row.get(each), str)), None)
    out.add(problem, score, rule if isinstance(rule, str) else None, grader)
    return None


def _plain(column: Series) -> list[Any]:
    """The values of a column, None for a missing one."""
    return [value if there else None for value, there in zip(column.astype(object), column.notna(), strict=True)]


def _only(values: list[Any] | None, name: str) -> str:
    found = {value if isinstance(value, str) else "" for value in values or ()}
    return found.pop() if len(found) == 1 and "" not in found else f"frame {name}"


def _kind(values: list[Any] | None, name: str) -> Kind:
    known: tuple[Kind, ...] = get_args(Kind)
    for kind in known:
        if all(isinstance(value, str) and value == kind for value in values or ["its"]):
            return kind
    hint = "drop the column where it is something else"
    raise DataError(f"frame {name}: `kind` is not one of {', '.join(known)} in all rows", hint)
