"""Records to problems, one by one: ids that do not repeat, options under letters, traces in their normal form."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Generator, Iterable
from typing import Any

from its.errors import DataError
from its.recipe.schema import Fields
from its.seeds import derive_random
from its.sources.fields import FieldReader, Values
from its.sources.records import FaultyRow, Quarantine, RowFault, Series, Table, kept
from its.sources.thoughts import normal_trace
from its.types import Problem, Rejected, listed_options

_NUMBER_BITS = 48
"""Of a row's number within its table."""


def map_series(
    series: Iterable[Series],
    fields: Fields,
    label: str,
    required: tuple[str, ...],
    *,
    preset: str | None = None,
    tolerated: int = 0,
) -> Generator[Problem | Rejected, None, int]:
    """Yield a problem for each good row and a `Rejected` for each faulty one that is tolerated, in order of the source.

    A row without a mapped id is named by its position, faulty rows counted, so fixing one renames no other.

    Args:
        series: the parts of the source, in order.
        fields: where a row keeps what.
        label: how errors call the whole.
        required: fields beside `problem` that a row must have (`reference` for benchmarks, `solution` for datasets).
        preset: whose `fields` these are; None: the recipe's own.
        tolerated: how many rows may be faulty.

    Returns:
        How many solutions, or thoughts in a field of their own, had white space at their ends, which is dropped.

    Raises:
        FaultsError: before the first row, if `fields` is faulty; after the last, if more than `tolerated` rows are
            (where no row of a table has a mapped column, one fault says so), or if a mapped field is in no row.
        DataError: if there is no row, or the source as a whole is damaged.
    """
    reader = FieldReader(fields, required, label, preset)
    quarantine = Quarantine(tolerated)
    ids = _Ids()
    tables = rows = trimmed = 0
    for part in series:
        index = -1
        for table in part.tables:
            tables, first = tables + 1, index
            ids.begin(table, part.prefix)
            reader.begin()
            quarantine.begin()
            for record in table.records:
                index += 1
                place = table.place(record.number)
                try:
                    if record.fault is not None:
                        raise FaultyRow([record.fault])
                    values = reader.values(record.value)
                    problem_id = ids.claimed(values.texts.get("problem_id"), index, record.number)
                    problem = _problem(values, problem_id, part.source, place)
                except FaultyRow as error:
                    raw = record.raw if record.fault else kept(record.value)
                    rejected = quarantine.reject(place, error.faults, raw)
                else:
                    trimmed += _is_trimmed(values)
                    yield problem
                    continue
                if rejected is not None:
                    yield rejected
                if quarantine.is_full:
                    break
            rows += index - first
            if told := reader.ended(table.name):
                quarantine.explain(*told)
            if quarantine.is_full:
                break
        if quarantine.is_full:
            break
    where = table.name if tables == 1 else label
    quarantine.close(where)
    if not rows:
        raise DataError(f"{where}: no row", "is it the right file, subset and split?")
    reader.raise_unseen(where)
    return trimmed


class _Ids:
    """Where each problem_id was first seen, in 16 bytes an id: a million long ids would take many times as much."""

    def __init__(self) -> None:
        self._tables: list[Table] = []
        self._prefix = ""
        self._first: dict[int, int] = {}

    def begin(self, table: Table, prefix: str) -> None:
        """A table begins, whose ids all begin with the prefix."""
        self._tables.append(table)
        self._prefix = prefix

    def claimed(self, problem_id: str | None, index: int, number: int) -> str:
        """The id of a row that has this one, or is named by its index.

        Raises:
            FaultyRow: if another record has the id.
        """
        if problem_id is None:
            return f"{self._prefix}{index:06d}"
        problem_id = f"{self._prefix}{problem_id}"
        digest = int.from_bytes(hashlib.blake2b(problem_id.encode(), digest_size=16).digest())
        # One number for both, so that an id of the first table, mostly the only one, costs no more than its row's.
        here = (len(self._tables) - 1) << _NUMBER_BITS | number
        first = self._first.setdefault(digest, here)
        if first != here:
            table, number = self._tables[first >> _NUMBER_BITS], first & (1 << _NUMBER_BITS) - 1
            message = f"duplicate problem_id `{problem_id}`; first at {table.place(number)}"
            parts = "" if table is self._tables[-1] else ", or name each file as a part, `source: [{...}, {...}]`"
            raise FaultyRow([RowFault(message, f"fix it, or map no `problem_id`: rows are then numbered{parts}")])
        return problem_id


def _problem(values: Values, problem_id: str, source: str, place: str) -> Problem:
    texts, meta = values.texts, dict(values.meta)
    text, reference, solution = texts["problem"], texts.get("reference"), texts.get("solution")
    if values.options:
        text, reference = _lettered(text, values.options, problem_id, meta)
    if solution is not None:
        # Chat templates trim what they are given, and a solution is trained on as its problem has it.
        solution = _traced(solution, texts.get("thinking"), meta).strip()
    return Problem(
        problem_id=problem_id,
        text=text,
        reference=reference,
        solution=solution,
        source=source,
        row=place,
        meta=meta,
    )


def _is_trimmed(values: Values) -> bool:
    """Whether a solution or its thought has white space at its ends."""
    texts = (values.texts.get(name) or "" for name in ("solution", "thinking"))
    return any(text != text.strip() for text in texts)


def _lettered(text: str, options: list[str], problem_id: str, meta: dict[str, Any]) -> tuple[str, str]:
    """The problem with its options below it, `A) ...` a line, and the letter of the correct one.

    The order is drawn from the problem_id alone, so it is the same in every study, and no place is favoured.
    """
    correct = options[0]
    if options.count(correct) > 1:
        raise FaultyRow(
            [RowFault("the correct option is also among the wrong ones", "no letter could be the reference")]
        )
    drawn = list(options)
    derive_random("choices", problem_id).shuffle(drawn)
    meta["choices"] = drawn
    return text.rstrip() + listed_options(drawn), string.ascii_uppercase[drawn.index(correct)]


def _traced(solution: str, thinking: str | None, meta: dict[str, Any]) -> str:
    """The solution in the normal form of traces; what its marks were is kept in `meta`."""
    trace = normal_trace(solution, thinking)
    if isinstance(trace, RowFault):
        raise FaultyRow([trace])
    if trace.form is not None:
        meta["thought_form"] = trace.form
        if thinking is None and trace.text != solution:
            meta["original_solution"] = solution
    return trace.text
