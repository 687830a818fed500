"""How numbers are written: shares in percent, differences in points, a dash where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DASH = "—"


def percent(share: float | None) -> str:
    """A share in [0, 1] as `27.0 %`; a dash for None."""
    return DASH if share is None else f"{100 * share:.1f} %"


def points(difference: float | None, signed: bool = True) -> str:
    """A difference of shares in percentage points, `-2.0`; zero has no sign but `+`, a dash stands for None."""
    if difference is None:
        return DASH
    value = round(100 * difference, 1) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{value:+.1f}" if signed else f"{value:.1f}"


def ends(row: Any, low: str = "low", high: str = "high") -> str:
    """The interval of a row or an entry in percent, `[19.0, 30.9]`."""
    bounds = (row[key] if isinstance(row, Mapping) else getattr(row, key) for key in (low, high))
    return f"[{', '.join(f'{100 * bound:.1f}' for bound in bounds)}]"


def p_value(p: float | None) -> str:
    """`p = 0.012`, `p < 0.001`, or `p —`."""
    if p is None:
        return f"p {DASH}"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def number(value: float | None) -> str:
    """`12,345` for whole numbers, one decimal for others, a dash for None."""
    if value is None:
        return DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def figures(value: float | None) -> str:
    """Two decimals, for ratios and small rates; a dash for None."""
    return DASH if value is None else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """`2 min 30 s`."""
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def text(value: Any) -> str:
    """A value as text, a dash for None and the empty text."""
    return DASH if value is None or value == "" else str(value)
