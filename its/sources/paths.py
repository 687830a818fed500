"""Dotted paths into a row: `extra.answer`, `choices.0`, `messages[role=user].content`.

    NAME                  the value of a key, or the item at an index of a list
    NAME[KEY=WORD]        of the list NAME, the first item whose KEY is WORD
    NAME[KEY=WORD,last]   the last one

A word is compared without regard to case and to white space at its ends, and KEY may reach into an item
(`author.role`). A path is first tried literally, so a column may be called `a.b` or `messages[role=user]`; so is
each step on the way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

_SELECTOR = re.compile(r"\[([^\[\]=,]+)=([^\[\],]+)(?:,\s*(first|last)\s*)?\]")


class Absent:
    """What a path or an expression gives where the row has nothing there."""


ABSENT = Absent()


class Step(NamedTuple):
    """A step of a path: a literal name, and what it selects of a list if no key has that name.

    `name` is that of the list, empty where the value itself is the list; `word` is None where the step picks nothing.
    """

    text: str
    name: str = ""
    key: tuple[str, ...] = ()
    word: str | None = None
    last: bool = False

    def chosen(self, items: Any) -> int | None:
        """The place of the item that is picked of a list; None where there is none."""
        if self.word is None or not isinstance(items, list):
            return None
        places = range(len(items) - 1, -1, -1) if self.last else range(len(items))
        return next((place for place in places if _word(under(items[place], self.key)) == self.word), None)


@lru_cache(maxsize=256)
def steps_of(path: str) -> tuple[Step, ...]:
    """The steps of a path. Any text is a path: what is not a selector is part of a name."""
    masked = _SELECTOR.sub(lambda found: found[0].replace(".", "\0"), path)
    return tuple(step for text in masked.split(".") for step in _picking(text.replace("\0", ".")))


def head_of(path: str) -> tuple[str, str]:
    """The column in which a path begins, and the rest of its text."""
    first = steps_of(path)[0]
    head = first.text if first.word is None else first.name
    return head, path[len(head) :]


def reach(row: Any, path: str, steps: Sequence[Step]) -> Any:
    """The value at a path in a row; ABSENT if there is none.

    Args:
        steps: of the path.
    """
    if isinstance(row, Mapping) and path in row:  # a column may have dots in its name
        return row[path]
    value = row
    for step in steps:
        if isinstance(value, Mapping) and step.text in value:  # first, as most steps are
            value = value[step.text]
            continue
        value = step_into(value, step)
        if value is ABSENT:
            break
    return value


def step_into(value: Any, step: Step) -> Any:
    """What a step leads to; ABSENT where it leads to nothing."""
    found = _named(value, step.text)
    if found is ABSENT and step.word is not None:
        items = _named(value, step.name) if step.name else value
        place = step.chosen(items)
        return ABSENT if place is None else items[place]
    return found


def under(item: Any, keys: tuple[str, ...]) -> Any:
    """The value of a key of an item of a list, or of an object in it; None if there is none."""
    for key in keys:
        item = item.get(key) if isinstance(item, Mapping) else None
    return item


def _named(value: Any, name: str) -> Any:
    if isinstance(value, Mapping) and name in value:
        return value[name]
    if isinstance(value, list) and name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(value):
        return value[int(name)]
    return ABSENT


def _picking(text: str) -> list[Step]:
    """The steps of a name with the selectors at its end: the first is in the name's step, each other one in its own."""
    run: list[re.Match[str]] = []
    for found in reversed(list(_SELECTOR.finditer(text))):
        if found.end() != (run[-1].start() if run else len(text)):
            break
        run.append(found)
    out = []
    begin = 0
    for found in reversed(run):
        name, key = text[begin : found.start()], tuple(found[1].strip().split("."))
        out.append(Step(text[begin : found.end()], name, key, _word(found[2]), found[3] == "last"))
        begin = found.end()
    return out or [Step(text)]


def _word(value: Any) -> str | None:
    """A word as it is compared; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip().casefold()
