"""Which benchmark problems a row might overlap: an inverted index over the benchmarks alone.

Only the benchmarks are indexed, so the memory does not grow with the rows that are looked up and the time grows with
their number alone. Rows are looked up in batches: each becomes an array of codes of its words, pairs and runs of words,
and numpy counts what they share with every benchmark problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from its.curation.comparable_text import VARIABLE, is_given

Codes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

RUN = 8
"""Words in a run: one shared run makes a candidate, however little else is shared."""
_COMMON = 0.1  # a word or pair in more than this part of the benchmark problems is not informative
_SHARED = 0.2  # of the weight of a benchmark problem's words and pairs: with less it is not a candidate
_RARE = 5
_MOST = 8  # candidates of one row by shared weight; a row that overlaps several problems is seen by the best of them
_PHRASE = 3  # a run in more benchmark problems than this, numbers aside, is a stock phrase or a template
_UNKNOWN, _VARIABLE, _NUMBER = 0, 1, 2
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Candidate(NamedTuple):
    """A benchmark problem, by its place, and whether the row shares a run of words with it."""

    problem: int
    shares_run: bool


class Candidates:
    """The index.

    Args:
        problems: the words of each benchmark problem.
    """

    def __init__(self, problems: Sequence[Sequence[str]]) -> None:
        self._count = len(problems)
        self._ids: dict[str, int] = {}
        for words in problems:
            for word in words:
                if not word.startswith(VARIABLE):
                    self._ids.setdefault(word, len(self._ids) + 3)
        ids, owner = self._flat(problems)
        self._given = np.zeros(len(self._ids) + 3, dtype=bool)
        self._given[[place for word, place in self._ids.items() if is_given(word)]] = True
        self._features = _Postings(*_features(ids, owner), self._count)
        self._runs = _Postings(*_runs(self._bare(ids), owner), self._count)
        self._runs.keep(self._runs.lengths <= _PHRASE)
        common = max(1.0, _COMMON * self._count)
        held = self._features.lengths
        self._features.keep(held <= common)
        # A rare word is a name as often as not, and names change: it weighs no more than one that five problems have.
        weight = np.log1p(self._count / np.maximum(held[held <= common], _RARE))
        self._features.weights = weight
        self._total = np.bincount(self._features.owners, np.repeat(weight, self._features.lengths), self._count)

    def of(self, rows: Sequence[Sequence[str]]) -> list[list[Candidate]]:
        """For each row the benchmark problems to compare it with, most shared weight first."""
        ids, owner = self._flat(rows)
        shared = self._features.shared(*_features(ids, owner), len(rows), self._count)
        share = shared / np.maximum(self._total, 1e-9)
        runs = self._runs.shared(*_runs(self._bare(ids), owner), len(rows), self._count)
        found: list[list[Candidate]] = [[] for _ in rows]
        chosen = (share >= _SHARED) | (runs > 0)
        for row in np.flatnonzero(chosen.any(axis=1)):
            which = np.flatnonzero(chosen[row])
            order = np.lexsort((which, -share[row, which]))
            found[row] = [Candidate(int(at), bool(runs[row, at])) for at in which[order][:_MOST]]
        return found

    def _bare(self, ids: Codes) -> Codes:
        """The ids with all numbers alike, known or not."""
        return np.where(self._given[ids], np.uint64(_NUMBER), ids)

    def _flat(self, rows: Sequence[Sequence[str]]) -> tuple[Codes, Numbers]:
        ids = self._ids
        flat = [ids.get(word) or _other(word) for words in rows for word in words]
        return np.array(flat, dtype=np.uint64), np.repeat(np.arange(len(rows)), [len(words) for words in rows])


def _other(word: str) -> int:
    """The id of a word that is in no benchmark problem."""
    return _VARIABLE if word[0] == VARIABLE else _NUMBER if is_given(word) else _UNKNOWN


class _Postings:
    """Code -> the problems that contain it, as flat arrays sorted by code."""

    def __init__(self, codes: Codes, owners: Numbers, count: int) -> None:
        codes, owners = _distinct(codes, owners, count)
        order = np.lexsort((owners, codes))
        self.owners: Numbers = owners[order]
        self.codes, self._starts, self.lengths = np.unique(codes[order], return_index=True, return_counts=True)
        self.weights: NDArray[np.float64] = np.ones(len(self.codes))

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Forget all codes but these."""
        self.owners = self.owners[np.repeat(which, self.lengths)]
        self.codes, self.lengths, self.weights = self.codes[which], self.lengths[which], self.weights[which]
        self._starts = np.cumsum(self.lengths) - self.lengths

    def shared(self, codes: Codes, rows: Numbers, count: int, problems: int) -> NDArray[np.float64]:
        """The weight of the codes that each row (first axis) shares with each problem (second axis)."""
        if not len(self.codes):
            return np.zeros((count, problems))
        at = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        known = self.codes[at] == codes
        at, rows = _distinct(at[known].astype(np.uint64), rows[known], count)
        at = at.astype(np.int64)
        lengths = self.lengths[at]
        ends = np.cumsum(lengths)
        inside = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        owners = self.owners[np.repeat(self._starts[at], lengths) + inside]
        cells = np.repeat(rows, lengths) * problems + owners
        flat = np.bincount(cells, np.repeat(self.weights[at], lengths), count * problems).astype(np.float64, copy=False)
        return flat.reshape(count, problems)


def _distinct(codes: Codes, owners: Numbers, count: int) -> tuple[Codes, Numbers]:
    """Each (code, owner) once."""
    order = np.lexsort((codes, owners))
    codes, owners = codes[order], owners[order]
    first = np.ones(len(codes), dtype=bool)
    first[1:] = (codes[1:] != codes[:-1]) | (owners[1:] != owners[:-1])
    return codes[first], owners[first]


def _features(ids: Codes, owners: Numbers) -> tuple[Codes, Numbers]:
    """Codes of the known words and of the pairs of known neighbours; a variable counts in pairs alone."""
    known = ids > _NUMBER
    heard = known | (ids == _VARIABLE)
    paired = (owners[1:] == owners[:-1]) & heard[1:] & heard[:-1] & (known[1:] | known[:-1])
    pairs = ((ids[:-1] << np.uint64(24)) | ids[1:]) | np.uint64(1 << 63)
    return np.concatenate([ids[known], pairs[paired]]), np.concatenate([owners[known], owners[1:][paired]])


def _runs(ids: Codes, owners: Numbers) -> tuple[Codes, Numbers]:
    """Hashes of the runs of known words."""
    if len(ids) < RUN:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    size = len(ids) - RUN + 1
    codes = np.zeros(size, dtype=np.uint64)
    known = owners[:size] == owners[RUN - 1 :]
    for step in range(RUN):
        codes = (codes ^ ids[step : step + size]) * _MULTIPLIER
        codes ^= codes >> np.uint64(29)
        known &= ids[step : step + size] != _UNKNOWN
    return codes[known], owners[:size][known]
