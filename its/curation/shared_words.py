"""How much of one sequence of words another contains: shared runs, pieces, and the words shared in order."""

from __future__ import annotations

from collections.abc import Sequence

from its.curation.comparable_text import VARIABLE


def shape(words: Sequence[str]) -> list[str]:
    """The words with each variable replaced by how many variables ago it stood last (0: not before).

    Two texts that differ only in the names of their variables have one shape, and a part has the shape that it has in
    the whole but for the first mention of each variable.
    """
    last: dict[str, int] = {}
    count = 0
    out = []
    for word in words:
        if word[0] == VARIABLE:
            count += 1
            out.append(f"{VARIABLE}{count - last.get(word, count)}")
            last[word] = count
        else:
            out.append(word)
    return out


def shared_in_order(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence.

    A whole number is the set of places in `one`, one bit each, so that a word of `other` costs a few operations on
    numbers and not a row of a table.
    """
    places: dict[str, int] = {}
    for at, word in enumerate(one):
        places[word] = places.get(word, 0) | (1 << at)
    everywhere = (1 << len(one)) - 1
    free = everywhere
    for word in other:
        hit = free & places.get(word, 0)
        free = ((free + hit) | (free - hit)) & everywhere
    return len(one) - free.bit_count()


def longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest run of words that both contain."""
    places: dict[str, list[int]] = {}
    for at, word in enumerate(one):
        places.setdefault(word, []).append(at)
    best = 0
    before: dict[int, int] = {}  # place in `one` -> length of the shared run that ends there and here
    for word in other:
        here = {at: before.get(at - 1, 0) + 1 for at in places.get(word, ())}
        if here:
            best = max(best, *here.values())
        before = here
    return best


def in_two_pieces(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """How many words of `one` occur in `other` as a beginning of `one` and, after it, an end of `one`.

    Of the longest beginning and then the longest end after it, and the reverse, what covers more is taken.
    """
    text = _joined(other)
    begin, after = _longest(one, text, from_start=True)
    rest, _ = _longest(one[begin:], text[after:], from_start=False)
    end, before = _longest(one, text, from_start=False)
    head, _ = _longest(one[: len(one) - end], text[:before], from_start=True)
    return max((begin, rest), (head, end), key=sum)


def _joined(words: Sequence[str]) -> str:
    return f" {' '.join(words)} " if words else " "


def _longest(words: Sequence[str], text: str, from_start: bool) -> tuple[int, int]:
    """The length of the longest beginning (or end) of the words that is in the text, and where it stops (or starts)."""
    low, high = 0, len(words)
    place = 0 if from_start else len(text)
    while low < high:
        middle = (low + high + 1) // 2
        part = _joined(words[:middle] if from_start else words[-middle:])
        at = text.find(part) if from_start else text.rfind(part)
        if at >= 0:
            low = middle
            place = at + len(part) - 1 if from_start else at + 1
        else:
            high = middle - 1
    return low, place
