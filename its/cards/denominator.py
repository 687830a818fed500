"""The denominator of a benchmark: of the rows that were read, how many each rule took out and how many are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_OUT_BY = {"loaded": "cannot be read", "gradable references": "reference cannot be graded"}
"""What took rows out at a step whose name says what stays."""


def denominator(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`read`, `kept`, and under `out` the rows that went by the rule that took them, in order.

    Args:
        steps: of a card: {step, before, after}, at least one.
    """
    out: dict[str, int] = {}
    for step in steps:
        if gone := step["before"] - step["after"]:
            rule = _OUT_BY.get(step["step"], step["step"])
            out[rule] = out.get(rule, 0) + gone
    return {"read": steps[0]["before"], "kept": steps[-1]["after"], "out": out}


def told_denominator(found: Mapping[str, Any]) -> str:
    """`485 of 500 rows; out: cannot be read (3), filter no_figure (12)`."""
    out = ", ".join(f"{rule} ({count})" for rule, count in found["out"].items())
    return f"{found['kept']} of {found['read']} rows" + (f"; out: {out}" if out else "")
