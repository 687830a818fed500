r"""How similar a persona is to its problem: the cosine of weighted pieces of words.

It sees shared spelling: the content words of both texts, cut into pieces of four letters (`bakery` and `bakes` share
some), each weighted by its rarity among the problems of the set. It does not see meaning: a railway planner and a
problem about trains and wagons share no piece. So a value near zero does not prove that a persona is unsimilar, and
values of different sets are not comparable; the AUC against the other problems of the set is. It needs no model. The
stop words are English.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from its.seeds import derive_seed

PIECE = 4
OTHERS = 200
SIMILARITY_VERSION = "1"

_WORD = re.compile(r"[^\W\d_]{2,}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_FUNCTION_WORDS = """
a about after all also am an and any are as at be because been before being between both but by can could did do
does each every few find for from get gets give given gives had has have he her here him his how if in into is it
its let like many may me more most much must my no nor not now of off on one only or other our out over own per she
should so some such than that the their them then there these they this those through to too under up us very was
way we well were what when where whether which while who whom whose why will with would you your
"""
_FUNCTION = frozenset(_FUNCTION_WORDS.split())


@dataclass(frozen=True)
class Similarity:
    """The similarity of personas to their problems.

    Args:
        personas: how many were measured.
        mean, quartiles: of the cosine of each with its own problem, in [0, 1]; quartiles are 25, 50 and 75 %.
        nothing_shared: the share of them that have no piece in common with their problem, so a cosine of 0.
        others: the mean cosine with other problems of the set.
        auc: probability that a persona is more similar to its own problem than to another one of the set, a tie
            counting half: 0.5 is unrelated, above is similar, below avoids the topic of the problem.
        auc_interval: 95 % interval of `auc`, normal over personas.
    """

    personas: int
    mean: float
    quartiles: tuple[float, float, float]
    nothing_shared: float
    others: float
    auc: float
    auc_interval: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """Its fields, rounded to four places."""
        rounded = {
            name: [round(item, 4) for item in value] if isinstance(value, tuple) else round(value, 4)
            for name, value in vars(self).items()
        }
        return {**rounded, "version": SIMILARITY_VERSION}


class SimilarityIndex:
    """The weighted problems of a set, against which personas are measured.

    Args:
        problems: problem_id -> text, at least one.
        seed: draws the 200 problems that represent the others; all of them if there are no more.
    """

    def __init__(self, problems: Mapping[str, str], seed: int) -> None:
        counted = {problem_id: _pieces(text) for problem_id, text in problems.items()}
        having = Counter(piece for pieces in counted.values() for piece in pieces)
        size = len(counted)
        self._number = {piece: index for index, piece in enumerate(having)}
        self._rarity = {piece: log((1 + size) / (1 + count)) + 1 for piece, count in having.items()}
        self._unseen = log(1 + size) + 1
        self._problems = {problem_id: self._weigh(pieces) for problem_id, pieces in counted.items()}
        ranked = sorted(problems, key=lambda item: (derive_seed(seed, "similarity", item), item))
        self._others = ranked[:OTHERS]
        self._place = {problem_id: place for place, problem_id in enumerate(self._others)}
        self._matrix = np.zeros((len(self._number), len(self._others)))  # pieces x others: a persona reads a few rows
        for place, problem_id in enumerate(self._others):
            numbers, weights = self._problems[problem_id]
            self._matrix[numbers, place] = weights

    def similarity(self, text: str, problem_id: str) -> float:
        """The cosine of a text with a problem of the set, in [0, 1]; 0 if one of them has no content word."""
        return self._own(self._weigh(_pieces(text)), problem_id)

    def summary(self, personas: Sequence[tuple[str, str]]) -> Similarity | None:
        """The similarity of (problem_id, persona) pairs; None without a pair or without another problem."""
        if not personas or len(self._problems) < 2:
            return None
        own: list[float] = []
        aucs: list[float] = []
        others: list[float] = []
        for problem_id, text in personas:
            weighed = self._weigh(_pieces(text))
            value = self._own(weighed, problem_id)
            rest = weighed[1] @ self._matrix[weighed[0]]
            if problem_id in self._place:
                rest = np.delete(rest, self._place[problem_id])
            # Rounded: a cosine computed in another order may differ in its last bit and is a tie.
            below, level = np.round(rest, 9) < round(value, 9), np.round(rest, 9) == round(value, 9)
            own.append(value)
            others.append(float(rest.mean()))
            aucs.append(float(below.mean() + level.mean() / 2))
        auc = float(np.mean(aucs))
        reach = 1.96 * float(np.std(aucs)) / sqrt(len(aucs))
        low, middle, high = (float(item) for item in np.quantile(own, [0.25, 0.5, 0.75]))
        return Similarity(
            personas=len(own),
            mean=float(np.mean(own)),
            quartiles=(low, middle, high),
            nothing_shared=own.count(0.0) / len(own),
            others=float(np.mean(others)),
            auc=auc,
            auc_interval=(max(0.0, auc - reach), min(1.0, auc + reach)),
        )

    def _own(self, weighed: tuple[NDArray[np.int64], NDArray[np.float64]], problem_id: str) -> float:
        numbers, weights = self._problems[problem_id]
        known = dict(zip(numbers.tolist(), weights.tolist(), strict=True))
        pairs = zip(weighed[0].tolist(), weighed[1].tolist(), strict=True)
        return float(sum(weight * known.get(number, 0.0) for number, weight in pairs))

    def _weigh(self, pieces: Counter[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(number, weight) of the pieces that problems have; the others count only in the length."""
        weights = {piece: (1 + log(count)) * self._rarity.get(piece, self._unseen) for piece, count in pieces.items()}
        length = sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        seen = [(self._number[piece], weight / length) for piece, weight in weights.items() if piece in self._number]
        numbers = np.array([number for number, _ in seen], dtype=np.int64)
        return numbers, np.array([weight for _, weight in seen], dtype=np.float64)


def _pieces(text: str) -> Counter[str]:
    """Pieces of four letters of the content words, a space before and after each word; a shorter one is whole."""
    out: Counter[str] = Counter()
    for word in _WORD.findall(_COMMAND.sub(" ", text).casefold()):
        if word not in _FUNCTION:
            edged = f" {word} "
            out.update(edged[start : start + PIECE] for start in range(max(1, len(edged) - PIECE + 1)))
    return out
