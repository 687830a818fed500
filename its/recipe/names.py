"""Names in a recipe that stand for something declared elsewhere in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from its.errors import did_you_mean, nearest
from its.recipe.values import Found, Location, dotted

LISTED = 100
"""Declared names that a hint lists."""


def undeclared(name: Any, location: Location, registry: Mapping[str, Any], word: str) -> Iterator[Found]:
    """A fault if a name is not in a table of the recipe; a value of another type has another fault."""
    if isinstance(name, str) and name not in registry:
        listed = list(islice(registry, LISTED))  # to search more would take seconds
        known = ", ".join(f"`{item}`" for item in listed) or "none"
        known += f" and {len(registry) - LISTED} more" if len(registry) > LISTED else ""
        hint = did_you_mean(nearest(name, listed), f"declared: {known}")
        yield location, f"`{dotted(location)}`: {word} `{name}` is not declared", hint
