"""Whether a response ends in a repetition loop: the same text repeated until it was cut."""

from __future__ import annotations

LEAST_REPEATS = 4
LEAST_CHARACTERS = 200
LONGEST_UNIT = 2_000
_WINDOW = LEAST_REPEATS * LONGEST_UNIT
_PROBE = LEAST_CHARACTERS // LEAST_REPEATS


def ends_in_loop(text: str) -> bool:
    """Whether a text ends in one repeated unit: at least four units, and at least 200 characters.

    A unit has at most 2,000 characters, its repeats are exactly equal and adjacent, and the last may be cut off;
    white space at the very end does not count. A loop that the model left again does not count, nor does one that
    counts up (`step 1`, `step 2`). Only the last 8,000 characters are read, so that the time does not grow with the
    text.
    """
    return _periodic(text[-_WINDOW:]) or _periodic(text.rstrip()[-_WINDOW:])


def _periodic(tail: str) -> bool:
    if len(tail) < LEAST_CHARACTERS:
        return False
    # A loop repeats its last 50 characters one unit earlier: only where they occur can a unit start.
    probe, end = tail[-_PROBE:], len(tail) - 1
    while (found := tail.rfind(probe, 0, end)) >= 0:
        unit = len(tail) - _PROBE - found
        length = max(LEAST_CHARACTERS, LEAST_REPEATS * unit)
        if length > len(tail):
            return False
        if tail[len(tail) - length + unit :] == tail[len(tail) - length : len(tail) - unit]:
            return True
        end = found + _PROBE - 1
    return False
