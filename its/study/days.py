"""When the responses of a study were generated."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from its.results import CostRow
from its.store import Store

Days = tuple[str, str]
"""The first and the last day, in UTC, as YYYY-MM-DD."""


def days_generated(store: Store, keys: Iterable[str]) -> Days | None:
    """The days on which the first and the last of these responses were generated; an import keeps their times.

    None without keys, and where the store lacks one of the responses or has a time that is not one.

    Args:
        keys: of the responses, as `request_key` of their rows.
    """
    found = store.written(sorted(set(keys)))
    if found is None:
        return None
    try:
        first, last = (datetime.fromtimestamp(second, UTC).date().isoformat() for second in found)
    except (ValueError, OverflowError, OSError):  # an imported time may be any number
        return None
    return first, last


def span(days: Iterable[Days | None]) -> Days | None:
    """The first and the last of all days; None if one is not known, or there are none."""
    found = list(days)
    known = [each for each in found if each is not None]
    return (min(first for first, _ in known), max(last for _, last in known)) if len(known) == len(found) > 0 else None


def days_recorded(rows: Iterable[CostRow]) -> str | None:
    """The day on which the responses of a study were generated: `2026-11-24`, or `2026-11-24 to 2026-11-26`.

    None if `generate` did not record it for one of the checkpoints.

    Args:
        rows: of `results/cost/generate.json`.
    """
    found = span(
        (row.first_day, row.last_day) if row.first_day and row.last_day else None
        for row in rows
        if row.what.startswith("generate ")
    )
    return found and (found[0] if found[0] == found[1] else f"{found[0]} to {found[1]}")
