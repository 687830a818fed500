"""Repeated problems: which texts ask the same, spelt the same or nearly.

`exact` is one canonical spelling, and references that are one answer: case or a raised digit can be all that two
problems differ in, and then their answers tell them apart. The options of a multiple choice problem are compared in
alphabetic order, since their order is drawn again for each row. `near` is the same data (every
number, the same figure) and at least 0.7 of the runs of three words in common; the names of variables do not count.
Numbers have to agree because templates with other numbers are other problems. Whether two texts are near depends on
these two alone, and groups are what such pairs connect: no order of the rows changes them.
"""

from __future__ import annotations

import hashlib
import math
import string
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from its.curation.comparable_text import canonical, figure_words, is_given, words
from its.curation.shared_words import shape
from its.errors import Fault
from its.shown import counted
from its.types import Problem, listed_options

NEAR = 0.7
"""The least part of the runs of three words, of those in either text, that near duplicates share."""
_RUN = 3
_NAMED = 20
"""Rows that an error names."""

Groups = dict[str, list[str]]
"""The problem_id that stays -> those that went because they repeat it."""
Agree = Callable[[str, str], bool]
"""(a later reference, an earlier one) -> whether they are one answer, as the grader compares the set's answers."""


def asked(problem: Problem) -> str:
    """The text of a problem, its options in alphabetic order: the row has them in an order drawn by problem_id."""
    choices = _choices(problem)
    if not choices:
        return problem.text
    question = problem.text[: -len(listed_options(choices))]
    return question + listed_options(sorted(choices, key=lambda option: (canonical(option), option)))


def _choices(problem: Problem) -> list[str]:
    """The options that the loader put below a question, in their order; none where it did not."""
    choices: list[str] = problem.meta.get("choices") or []
    return choices if choices and problem.text.endswith(listed_options(choices)) else []


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that was met: where first, with which reference, and where its problem was met first."""

    folded: bytes
    name: str
    reference: str | None
    first: str


class _Met:
    """The problems met so far, by the exact rule; memory grows by some 400 bytes a text."""

    def __init__(self, agree: Agree) -> None:
        self._agree = agree
        self._texts: dict[bytes, tuple[_Text, ...]] = {}
        self.problems = 0

    def earlier(self, name: str, problem: Problem) -> tuple[_Text, str | None] | None:
        """The earlier text that a row repeats, and the row's reference if it is another one; None: a new problem.

        Texts that are equal but for white space are one problem whatever their references, others of one canonical
        spelling where their references agree.
        """
        text, reference = asked(problem), problem.reference
        choices = _choices(problem)
        if choices and reference is not None:
            reference = choices[string.ascii_uppercase.index(reference)]
        key, folded = _digest(canonical(text)), _digest(_folded(text))[:8]
        known = self._texts.get(key, ())
        for one in known:
            if one.folded == folded:
                return one, None if _are_one(reference, one.reference, self._agree, _folded) else reference
        one_option = canonical if choices else _folded
        same = next((one for one in known if _are_one(reference, one.reference, self._agree, one_option)), None)
        self._texts[key] = (*known, _Text(folded, name, reference, name if same is None else same.first))
        self.problems += same is None
        return None if same is None else (same, None)


def _are_one(own: str | None, known: str | None, agree: Agree, spelt: Callable[[str], str]) -> bool:
    """Whether two references are one answer; one that is missing contradicts nothing."""
    return own is None or known is None or spelt(own) == spelt(known) or agree(own, known)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def without_exact(problems: Iterable[Problem], agree: Agree) -> Generator[Problem, None, Groups]:
    """Yield each problem that did not come before, then return what went; memory grows by some 400 bytes a problem.

    Args:
        problems: in order of the source; the first of a group stays.
        agree: compares the references of texts that are not quite equal.
    """
    groups: Groups = {}
    met = _Met(agree)
    for problem in problems:
        found = met.earlier(problem.problem_id, problem)
        if found is None:
            yield problem
        else:
            groups.setdefault(found[0].first, []).append(problem.problem_id)
    return groups


def without_near(problems: Iterable[Problem]) -> Generator[Problem, None, Groups]:
    """As `without_exact`, also for near duplicates; keeps all problems in memory."""
    groups: Groups = {}
    rows = list(problems)
    for problem, group in zip(rows, near_groups([asked(row) for row in rows]), strict=True):
        kept = rows[group].problem_id
        if kept == problem.problem_id:
            yield problem
        else:
            groups.setdefault(kept, []).append(problem.problem_id)
    return groups


@dataclass(frozen=True)
class Repeat:
    """A row whose problem is that of an earlier one, by the exact rule; `references` are both where they differ."""

    place: str
    earlier: str
    references: tuple[str | None, str] | None


class Repeats:
    """The exact repetitions in a set, met row by row; memory grows by some 400 bytes a row."""

    def __init__(self, agree: Agree) -> None:
        self.found: list[Repeat] = []
        self.rows = 0
        self._met = _Met(agree)

    def add(self, place: str, problem: Problem) -> None:
        """Take the next row."""
        self.rows += 1
        found = self._met.earlier(place, problem)
        if found is not None:
            known, own = found
            earlier, references = (known.first, None) if own is None else (known.name, (known.reference, own))
            self.found.append(Repeat(place, earlier, references))

    def faults(self, name: str, dropped: bool) -> list[Fault]:
        """What a benchmark of this name cannot be measured with, the first rows and how many.

        Two answers to one problem are a fault always, a plain repetition where it is not `dropped`.
        """
        faults = [_fault(repeat) for repeat in self.found if repeat.references is not None or not dropped]
        if not faults:
            return []
        count = f"{counted(self.rows, 'row holds', 'rows hold')} {counted(self._met.problems, 'different problem')}"
        more = (
            f"; {counted(len(faults) - _NAMED, 'more row repeats', 'more rows repeat')} one"
            if len(faults) > _NAMED
            else ""
        )
        return [*faults[:_NAMED], Fault(f"`{name}`", f"{count}{more}: each would count as a separate problem")]


def _fault(repeat: Repeat) -> Fault:
    if repeat.references is None:
        hint = "`duplicates: {kind: exact}` in the benchmark's entry keeps the first of each"
        return Fault(repeat.place, f"the problem of {repeat.earlier} again", hint)
    known, own = repeat.references
    message = f"the problem of {repeat.earlier} again with another reference: `{known}` there, `{own}` here"
    return Fault(repeat.place, message, "one problem has one answer: correct the source")


def near_repeats(problems: Sequence[Problem]) -> dict[str, int]:
    """How many problems repeat an earlier one nearly, as `near` has it, and of how many different ones."""
    groups = near_groups([asked(problem) for problem in problems])
    repeated = [group for at, group in enumerate(groups) if group != at]
    return {"problems": len(repeated), "of": len(set(repeated))}


def near_groups(texts: Sequence[str]) -> list[int]:
    """For each text the place of the first text of its group; a text without near duplicates is its own."""
    blocks: dict[bytes, list[int]] = defaultdict(list)
    for at, text in enumerate(texts):
        blocks[_data(text)].append(at)
    leader = list(range(len(texts)))
    for block in blocks.values():
        if len(block) > 1:
            for one, other in _near_pairs([_runs(texts[at]) for at in block]):
                _join(leader, block[one], block[other])
    return [_leader(leader, at) for at in range(len(texts))]


def _data(text: str) -> bytes:
    """What near duplicates have in common for certain: the numbers, in any order, and the figure."""
    given = sorted(filter(is_given, words(text)))
    return _digest("\x1f".join([*given, "", *figure_words(text)]))


def _runs(text: str) -> frozenset[int]:
    row = shape(words(text))
    runs = [row[at : at + _RUN] for at in range(len(row) - _RUN + 1)] or [row]
    return frozenset(int.from_bytes(_digest("\x1f".join(run))[:8]) for run in runs)


def _near_pairs(sets: Sequence[frozenset[int]]) -> Iterator[tuple[int, int]]:
    """Pairs of sets that share at least NEAR of their union.

    Such a pair also shares one of the rarest runs of each, those beyond NEAR of the set: only sets that meet there are
    compared. A pair that earlier pairs connect may be left out.
    """
    counts = Counter(run for runs in sets for run in runs)
    meeting: dict[int, list[int]] = defaultdict(list)
    first: dict[frozenset[int], int] = {}
    for at, runs in enumerate(sets):
        same = first.setdefault(runs, at)
        if same != at:
            yield same, at  # compared once: a thousand equal texts would else meet a million times
            continue
        rare = sorted(runs, key=lambda run: (counts[run], run))[: len(runs) - math.ceil(NEAR * len(runs)) + 1]
        for other in sorted({other for run in rare for other in meeting[run]}):
            shared = len(runs & sets[other])
            if shared >= NEAR * (len(runs) + len(sets[other]) - shared):
                yield other, at
        for run in rare:
            meeting[run].append(at)


def _leader(leader: list[int], at: int) -> int:
    while leader[at] != at:
        leader[at] = leader[leader[at]]
        at = leader[at]
    return at


def _join(leader: list[int], one: int, other: int) -> None:
    """One group of two; the place that comes first leads."""
    one, other = sorted((_leader(leader, one), _leader(leader, other)))
    leader[other] = one


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
