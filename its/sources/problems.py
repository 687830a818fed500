"""Records to problems, one by one: ids that do not repeat, options under letters, traces in their normal form."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterator
from typing import Any

from its.errors import DataError
from its.recipe.schema import Fields
from its.seeds import derive_random
from its.sources.fields import FieldReader, Values
from its.sources.records import FaultyRow, Quarantine, Rejected, RowFault, Table, kept
from its.sources.thoughts import normal_trace
from its.types import Problem, listed_options


def map_problems(
    table: Table,
    fields: Fields,
    source: str,
    required: tuple[str, ...],
    *,
    tolerated: int = 0,
    rejected: list[Rejected] | None = None,
) -> Iterator[Problem]:
    """Yield a problem for each good row, in order of the source; after the last one raise the faults.

    A row without a mapped id is named by its position, faulty rows counted, so mending one renames no other.

    Args:
        table: of a reader.
        fields: where a row keeps what.
        source: kept in every problem.
        required: fields beside `problem` that a row must have (`reference` for benchmarks, `solution` for datasets).
        tolerated: how many rows may be faulty.
        rejected: takes the faulty rows, at most `tolerated`.

    Raises:
        FaultsError: before the first row, if `fields` is faulty; after the last, if more than `tolerated` rows are,
            or if a mapped field is in no row.
        DataError: if there is no row, or the source as a whole is damaged.
    """
    reader = FieldReader(fields, required, source)
    quarantine = Quarantine(tolerated, [] if rejected is None else rejected)
    ids = _Ids(table)
    index = -1
    for index, record in enumerate(table.records):
        place = table.place(record.number)
        try:
            if record.fault is not None:
                raise FaultyRow([record.fault])
            values = reader.values(record.value)
            ids.claim(values.texts.get("problem_id"), record.number)
            problem = _problem(values, source, place, f"{index:06d}")
        except FaultyRow as error:
            quarantine.reject(table.name, place, error.faults, record.raw if record.fault else kept(record.value))
            continue
        yield problem
    quarantine.close(table.name)
    if index < 0:
        raise DataError(f"{table.name}: no row", "is it the right file, subset and split?")
    reader.raise_unseen(table.name)


class _Ids:
    """Where each problem_id was first seen, in 16 bytes an id: a million long ids would take many times as much."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._first: dict[int, int] = {}

    def claim(self, problem_id: str | None, number: int) -> None:
        """Raises FaultyRow if another record has the id."""
        if problem_id is None:
            return
        digest = int.from_bytes(hashlib.blake2b(problem_id.encode(), digest_size=16).digest())
        first = self._first.setdefault(digest, number)
        if first != number:
            message = f"duplicate problem_id `{problem_id}`; first at {self._table.place(first)}"
            raise FaultyRow([RowFault(message, "mend it, or map no `problem_id`: rows are numbered then")])


def _problem(values: Values, source: str, place: str, number: str) -> Problem:
    texts, meta = values.texts, dict(values.meta)
    problem_id = texts.get("problem_id", number)
    text, reference, solution = texts["problem"], texts.get("reference"), texts.get("solution")
    if values.options:
        text, reference = _lettered(text, values.options, problem_id, meta)
    if solution is not None:
        # Chat templates trim what they are given, and a solution is trained on as its problem has it.
        solution = _traced(solution, texts.get("thinking"), meta).strip()
    elif "thinking" in texts:
        raise FaultyRow([RowFault("there is `thinking` and no `solution`", "mend or remove the row")])
    return Problem(
        problem_id=problem_id,
        text=text,
        reference=reference,
        solution=solution,
        source=source,
        row=place,
        meta=meta,
    )


def _lettered(text: str, options: list[str], problem_id: str, meta: dict[str, Any]) -> tuple[str, str]:
    """The problem with its options below it, `A) ...` a line, and the letter of the correct one.

    The order is drawn from the problem_id alone, so it is the same in every study, and no place is favoured.
    """
    correct = options[0]
    if options.count(correct) > 1:
        raise FaultyRow(
            [RowFault("the correct option stands among the wrong ones", "no letter could be the reference")]
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
