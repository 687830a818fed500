"""The filter by a column: what stays against a plain reading of the rule, and how it counts and refuses."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from its.curation.columns import Column, filter_text
from its.errors import DataError
from its.recipe.schema import ColumnFilter
from its.types import Problem

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([-1.0, 0.5, 1.0, 2.0]),
    st.sampled_from(["1", "a", ""]),
)
CELLS = st.one_of(SCALARS, st.just([1]), st.just({"a": 1}), st.just(...))
"""What a row holds; `...` is a row without the column."""


def _rows(cells: list[Any]) -> list[Problem]:
    return [
        Problem(problem_id=str(at), text="q", source="s", meta={} if cell is ... else {"x": cell})
        for at, cell in enumerate(cells)
    ]


def _column(**more: Any) -> Column:
    return Column(ColumnFilter.model_validate({"name": "column", "of": "x", **more}))


def _staying(column: Column, rows: list[Problem]) -> list[Problem]:
    return [row for row in rows if column.keeps(row)]


def _kept(cells: list[Any], **more: Any) -> list[Any]:
    column = _column(**more)
    return [cells[int(problem.problem_id)] for problem in _staying(column, _rows(cells))]


def _same(cell: Any, listed: Any) -> bool:
    """The rule in JSON's words: one type of value, numbers being one type, and one value."""
    cell = None if cell is ... else cell
    if isinstance(cell, bool) or isinstance(listed, bool) or cell is None or listed is None:
        return cell is listed
    if isinstance(cell, str) or isinstance(listed, str):
        return type(cell) is type(listed) and cell == listed
    return not isinstance(cell, list | dict) and bool(cell == listed)


@given(st.lists(CELLS, max_size=20), st.lists(SCALARS, min_size=1, max_size=4))
def test_what_is_kept_and_what_is_dropped_are_the_whole(cells: list[Any], listed: list[Any]) -> None:
    kept, dropped = _kept(cells, keep=listed), _kept(cells, drop=listed)
    assert kept == [cell for cell in cells if any(_same(cell, value) for value in listed)]
    assert dropped == [cell for cell in cells if not any(_same(cell, value) for value in listed)]


NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))


@given(st.lists(NUMBERS, max_size=20), NUMBERS, NUMBERS, st.booleans())
def test_bounds_hold_for_numbers_and_for_text_that_is_one(
    cells: list[float], one: float, other: float, text: bool
) -> None:
    low, high = sorted((float(one), float(other)))
    written = [repr(cell) if text else cell for cell in cells]
    assert _kept(written, at_least=low, at_most=high) == [
        shown for shown, cell in zip(written, cells, strict=True) if low <= cell <= high
    ]


@pytest.mark.parametrize("cell", [None, ..., True, "", "Level 5", "nan", "inf", "1/2", "1e9999", "1,5", "٣", [3], {}])
def test_what_is_no_number_is_within_no_bounds(cell: Any) -> None:
    assert _kept([cell, 3], at_least=-1e300) == [3]


@given(st.lists(CELLS, min_size=1, max_size=30), st.lists(SCALARS, min_size=1, max_size=3))
def test_the_counts_add_up(cells: list[Any], listed: list[Any]) -> None:
    column = _column(drop=listed)
    stay = len(_staying(column, _rows(cells)))
    note = column.note().partition("; no row has")[0]
    out, _, kept = note.partition("kept ")
    counts = [[int(count) for count in re.findall(r": (\d+)(?=, |; |$)", side)] for side in (out, kept)]
    assert [sum(side) for side in counts] == [len(cells) - stay, stay]


def test_the_note_says_what_went_what_stayed_and_what_was_not_there() -> None:
    column = _column(keep=["math", "logic"])
    _staying(column, _rows(["math", "code", "code", "math", "puzzle", ..., None]))
    assert column.note() == "code: 2, no value: 2, puzzle: 1; kept math: 2; no row has `logic`"
    column.check("set")


@pytest.mark.parametrize(
    ("cells", "more", "note"),
    [
        (
            ["1", 1, True, None, [1], {"a": 1}],
            {"keep": [1]},
            '"1": 1, true: 1, no value: 1, a list: 1, an object: 1; kept 1: 1',
        ),
        (["true", "null", " a", "a ", "a, b", "x\n", "a" * 50], {"keep": ["q"]}, None),
        ([1.0, 2.5, 1e300], {"keep": [7]}, "1: 1, 2.5: 1, 1e+300: 1; no row has `7`"),
    ],
)
def test_values_in_the_note_cannot_be_taken_for_others(cells: list[Any], more: Any, note: str | None) -> None:
    column = _column(**more)
    _staying(column, _rows(cells))
    if note is not None:
        assert column.note() == note
    else:
        assert all(told.startswith('"') for told in column.note().partition("; ")[0].split(', "')[:1])
        assert "\n" not in column.note() and "a" * 41 not in column.note()


def test_a_column_of_ids_is_counted_in_bounded_memory() -> None:
    column = _column(drop=["id-3"])
    assert len(_staying(column, _rows([f"id-{at}" for at in range(5000)]))) == 4999
    assert column.note().startswith("id-3: 1; kept other values: 4000, id-0: 1")
    assert column.note().endswith("990 more values: 990")
    listed = _column(keep=["id-4999", "nobody"])
    assert len(_staying(listed, _rows([f"id-{at}" for at in range(5000)]))) == 1
    assert listed.note().endswith("; kept id-4999: 1; no row has `nobody`"), "a listed value is never among the others"


@pytest.mark.parametrize("more", [{"keep": ["a"]}, {"drop": ["a"]}, {"at_least": 1}])
def test_a_column_that_no_row_has_is_refused(more: Any) -> None:
    column = _column(**more)
    _staying(column, [Problem(problem_id="1", text="q", source="s", meta={"level": 3})])
    with pytest.raises(DataError, match="`set`: no row has `x`, which a filter names") as caught:
        column.check("set")
    assert caught.value.hint == "`meta` of a row contains: `level`"
    _column(**more).check("a set that an earlier step emptied has its own error")


@pytest.mark.parametrize(
    ("cells", "more", "hint"),
    [
        (["1", "2"], {"keep": [1]}, 'the rows have "1", the filter says 1'),
        ([1, 2], {"keep": ["1"]}, 'the rows have 1, the filter says "1"'),
        (["Math", "Code"], {"keep": ["math"]}, "the rows have Math, the filter says math"),
        (["level  5 "], {"keep": ["Level 5"]}, 'the rows have "level  5 ", the filter says Level 5'),
        ([True], {"keep": ["true"]}, 'the rows have true, the filter says "true"'),
        (["code"], {"keep": ["math"]}, 'values are compared as they are: 1 is not "1", math not Math'),
        (["a"], {"drop": ["a"]}, 'values are compared as they are: 1 is not "1", math not Math'),
    ],
)
def test_a_filter_that_keeps_nothing_is_refused_with_what_was_there(cells: list[Any], more: Any, hint: str) -> None:
    column = _column(**more)
    assert not _staying(column, _rows(cells))
    with pytest.raises(DataError, match=f"the filter on `x` keeps none of {len(cells)} rows: ") as caught:
        column.check("set")
    assert caught.value.hint == hint
    counts = Counter(json.dumps(cell) for cell in cells)
    assert str(max(counts.values())) in caught.value.message


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"keep": ["math", 1, None, "1"]}, 'x: math, 1, no value, "1"'),
        ({"drop": ["code"]}, "x: without code"),
        ({"keep": list(range(40))}, "x: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 30 more"),
        ({"at_least": 3}, "x: 3 or more"),
        ({"at_most": 0.5}, "x: 0.5 or less"),
        ({"at_least": 3, "at_most": math.pi}, "x: 3 to 3.141592653589793"),
    ],
)
def test_a_filter_is_called_by_what_it_keeps(more: Any, told: str) -> None:
    assert filter_text(ColumnFilter.model_validate({"name": "column", "of": "x", **more})) == told
