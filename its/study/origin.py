"""How params.yaml differs from the recipe that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from its.errors import ItsError
from its.recipe.apply import departures
from its.recipe.document import MAX_BYTES, parse_document, read_document
from its.revisions import committed_content
from its.secrets import redacted
from its.shown import quoted

MOST_DEPARTURES = 8
"""Values that are named; the others are counted."""


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
