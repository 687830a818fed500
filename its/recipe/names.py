"""Names in a recipe that stand for something declared elsewhere in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from its.errors import did_you_mean, nearest
from its.recipe.values import Found, Location, dotted

LISTED = 100
"""Declared names that a hint lists."""


def undeclared(name: Any, location: Location, registry: Mapping[str, Any], word: str) -> Iterator[Found]:
    """A fault if a name is not in a table of the recipe; a value of another type has another fault."""
    if isinstance(name, str) and name not in registry:
        yield (
            location,
            f"`{dotted(location)}`: {word} `{name}` is not declared",
            known_names(name, registry, "declared"),
        )


def known_names(name: Any, known: Iterable[Any], where: str) -> str:
    """The hint for a name that is not known: the nearest of those that are, and the first of them.

    Args:
        where: what the list is called.
    """
    every = list(map(str, known))
    listed = every[:LISTED]  # to search more would take seconds
    told = ", ".join(f"`{item}`" for item in listed) or "none"
    told += f" and {len(every) - LISTED} more" if len(every) > LISTED else ""
    return did_you_mean(nearest(str(name), listed), f"{where}: {told}")
