"""Whether the n responses of a problem are n samples, or one text n times."""

from __future__ import annotations

import hashlib


class EqualSamples:
    """Counts the problems whose responses are all the same, thinking and text; it keeps a hash for each problem.

    Greedy decoding gives equal responses, a low temperature may, and so does a server that does not heed seeds. Where
    all are empty nothing was sampled, so those problems are not counted.
    """

    def __init__(self) -> None:
        self._first: dict[int, bytes] = {}
        self._equal: dict[int, int] = {}  # problem -> responses so far, all of them equal

    def add(self, problem: int, thinking: str | None, text: str) -> None:
        """Take one response of a problem."""
        whole = f"{thinking or ''}\0{text}"
        digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest()
        if problem not in self._first:
            self._first[problem] = digest
            self._equal[problem] = 1 if whole != "\0" else 0
        elif self._first[problem] != digest:
            self._equal[problem] = 0
        elif self._equal[problem]:
            self._equal[problem] += 1

    @property
    def problems(self) -> int:
        """How many problems have more than one response, all of them the same."""
        return sum(count > 1 for count in self._equal.values())
