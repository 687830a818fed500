"""Small orderings that tables and charts of the report share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any


def mean(values: Iterable[float]) -> float:
    items = list(values)
    return math.fsum(items) / len(items)


def distinct(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


def grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())
