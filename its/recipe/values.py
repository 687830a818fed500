"""Plain values of a recipe: what none may be whatever the schema says, and how faults name them and their places.

The tables that are passed on (`engine.options`, `train.axolotl`) contain anything, and end up in JSON, hashes and file
names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from its.recipe.scalars import quoted
from its.shown import unshowable

Location = tuple[str | int, ...]
Found = tuple[Location, str, str | None]
"""A fault: (where, message, hint)."""

MAX_DEPTH = 32
"""Nested mappings and lists: recipes have 6 levels, DeepSpeed's settings in `train.axolotl` as many again."""
MAX_TEXT = 32 * 1024
"""Characters of one text: a page has 3,000, the longest system prompts in use some 20,000."""
MAX_KEY = 512
"""Characters of a key; the longest in use name checkpoints: four names of 64 with their separators."""
MAX_BITS = 64
"""Of an integer: nothing behind a recipe takes more."""
REFUSED = type("Refused", (), {})()
"""In place of what the schema refuses: something is there, of no type that a check could use."""


def value_faults(values: Mapping[Any, Any]) -> Iterator[Found]:
    """Every fault that needs no schema; without recursion, so that values of any depth can be checked."""
    waiting: list[tuple[Location, Any]] = [((), values)]
    while waiting:
        location, value = waiting.pop()
        if isinstance(value, Mapping | list) and len(location) >= MAX_DEPTH:
            yield location, f"more than {MAX_DEPTH} nested mappings and lists", "a recipe has 6"
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, str):
                    yield location, f"a key is {seen(key)}, and keys are text", "quote it"
                elif wrong := text_fault(key, MAX_KEY):
                    yield (*location, key), f"the key {quoted(key)} {wrong}", "choose another name"
                else:
                    waiting.append(((*location, key), item))
        elif isinstance(value, list):
            waiting.extend(((*location, index), item) for index, item in enumerate(value))
        elif wrong := _scalar_fault(value):
            yield location, f"`{dotted(location)}` {wrong}", "take it out"


def dotted(location: Location) -> str:
    """A place as errors write it: `design.train.1`."""
    return quoted(".".join(map(str, location))).strip("`")


def seen(value: Any) -> str:
    """A value of any type as errors name it."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > MAX_BITS:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, bool):
        return "`null`" if value is None else f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"`{value}`"
    return {"dict": "a mapping", "list": "a list"}.get(type(value).__name__, f"a {type(value).__name__}")


def table_at(values: Any, name: str) -> Mapping[str, Any]:
    """The table under a key; empty if there is none."""
    found = values.get(name) if isinstance(values, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def list_at(values: Any, name: str) -> list[Any]:
    """The list under a key; empty if there is none."""
    found = values.get(name) if isinstance(values, Mapping) else None
    return found if isinstance(found, list) else []


def _scalar_fault(value: Any) -> str | None:
    if isinstance(value, str):
        return text_fault(value, MAX_TEXT)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return None if value.bit_length() <= MAX_BITS else f"is {seen(value)}: at most {MAX_BITS} are read"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is `{value}`: a number must be finite"
    return f"is {seen(value)}: a recipe contains texts, numbers, truth values, lists and mappings"


def text_fault(text: str, most: int) -> str | None:
    """What is wrong with a text, to follow its name; None if nothing is."""
    if len(text) > most:
        return f"has {len(text)} characters: at most {most} are read"
    found = unshowable(text)
    return f"contains {found}, which is not allowed in text" if found else None
