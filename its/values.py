"""Bound the number of values in a piece of JSON before it is decoded; a limit on bytes does not bound its objects.

64 MiB of `{"":0},` are eight million objects, which take 2 GB and a minute, and compress to a few kB.
"""

from __future__ import annotations

import re
from typing import AnyStr

MAX_VALUES = 1_000_000
"""Limit of a row or a stored body: a text counts once at any length, a list of 100,000 token ids 100,000 times."""
# An unclosed text extends to the end, so that no character is read twice.
_TEXT = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\[\]{}]'
_MARKS = re.compile(_TEXT, re.DOTALL)
_BYTE_MARKS = re.compile(_TEXT.encode(), re.DOTALL)


def exceeds(text: AnyStr, limit: int = MAX_VALUES, at: int = 0, every: bool = False) -> bool:
    """Whether the JSON value that begins at `at` has more than `limit` texts, commas and opening brackets.

    Takes one pass over the bytes, and time in proportion to the marks up to the limit.

    Args:
        every: count the values after it too, as in JSON lines.
    """
    if len(text) - at <= limit or (isinstance(text, bytes) and sum(map(text.count, (b",", b"[", b"{", b'"'))) <= limit):
        return False
    count = depth = 0
    marks = _MARKS.finditer(text, at) if isinstance(text, str) else _BYTE_MARKS.finditer(text, at)
    for mark in marks:
        first = text[mark.start() : mark.start() + 1]
        if first in ("]", "}", b"]", b"}"):
            depth -= 1
            if depth <= 0 and not every:
                return False
            continue
        if first in ("[", "{", b"[", b"{"):
            depth += 1
        count += 1
        if count > limit:
            return True
    return False
