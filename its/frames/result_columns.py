"""The columns of `cells`, `comparisons` and `votes`: the fields of `its/results.py`, those by k a column for each k."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from its.errors import DataError
from its.frames.columns import Column, Kind
from its.results import CellResult, Comparison, VoteResult

_BY_K = {"maj_at_k": "maj@", "pass_at_k": "pass@", "all_at_k": "all@"}
"""Fields whose keys are k -> how their columns begin."""
_SPREAD = (*_BY_K, "g_pass_at_k", "intervals")
_K = re.compile("[1-9][0-9]*")
_TAU = re.compile(r"[01]\.[0-9]+")
_METRIC = re.compile("(?:maj|pass|all)@[1-9][0-9]*")
_OTHER_K = "another benchmark alone has this k"
BY_K = (
    Column("maj@K", "share", "The chance that the most common answer of K responses is correct.", _OTHER_K),
    Column("pass@K", "share", "The chance that at least one of K responses is correct.", _OTHER_K),
    Column("all@K", "share", "The chance that all of K responses are correct.", _OTHER_K),
    Column("g_pass@K_TAU", "share", "The chance that at least TAU x K of K responses are correct.", _OTHER_K),
    Column("METRIC_low", "share", "Lower 95 % bound over problems of `maj@K`, `pass@K` or `all@K`.", _OTHER_K),
    Column("METRIC_high", "share", "Upper 95 % bound of the same.", _OTHER_K),
)
"""The columns of `cells` by k: those of `measure.maj_k`, `measure.pass_k` and `measure.all_k` in the recipe."""


def _columns(model: type[BaseModel], left_out: Sequence[str] = ()) -> tuple[Column, ...]:
    """A column for each field of a model of results, with its description."""
    out = []
    for name, field in model.model_fields.items():
        if name not in left_out:
            meaning, _, missing = " ".join((field.description or "").split()).partition(" None: ")
            out.append(Column(name, _kind(field.annotation, [field]), meaning, missing or None))
    return tuple(out)


def _kind(annotation: Any, metadata: Sequence[Any] = ()) -> Kind:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0], [*metadata, *arguments[1:]])
    if origin in (Union, UnionType):
        (only,) = {_kind(part, metadata) for part in arguments if part is not NoneType}
        return only
    if origin in (list, dict):
        return "list" if origin is list else "object"
    if origin is Literal or annotation is str:
        return "text"
    if annotation is float:
        extra = [item.json_schema_extra for item in metadata if isinstance(item, FieldInfo)]
        return "share" if {"format": "share"} in extra else "number"
    return {int: "integer", bool: "true or false"}[annotation]  # type: ignore[return-value]


CELLS = _columns(CellResult, _SPREAD)
COMPARISONS = _columns(Comparison)
VOTES = tuple(
    replace(item, meaning="The cells that vote, as `CHECKPOINT/STRATEGY`.") if item.name == "members" else item
    for item in _columns(VoteResult)
)


def cell_columns(cells: Sequence[CellResult], path: str) -> tuple[Column, ...]:
    """The columns of these cells: CELLS, then one for each metric and k that a cell has.

    Raises:
        DataError: if a key of a field by k is not a k, which `measure` does not write.
    """
    found = dict.fromkeys(name for cell in cells for name in spread(cell, path))
    return (*CELLS, *(Column(name, "share", "", _OTHER_K) for name in found))


def spread(cell: CellResult, path: str) -> dict[str, float]:
    """Column -> value, of the fields by k of a cell.

    Raises:
        DataError: as `cell_columns`.
    """
    out = dict(_by_k(cell))
    if "" in out:
        what = f"{path}: `{cell.checkpoint}` has a metric by k that `measure` does not write"
        raise DataError(what, "`dvc repro -f measure` writes it again")
    return out


def _by_k(cell: CellResult) -> Iterator[tuple[str, float]]:
    """The fields by k as columns; "" for a key that `measure` does not write."""
    fields: Mapping[str, Mapping[str, float]] = {name: getattr(cell, name) for name in _BY_K}
    for field, values in fields.items():
        for k, value in values.items():
            yield (f"{_BY_K[field]}{k}" if _K.fullmatch(k) else "", value)
    for k, parts in cell.g_pass_at_k.items():
        for tau, value in parts.items():
            yield (f"g_pass@{k}_{tau}" if _K.fullmatch(k) and _TAU.fullmatch(tau) else "", value)
    for metric, bounds in cell.intervals.items():
        for end, value in zip(("low", "high"), bounds, strict=True):
            yield (f"{metric}_{end}" if _METRIC.fullmatch(metric) else "", value)
