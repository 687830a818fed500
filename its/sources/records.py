"""What a reader yields, and what happens to rows that cannot be used: counted, named, quarantined or fatal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from its.errors import Fault, FaultyRowsError
from its.rows import MAX_FAULTS
from its.shown import counted, shown
from its.streams import Stream
from its.types import Rejected

RAW_CHARACTERS = 2000
"""How much of a faulty row the quarantine keeps: enough to find it, whatever its size."""
MAX_FAULTY_ROWS = 100_000
"""Beyond those tolerated; then reading stops: so many are not fixed one by one, and it is probably another file."""
_MESSAGE_CHARACTERS = 1000
"""Of one fault: a row can have a column whose name is as long as a line."""


class RowFault(NamedTuple):
    """What is wrong with a row and what to do about it; the place is the record's."""

    message: str
    hint: str | None = None
    lacks: str | None = None
    """The field for which the row has nothing: where no row of a table has it, one fault replaces all of them."""


class FaultyRow(Exception):
    """A row that cannot be used, with everything that is wrong with it."""

    def __init__(self, faults: Sequence[RowFault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = faults


class Record(NamedTuple):
    """One row as a reader found it: its number in the file and its value, or why it has none and the raw text."""

    number: int
    value: Any = None
    fault: RowFault | None = None
    raw: str = ""


@dataclass(frozen=True)
class Table:
    """The records of a source, streamed, and how it names the place of one (`path:line`, `path[index]`).

    The result of `records` is the SHA-256 of the file's very bytes that they came from; None where there is no file.
    """

    name: str
    place: Callable[[int], str]
    records: Stream[Record, str | None]


@dataclass(frozen=True)
class Series:
    """Tables that are read one after the other, with the source that their problems name and the prefix of their ids.

    Problems without an id are counted from the first table on.
    """

    source: str
    tables: Iterator[Table]
    prefix: str = ""


@dataclass
class Quarantine:
    """Counts faulty rows, and raises their faults where there are more than `tolerated`.

    Only the first faults are kept, so a source of a million faulty rows costs no more than one of twenty.
    """

    tolerated: int
    rows: int = 0
    _count: int = 0
    _faults: list[tuple[Fault, str | None]] = field(default_factory=list)
    _kept: Counter[str | None] = field(default_factory=Counter)
    _whole: list[Fault] = field(default_factory=list)
    _begun: int = 0
    _lacking: Counter[str] = field(default_factory=Counter)

    @property
    def is_full(self) -> bool:
        """Whether reading on is of no use."""
        return self.rows - self.tolerated >= MAX_FAULTY_ROWS

    def begin(self) -> None:
        """A table begins."""
        self._begun = len(self._faults)
        self._lacking.clear()

    def reject(self, place: str, faults: Sequence[RowFault], raw: str) -> Rejected | None:
        """Note a faulty row; gives what the quarantine file keeps of it, None where it is one more than tolerated."""
        self.rows += 1
        self._count += len(faults)
        for item in faults:
            if item.lacks is not None:
                self._lacking[item.lacks] += 1
            if self._kept[item.lacks] < MAX_FAULTS:  # of each kind, since one of them may be explained away
                self._kept[item.lacks] += 1
                self._faults.append((Fault(place, _told(item.message), item.hint), item.lacks))
        if self.rows > self.tolerated:
            return None
        remedies = list(dict.fromkeys(item.hint for item in faults if item.hint))
        return Rejected(row=place, reasons=[_told(item.message) for item in faults], remedies=remedies, raw=raw)

    def explain(self, lacking: Sequence[str], fault: Fault) -> None:
        """One fault in place of those of all rows of the table that lack some fields."""
        mine = self._faults[self._begun :]
        self._faults[self._begun :] = [item for item in mine if item[1] not in lacking]
        for name in lacking:
            self._kept[name] = 0
        self._count += 1 - sum(self._lacking[name] for name in lacking)
        self._whole.append(fault)

    def close(self, source: str) -> None:
        """End of the source.

        Raises:
            FaultyRowsError: if more rows are faulty than tolerated: the first faults and how many more.
        """
        if self.rows <= self.tolerated:
            return
        faults = [*self._whole, *(fault for fault, _ in self._faults)][:MAX_FAULTS]
        rest = "; the rest was not read" if self.is_full else ""
        if self._count > len(faults) or rest:
            more = f"{counted(self._count - len(faults), 'more fault')}; " if self._count > len(faults) else ""
            faults.append(Fault(source, f"{more}{counted(self.rows, 'row is', 'rows are')} faulty{rest}"))
        if self.tolerated:
            message = f"{counted(self.rows, 'row is', 'rows are')} faulty; `tolerate.rows` is {self.tolerated}"
            faults.append(Fault(source, message, "fix the source, or raise it after reading the faults above"))
        raise FaultyRowsError(faults, self.rows)


def _told(message: str) -> str:
    """A message about a row, which quotes untrusted text: cut, and safe for a terminal and a page."""
    return shown(message[:_MESSAGE_CHARACTERS]) + ("..." if len(message) > _MESSAGE_CHARACTERS else "")


def kept(value: Any) -> str:
    """A value or a text as the quarantine keeps it: ASCII JSON, or the text itself; safe to write, cut where long."""
    if isinstance(value, str):
        text = value[: RAW_CHARACTERS + 1].encode("utf-8", "backslashreplace").decode("utf-8")
    else:
        try:
            text = json.dumps(value, ensure_ascii=True, default=_described)
        except (ValueError, TypeError, RecursionError) as error:
            text = f"(a row that JSON cannot hold: {type(error).__name__})"
    return text if len(text) <= RAW_CHARACTERS else f"{text[:RAW_CHARACTERS]}..."


def _described(value: Any) -> str:
    try:
        return str(value)
    except (ValueError, OverflowError):
        return f"({type(value).__name__})"
