"""Decontamination: which training rows ask what a benchmark asks, and by which rule that is seen.

A row is compared with the benchmark problems that an index finds for it (`its.curation.candidates`). The rules, the
strictest first; a pair is reported under the first that holds:

    same        the words are the same (white space, LaTeX spelling, number words and punctuation do not count)
    contained   the words of the benchmark problem stand in the row in order, whole or in two pieces
    words13     13 words in a row are shared, and they are a good part of the benchmark problem
    words8      8 words in a row are shared, and they are most of the benchmark problem
    maths       its formulas are in the row, whatever the variables are called, and whatever is asked around them
    rewritten   a part of the row has the same numbers and, but for names of things and of variables, mostly the same
                words, in the same order

Plain shared 13-grams also find the phrases of a trade ("where m and n are relatively prime positive integers"), hence
the parts, and runs in more than three benchmark problems do not count. How the thresholds were chosen and what they
find stands in docs/curation.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal, get_args

from its.curation.candidates import Candidate, Candidates
from its.curation.comparable_text import VARIABLE, figure_words, is_given, words
from its.curation.shared_words import in_two_pieces, longest_run, shape, shared_in_order
from its.recipe.schema import OverlapRule
from its.types import Problem

_ORDER = {rule: at for at, rule in enumerate(get_args(OverlapRule))}

BATCH = 1000
"""Rows that are looked up at once; memory grows with it times the number of benchmark problems."""
_RUN_PART, _RUN_PART_SAME_NUMBERS, _SHORT_RUN_PART = 0.5, 0.3, 0.6
_MATHS_WORDS, _MATHS_PART = 12, 0.85
_NUMBERS_ALIKE = 0.85
_FIGURES_ALIKE, _FIGURE_HELD = 0.6, 0.9
_PIECE = 3  # words
_PIECES_PART = 0.9  # of a problem, in its two pieces: a tenth may be missing
_JUST = -1e-9
"""The margin of a rule that fails by something else than its threshold."""
_WINDOW = 1.15  # a rewriting is hardly longer than what it rewrites


@dataclass(frozen=True)
class Overlap:
    """A row that overlaps a benchmark problem; `score` in (0, 1] is the part of it that the rule found."""

    problem_id: str
    benchmark: str
    benchmark_problem_id: str
    rule: OverlapRule
    score: float
    text: str
    benchmark_text: str


@dataclass(frozen=True)
class _Known:
    """A benchmark problem and what the rules need of it, worked out once."""

    benchmark: str
    problem: Problem
    words: list[str]
    shape: list[str]
    maths: list[str]
    numbers: list[str]
    counts: Counter[str]
    figure: Counter[str]


@dataclass(frozen=True)
class Comparison:
    """How similar a row is to a benchmark problem that the index found for it.

    `margins` are those of the rules that apply to the two: how far each is above its threshold, below zero
    where it does not hold. `run` is the most words that stand side by side in both, `alike` the similarity that
    `rewritten` measures, whatever the numbers are; `numbers` says whether those of the problem are in the row.
    """

    benchmark: str
    benchmark_problem_id: str
    margins: Mapping[OverlapRule, float]
    run: int
    alike: float
    numbers: bool


class Benchmarks:
    """Benchmark problems made ready for comparison.

    Args:
        problems: by name of the benchmark.
    """

    def __init__(self, problems: Mapping[str, Sequence[Problem]]) -> None:
        self._known = [_prepared(name, problem) for name, known in problems.items() for problem in known]
        self._candidates = Candidates([known.words for known in self._known])

    def overlaps(self, problems: Iterable[Problem]) -> Iterator[tuple[Problem, list[Overlap]]]:
        """Each problem in order with its overlaps, the strictest rule first."""
        stream = iter(problems)
        while batch := list(islice(stream, BATCH)):
            rows = [words(problem.text) or figure_words(problem.text) for problem in batch]
            for problem, row, found in zip(batch, rows, self._candidates.of(rows), strict=True):
                yield problem, self._compared(problem, row, found) if found else []

    def comparisons(self, problems: Iterable[Problem]) -> Iterator[tuple[Problem, list[Comparison]]]:
        """Each problem in order with all that it was compared with, found or not; slower than `overlaps`."""
        stream = iter(problems)
        while batch := list(islice(stream, BATCH)):
            rows = [words(problem.text) or figure_words(problem.text) for problem in batch]
            for problem, row, found in zip(batch, rows, self._candidates.of(rows), strict=True):
                seen = _Row(problem, row)
                yield problem, [_comparison(self._known[at], seen, shares_run) for at, shares_run in found]

    def _compared(self, problem: Problem, row: list[str], found: Sequence[Candidate]) -> list[Overlap]:
        seen = _Row(problem, row)
        overlaps = []
        for candidate in found:
            known = self._known[candidate.problem]
            held = _rule(known, seen, candidate.shares_run)
            if held is not None:
                rule, score = held
                overlaps.append(
                    Overlap(
                        problem_id=problem.problem_id,
                        benchmark=known.benchmark,
                        benchmark_problem_id=known.problem.problem_id,
                        rule=rule,
                        score=round(score, 3),
                        text=problem.text,
                        benchmark_text=known.problem.text,
                    )
                )
        return sorted(overlaps, key=lambda overlap: (_ORDER[overlap.rule], -overlap.score))


def _comparison(known: _Known, row: _Row, shares_run: bool) -> Comparison:
    return Comparison(
        known.benchmark,
        known.problem.problem_id,
        {rule: margin for rule, _, _, margin in _tried(known, row, shares_run)},
        longest_run(known.words, row.words),
        _similarity(known, row)[0],
        known.counts <= row.counts,
    )


class _Row:
    """The words of a row, and what only some rules need of them, worked out when first needed."""

    def __init__(self, problem: Problem, row: list[str]) -> None:
        self._problem = problem
        self.words = row
        self.counts = Counter(filter(is_given, row))

    @cached_property
    def shape(self) -> list[str]:
        return shape(self.words)

    @cached_property
    def figure(self) -> Counter[str]:
        return _drawn(self._problem)

    @cached_property
    def maths(self) -> list[str]:
        return _maths(self.words)


def _prepared(benchmark: str, problem: Problem) -> _Known:
    found = words(problem.text) or figure_words(problem.text)
    numbers = [word for word in found if is_given(word)]
    return _Known(
        benchmark,
        problem,
        found,
        shape(found),
        _maths(found),
        numbers,
        Counter(numbers),
        _drawn(problem),
    )


def _drawn(problem: Problem) -> Counter[str]:
    """The numbers in the code of a problem's figures, or its words where it has none."""
    drawn = figure_words(problem.text)
    return Counter(filter(is_given, drawn)) or Counter(drawn)


def _maths(found: Sequence[str]) -> list[str]:
    """The shape of the formulas alone: variables, numbers, operators, commands."""
    return shape([word for word in found if word[0] == VARIABLE or not word[0].isalpha()])


def _rule(known: _Known, row: _Row, shares_run: bool) -> tuple[OverlapRule, float] | None:
    """The first rule that applies to a row and a benchmark problem, and its score."""
    return next(((rule, score) for rule, holds, score, _ in _tried(known, row, shares_run) if holds), None)


def _tried(known: _Known, row: _Row, shares_run: bool) -> Iterator[tuple[OverlapRule, bool, float, float]]:
    """Each rule that applies to a row and a benchmark problem, in order: whether it matches, its score, its margin.

    The margin is the score minus what the rule requires, negative where it does not match: by as much would
    the threshold have to move. What a rule asks beside it (numbers, figures, a least run) stays as it is.
    """
    size = len(known.words)
    figures = _figures(known, row)
    same = known.words == row.words and figures != "differ"
    yield "same", same, 1.0, 0.0 if same else -math.inf
    if not size:
        return
    if known.counts <= row.counts and figures != "differ":
        begin, end = in_two_pieces(known.words, row.words)
        part = (begin + end) / size
        holds = begin + end > 0 and _is_cut(size, begin, end)
        yield "contained", holds, part, max(part - _PIECES_PART, 0.0) if holds else min(part - _PIECES_PART, _JUST)
    numbers = bool(known.counts) and known.counts <= row.counts
    run = longest_run(known.words, row.words) if shares_run else 0
    if run >= 13:
        least = _RUN_PART_SAME_NUMBERS if numbers else _RUN_PART
        yield "words13", run >= least * size, run / size, run / size - least
    if figures != "alike":
        return
    if run >= 8 and numbers:
        yield "words8", run >= _SHORT_RUN_PART * size, run / size, run / size - _SHORT_RUN_PART
    formulas = len(known.maths)
    if formulas >= _MATHS_WORDS:
        shared = longest_run(known.maths, row.maths)
        if shared >= _MATHS_WORDS:
            part = shared / formulas
            yield "maths", shared >= _MATHS_PART * formulas, part, part - _MATHS_PART
    alike = _alike(known, row)
    yield "rewritten", alike >= _least_alike(known), alike, alike - _least_alike(known)


def _figures(known: _Known, row: _Row) -> Literal["alike", "missing", "differ"]:
    """Whether two problems show the same figure, if any, by its words; `missing` where one shows a figure alone.

    A row that holds nearly all of a figure's numbers holds the figure, whatever else it shows: a figure may be cut too.
    """
    if bool(known.figure) != bool(row.figure):
        return "missing"
    both = known.figure.total() + row.figure.total()
    if 2 * (known.figure & row.figure).total() >= _FIGURES_ALIKE * both:
        return "alike"
    held = (known.figure & (row.figure + row.counts)).total()
    return "alike" if held >= _FIGURE_HELD * known.figure.total() else "differ"


def _is_cut(size: int, begin: int, end: int) -> bool:
    """Whether two pieces are a problem of some size that was cut in two.

    One or two words may be missing between the pieces, as where a formula was cut; never at the ends, where the word
    that makes one problem of many stands: "... the letters of the word ELLIPSE".
    """
    missing = size - begin - end
    return not missing or (min(begin, end) >= _PIECE and missing <= size // 10)


def _least_alike(known: _Known) -> float:
    """The least similarity of a rewriting.

    Each number that agrees, up to three, stands for some words; 0, 1 and 2 do not, since most formulas hold them. A
    problem told without variables has more words that a rewriting changes, and its numbers say more.
    """
    telling = sum(number not in ("0", "1", "2") for number in known.numbers)
    told = not any(word[0] == VARIABLE for word in known.words)
    return 0.75 - 0.05 * min(telling, 3) - (0.07 if told else 0.0)


def _alike(known: _Known, row: _Row) -> float:
    """The similarity of a benchmark problem and the part of a row that is most like it: 2 x shared / (words of both).

    0 where the numbers of that part are not those of the problem.
    """
    if known.counts and (known.counts & row.counts).total() < 0.7 * known.counts.total():
        return 0.0
    best, best_at = _similarity(known, row)
    numbers = [word for word in row.words[slice(*best_at)] if is_given(word)]
    both = len(numbers) + len(known.numbers)
    if both and 2 * shared_in_order(known.numbers, numbers) < _NUMBERS_ALIKE * both:
        return 0.0
    return best


def _similarity(known: _Known, row: _Row) -> tuple[float, tuple[int, int]]:
    """The similarity of a benchmark problem and the most similar part of a row, and the place of that part."""
    size = len(known.words)
    best, best_at = 0.0, (0, 0)
    for start, end in _windows(size, len(row.words)):
        similarity = 2 * shared_in_order(known.shape, row.shape[start:end]) / max(1, size + end - start)
        if similarity > best:
            best, best_at = similarity, (start, end)
    return best, best_at


def _windows(size: int, length: int) -> list[tuple[int, int]]:
    """Parts of a row of some length that are as long as a rewriting of a problem of some size might be."""
    width = int(_WINDOW * size) + 1
    if length <= width:
        return [(0, length)]
    return [(start, min(start + width, length)) for start in range(0, length - width + size // 4 + 1, size // 4 + 1)]
