"""How much a template may do: every step is charged to a budget, so that none runs long or grows large.

The budget is counted, not timed: a template is refused on every machine or on none. Using all of it takes a fraction of
a second, with the extension for long data at most some seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jinja2 import Undefined

BASE_UNITS = 2_000_000
"""One unit is a character read or written, or a tenth of an evaluated expression. The shipped templates use under
3,000 for a problem of 1,000 characters."""
UNITS_PER_CHARACTER = 32
"""Further units for each character (or number, or list item) that the template receives: a long problem may pass
through thirty filters."""
ITEM_UNITS = 10
"""Cost of an item of a new list: it takes as long, and as much memory, as ten characters."""
MAX_EXTENSION = 50_000_000
"""Most of these further units: fifty passes over a million characters, longer than any reasoning trace."""
MAX_BITS = 14_285
"""Largest integer, in bits: 4,300 digits, the most that Python prints."""


class BudgetError(Exception):
    """The template exceeds its budget."""


class _Work(threading.local):
    left: int = 0
    given: Mapping[str, Any] | None = None


_WORK = _Work()


@contextmanager
def budget(given: Mapping[str, Any]) -> Iterator[None]:
    """Allow one rendering with the values `given`; renderings do not nest."""
    _WORK.left, _WORK.given = BASE_UNITS, given
    try:
        yield
    finally:
        _WORK.left, _WORK.given = 0, None


def charge(units: int) -> None:
    """Charge units before they are spent.

    Raises:
        BudgetError: if fewer are left.
    """
    _WORK.left -= max(units, 1)
    if _WORK.left < 0:
        _extend()


def _extend() -> None:
    """Extend the budget by the size of the data, which is measured only now: most templates never need it."""
    given, _WORK.given = _WORK.given, None
    if given is not None:
        _WORK.left += UNITS_PER_CHARACTER * _size(given, MAX_EXTENSION // UNITS_PER_CHARACTER)
    if _WORK.left < 0:
        raise BudgetError("the template does too much: a loop in a loop, or a text that grows without end")


def _size(value: Any, most: int) -> int:
    """Number of characters, numbers and items in a value, at most `most`."""
    total, waiting = 0, [value]
    while waiting and total < most:
        item = waiting.pop()
        total += len(item) + 1 if isinstance(item, str) else 1
        waiting.extend(_parts(item))
    return min(total, most)


def charge_value(value: Any, rate: int = 1) -> Any:
    """Charge for everything in a value, repeated items too, and return the value.

    Raises:
        BudgetError: if that is too much, or an integer in it too long.
        UndefinedError: if it contains something undefined; the value itself may be undefined.
    """
    if type(value) is str:
        charge(rate * len(value))
        return value
    waiting = [value]
    while waiting:
        item = waiting.pop()
        charge(rate * (len(item) + 1 if isinstance(item, str) else ITEM_UNITS))
        if isinstance(item, int):
            charge_number(item)
        elif isinstance(item, Undefined) and item is not value:
            str(item)  # raises, naming what is undefined
        waiting.extend(_parts(item))
    return value


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple) else []


def charge_number(value: Any) -> None:
    """Refuse an integer that is too large to work with.

    Raises:
        BudgetError: if it has more than `MAX_BITS` bits.
    """
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise BudgetError(f"the template makes an integer of more than {MAX_BITS} bits")
