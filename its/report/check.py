"""What a study must hold to be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from its.errors import DataError
from its.shown import shown

_NUMBERS = ("problems", "n", "avg", "low", "high")  # of a cell; null there is a fault too
REQUIRED: dict[str, tuple[str, ...]] = {
    "settings": ("name", "value"),
    "cells": (*("checkpoint", "model", "dataset", "train", "seed", "benchmark", "test", "block"), *_NUMBERS),
    "pairs": ("benchmark", "model", "dataset", "train", "test", "seeds", "avg", "low", "high"),
    "blocks": ("benchmark", "block", "avg", "low", "high"),
    "contrasts": ("benchmark", "name", "difference", "low", "high", "p_value", "within_noise"),
    "tests": (
        *("benchmark", "model", "dataset", "first", "second", "difference", "low", "high"),
        *("p_value", "within_noise", "detectable"),
    ),
    "efficiency": ("benchmark", "name", "ratio", "low", "high", "p_value", "claim", "shown"),
    "selection": ("model", "dataset", "train", "test", "cells", "tied", "select", "report"),
    "nested": ("benchmark", "model", "dataset", "cells", "estimate", "low", "high", "optimism"),
    "votes": ("benchmark", "name", "accuracy", "low", "high", "problems"),
    "personas": ("set", "strategy", "personas"),
    "cards": ("set", "path"),
    "parity": ("checkpoint",),
    "cost": ("what",),
    "examples": ("problem_id", "benchmark", "checkpoint", "test", "problem", "response", "verdict"),
}
"""What each row of each list must carry; a list, and any other key of its rows, may be absent."""


@contextmanager
def as_written(
    path: Path | str = "results/*.json", stage: str = "measure", also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Around all that takes results apart, or as a decorator: they are files, which anyone may have changed.

    Args:
        path: what is read.
        stage: what wrote it.
        also: further exceptions by which the reader says that a value has another shape.

    Raises:
        DataError: where a value is missing or of another kind.
    """
    wrong: tuple[type[Exception], ...] = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, *also)
    try:
        yield
    except wrong as error:
        raise DataError(
            f"{path}: not what `{stage}` writes ({shown(f'{type(error).__name__}: {error}')})",
            f"`dvc repro -f {stage}` writes it anew",
        ) from error


@as_written()
def check_study(study: Mapping[str, Any]) -> None:
    """Refuse a study whose rows lack what no page can do without.

    Raises:
        DataError: naming all such rows.
    """
    faults = [
        f"{name}[{i}] lacks `{key}`"
        for name, keys in REQUIRED.items()
        for i, row in enumerate(study.get(name) or [])
        for key in keys
        if key not in row or (name == "cells" and key in _NUMBERS and row[key] is None)
    ]
    if faults:
        raise DataError("the study cannot be reported: " + "; ".join(faults), "rerun the measure stage")
