"""What a study must hold to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from its.errors import DataError

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
