"""The filter by a column: which rows stay by the value of one column, and how often each value occurs.

Values are compared as JSON has them: `1` is `1.0`, and neither `"1"` nor `true`. A value that was meant otherwise
shows in the counts, where text that reads like a number is in quotes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from its.errors import DataError
from its.recipe.schema import ColumnFilter
from its.shown import shown
from its.types import Problem

_VALUES = 1000
"""Different values beside the listed ones that are counted one by one: a column of ids has one a row."""
_NAMED = 10
_CHARACTERS = 40
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?\s*", re.ASCII)
_PLAIN = re.compile(
    r"(?!(?:null|true|false|no value|an? (?:list|object)|other values)$)[^\W\d][\w /()'&.-]*(?<!\s)", re.IGNORECASE
)
"""Text that is taken for nothing else, and for no other text, without quotes."""

Key = tuple[str, Any]
"""Kind and value: what two values have in common that are one to a filter."""


class Column:
    """One filter by a column, and what it met.

    Args:
        declared: the recipe's entry.
    """

    def __init__(self, declared: ColumnFilter) -> None:
        self._declared = declared
        self._listed = {_key(value): value for value in (declared.keep or declared.drop or [])}
        self._met: dict[Key, Any] = {}
        self._counts: dict[bool, Counter[Key]] = {True: Counter(), False: Counter()}
        self._rows = self._with_column = 0
        self._known: list[str] = []

    def keeps(self, problem: Problem) -> bool:
        """Whether the next problem stays; its value is counted."""
        self._rows += 1
        self._with_column += self._declared.of in problem.meta
        self._known = self._known or list(problem.meta)
        value = problem.meta.get(self._declared.of)
        key = _key(value)
        stays = self._stays(key)
        if key not in self._met and key not in self._listed and len(self._met) >= _VALUES:
            key = ("others", "other values")
        self._met.setdefault(key, value)
        self._counts[stays][key] += 1
        return stays

    def note(self) -> str:
        """What was met: how often each value of the rows that went, and of those that stayed, then what no row has."""
        parts = [self._tally(False)] if self._counts[False] else []
        parts += [f"kept {self._tally(True)}"] if self._counts[True] else []
        if absent := self._absent():
            parts.append(f"no row has {', '.join(f'`{_told(value)}`' for value in absent[:_NAMED])}")
        return "; ".join(parts)

    def check(self, name: str) -> None:
        """What is wrong with the filter, once all rows went through it.

        Args:
            name: of the set.

        Raises:
            DataError: if there were rows and none has the column, or none stays.
        """
        if not self._rows:
            return
        of = self._declared.of
        if not self._with_column:
            has = ", ".join(f"`{key}`" for key in self._known[:_NAMED]) or "nothing"
            raise DataError(f"`{name}`: no row has `{of}`, which a filter names", f"`meta` of a row contains: {has}")
        if not self._counts[True]:
            message = f"the filter on `{of}` keeps none of {self._rows} rows: {self.note()}"
            raise DataError(f"`{name}`: {message}", self._hint())

    def _stays(self, key: Key) -> bool:
        if self._declared.keep is not None:
            return key in self._listed
        if self._declared.drop is not None:
            return key not in self._listed
        number = _number(key)
        least, most = self._declared.at_least, self._declared.at_most
        return (
            number is not None
            and (least is None or number >= Decimal(repr(least)))
            and (most is None or number <= Decimal(repr(most)))
        )

    def _tally(self, stayed: bool) -> str:
        counts = self._counts[stayed].most_common()
        told = [f"{_told(self._met[key]) if key[0] != 'others' else key[1]}: {count}" for key, count in counts[:_NAMED]]
        if rest := sum(count for _, count in counts[_NAMED:]):
            told.append(f"{len(counts) - _NAMED} more values: {rest}")
        return ", ".join(told)

    def _absent(self) -> list[Any]:
        """The listed values that no row has."""
        return [value for key, value in self._listed.items() if key not in self._met]

    def _hint(self) -> str:
        """Which value of the rows a listed one was probably meant to be, or how values are compared."""
        near: Mapping[str, Any] = {_folded(value): value for key, value in self._met.items() if key[0] != "others"}
        for value in self._absent():
            if _folded(value) in near:
                return f"the rows have {_told(near[_folded(value)])}, the filter says {_told(value)}"
        return 'values are compared as they are: 1 is not "1", math not Math'


def filter_text(declared: ColumnFilter) -> str:
    """How the filter is called in the counts."""
    for word, values in (("", declared.keep), ("without ", declared.drop)):
        if values is not None:
            more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
            return f"{declared.of}: {word}{', '.join(map(_told, values[:_NAMED]))}{more}"
    least, most = declared.at_least, declared.at_most
    if least is None or most is None:
        return f"{declared.of}: {_plain(most)} or less" if least is None else f"{declared.of}: {_plain(least)} or more"
    return f"{declared.of}: {_plain(least)} to {_plain(most)}"


def _key(value: Any) -> Key:
    if value is None or isinstance(value, bool):
        return ("truth", value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, str):
        return ("text", value)
    return ("list" if isinstance(value, list) else "object", None)


def _number(key: Key) -> Decimal | None:
    """The number that a value is, or that its text says; None if it is none."""
    kind, value = key
    if kind == "number":
        return Decimal(repr(value))
    return Decimal(value.strip()) if kind == "text" and len(value) < 100 and _NUMBER.fullmatch(value) else None


def _told(value: Any) -> str:
    if value is None:
        return "no value"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return _plain(value)
    if isinstance(value, str):
        text = shown(value[:_CHARACTERS]) + ("..." if len(value) > _CHARACTERS else "")
        return text if _PLAIN.fullmatch(value) else f'"{text}"'
    return "a list" if isinstance(value, list) else "an object"


def _plain(number: float | int | None) -> str:
    whole = isinstance(number, float) and number.is_integer() and abs(number) < 1e15
    text = str(int(number) if whole and number is not None else number)
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}..."


def _folded(value: Any) -> str:
    return " ".join((value if isinstance(value, str) else _told(value)).split()).casefold()
