"""Filters of one set that no row passes together: each alone may keep rows, and another takes all of these out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from its.recipe.scalars import quoted
from its.recipe.values import REFUSED, Found, Location, dotted, list_at

_LISTED = 3
Step = tuple[Location, Mapping[str, Any]]


def contradicting_filters(filters: Sequence[Any], here: Location) -> Iterator[Found]:
    """A fault at each filter that keeps nothing of what those before it keep.

    Args:
        filters: of one set, as plain values.
        here: the place of the list.
    """
    alike: dict[tuple[Any, ...], list[Step]] = {}
    for index, step in enumerate(filters):
        if isinstance(step, Mapping) and step.get("name") in ("tokens", "language", "column"):
            same = tuple(str(step.get(key)) for key in ("name", "of", "model"))
            alike.setdefault(same, []).append(((*here, index), step))
    for steps in alike.values():
        yield from _bounds(steps)
        yield from _values(steps)


def _bounds(steps: Sequence[Step]) -> Iterator[Found]:
    """Two filters of one number whose bounds exclude each other; bounds of one filter are checked elsewhere."""
    for at, (place, step) in enumerate(steps):
        for other, before in steps[:at]:
            for low, high, where in ((step, before, "at_least"), (before, step, "at_most")):
                least, most = _number(low.get("at_least")), _number(high.get("at_most"))
                if least is not None and most is not None and least > most:
                    wrong = f"`{dotted((*place, where))}` excludes all that `{dotted(other)}` keeps: {least} > {most}"
                    yield (*place, where), wrong, "no row is left: change one of the two, or take it out"
                    return


def _values(steps: Sequence[Step]) -> Iterator[Found]:
    """Lists of values to keep of which another filter of the same column, or language, takes out every one."""
    for at, (place, step) in enumerate(steps):
        kept = list_at(step, "keep")
        if not kept or REFUSED in kept:
            continue
        left = list(kept)
        for other, against in [*steps[:at], *steps[at + 1 :]]:
            if REFUSED in (*list_at(against, "keep"), *list_at(against, "drop")):
                continue
            keep, drop = ({*map(_key, list_at(against, word))} for word in ("keep", "drop"))
            left = [
                value
                for value in left
                if (_key(value) in keep if keep else _key(value) not in drop if drop else _within(value, against))
            ]
            if not left:
                told = ", ".join(map(_told, kept[:_LISTED])) + (", ..." if len(kept) > _LISTED else "")
                wrong = f"`{dotted(place)}` keeps {told} alone, and `{dotted(other)}` takes out every one of them"
                yield place, wrong, "no row is left: change one of the two, or take it out"
                return


def _within(value: Any, step: Mapping[str, Any]) -> bool:
    """Whether a value may be within the bounds of a filter; True where only the rows can tell."""
    number, least, most = _number(value), _number(step.get("at_least")), _number(step.get("at_most"))
    if number is None:  # text may be a number
        return isinstance(value, str)
    return (least is None or number >= least) and (most is None or number <= most)


def _key(value: Any) -> tuple[str, Any]:
    """What two values have in common that are one to a filter: `1` is `1.0`, and neither `"1"` nor `true`."""
    return "number" if _number(value) is not None else type(value).__name__, value


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _told(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else f"`{value}`"
