"""Where numbers come from: when the responses were generated, and how params.yaml differs from its recipe."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from its.errors import ItsError
from its.recipe.apply import departures
from its.recipe.document import MAX_BYTES, parse_document, read_document
from its.revisions import committed_content
from its.secrets import redacted
from its.shown import quoted
from its.store import Store

MOST_DEPARTURES = 8
"""Values that are named; the others are counted."""


def days_generated(store: Path, keys: Iterable[str]) -> str | None:
    """The day in UTC on which responses were generated, or the first and the last one: `2026-11-24 to 2026-11-26`.

    None where that is not known: there is no store here, it cannot be read, or it lacks one of the responses, as in a
    clone that pulled them. An import into a store keeps their times.

    Args:
        store: the file; it is not created.
        keys: of the responses, as `request_key` of their rows.
    """
    if not store.is_file():
        return None
    try:
        with Store(store) as opened:
            span = opened.written(sorted(set(keys)))
        if span is None:
            return None
        first, last = (datetime.fromtimestamp(second, UTC).date().isoformat() for second in span)
    except (ItsError, ValueError, OverflowError, OSError):  # a store of another version, a key that is not one
        return None
    return first if first == last else f"{first} to {last}"


def recipe_departures(project: Path) -> list[str]:
    """How params.yaml differs from the committed recipe that it names, a line a value; [] if it does not.

    An experiment (`dvc exp run -S`) or an editor changed it. Without a commit no recipe is in it.
    """
    params = read_document(project / "params.yaml")
    name = str(params.values.get("recipe"))
    recipe = committed_content(project, f"recipes/{name}.yaml", "HEAD", MAX_BYTES)
    if recipe is None:
        return [f"recipes/{name}.yaml is not in this commit"]
    try:
        values = parse_document(project / "recipes" / f"{name}.yaml", recipe.decode("utf-8")).values
    except (ItsError, UnicodeDecodeError):
        return [f"recipes/{name}.yaml of this commit cannot be read"]
    found = departures(values, params.values)
    lines = [f"{path}: {_told(new)}, in the recipe {_told(old)}" for path, old, new in found]
    more = len(lines) - MOST_DEPARTURES
    return [*lines[:MOST_DEPARTURES], *([f"{more} more values"] if more > 0 else [])]


def _told(value: Any) -> str:
    return "absent" if value is None else redacted(quoted(value))
