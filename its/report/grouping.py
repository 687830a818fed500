"""Small orderings that tables and charts of the report share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from its.types import DEFAULT_VARIANT


def mean(values: Iterable[float]) -> float:
    items = list(values)
    return math.fsum(items) / len(items)


def table_title(model: str, dataset: str | None, variant: str | None, between: str = " on ") -> str:
    """`MODEL on DATASET, variant VARIANT`; the variant `default` is not named, nor a dataset where there is none."""
    named = "" if variant in (None, DEFAULT_VARIANT) else f", variant {variant}"
    return f"{model}{between}{dataset}{named}" if dataset is not None else model


def distinct(items: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(items))


def grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> list[tuple[Any, list[Any]]]:
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())
