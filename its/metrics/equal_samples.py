"""Whether the n responses of a problem are n samples, or a few texts repeated."""

from __future__ import annotations

import hashlib
from collections import Counter


class EqualSamples:
    """Counts the problems whose responses are one text, or less than half as many texts as there are responses.

    A text is thinking and answer together. Greedy decoding gives equal responses, a low temperature may, and so do
    servers that do not honour seeds: one text per server. A fleet of n / 2 such servers or more is not detected. Empty
    responses were not sampled, so they are left out.

    Args:
        n: responses to a problem; at most n / 2 + 1 hashes are kept for each.
    """

    def __init__(self, n: int) -> None:
        self._most = n // 2 + 1
        self._texts: dict[int, set[bytes]] = {}
        self._responses: Counter[int] = Counter()

    def add(self, problem: int, thinking: str | None, text: str) -> None:
        """Count one response of a problem."""
        whole = f"{thinking or ''}\0{text}"
        if whole == "\0":
            return
        self._responses[problem] += 1
        texts = self._texts.setdefault(problem, set())
        if len(texts) < self._most:
            texts.add(hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest()[:16])

    @property
    def problems(self) -> int:
        """How many problems have more than one response and, of different texts, one or fewer than half as many."""
        counts = ((len(texts), self._responses[problem]) for problem, texts in self._texts.items())
        return sum(count > 1 and (different == 1 or 2 * different < count) for different, count in counts)
