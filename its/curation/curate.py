"""Curation as a whole: the declared steps of a problem set, one after the other, each counted.

    dataset    split, filters as declared, duplicates, decontamination, sample
    benchmark  split, filters as declared, references, duplicates, sample

The split comes first because its two sides are two sets in the recipe: drawn after filters that only one of them has,
the groups of near duplicates could differ and a problem could stand on both sides. References are read behind the
filters, since what a filter takes out needs none, and before the duplicates, so that of a group no row stays that
cannot be graded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from its.curation.columns import Column
from its.curation.duplicates import Agree, Groups, Repeats, without_exact, without_near
from its.curation.filters import Check, Tools, check_of, name_of
from its.curation.sample import sampled
from its.curation.split import one_side
from its.curation.thin import remedy
from its.errors import DataError, Fault, FaultsError, FaultyRowsError
from its.recipe.schema import Benchmark, ColumnFilter, Dataset, Decontamination, Duplicates, Sample, Split
from its.shown import counted
from its.streams import Stream, streamed
from its.types import Problem, Rejected

if TYPE_CHECKING:
    from its.curation.overlaps import Overlap


@dataclass(frozen=True)
class StepCount:
    """A step and how many problems came and stayed; `note` says why the others went, most frequent first."""

    step: str
    before: int
    after: int
    note: str | None = None


@dataclass(frozen=True)
class TakenOut:
    """What a step reports of the problems that it took out or marked."""

    note: str | None = None
    overlaps: Sequence[Overlap] = ()
    duplicates: Groups = field(default_factory=dict)
    """The problem_id that stays -> those that went."""
    ungraded: Sequence[tuple[Problem, Fault]] = ()
    """What went because no answer can be graded against it, and why."""


@dataclass(frozen=True)
class Curated:
    """What the steps did to a set. `rejected` are the rows of the source that could not be read."""

    steps: Sequence[StepCount]
    rejected: Sequence[Rejected]
    overlaps: Sequence[Overlap]
    duplicates: Groups
    ungraded: Sequence[tuple[Problem, Fault]]


_NAMED = 10  # rows that an error names
_FAULTS = 20  # of references, that an error lists
_BATCH = 1000  # references that are read at once
_Step = Generator[Problem, None, TakenOut]
_Work = Callable[[Iterator[Problem]], _Step]


@streamed
def curate(
    rows: Iterable[Problem | Rejected],
    declared: Dataset | Benchmark,
    benchmarks: Mapping[str, Sequence[Problem]],
    tools: Tools,
    name: str,
) -> Generator[Problem, None, Curated]:
    """Take a problem set through its declared steps.

    Problems are streamed: filters, references, exact duplicates and decontamination keep none in memory but a batch, a
    sample as many as it takes; a split and near duplicates keep all.

    Args:
        rows: in order of the source. Those that could not be read count against `tolerate.rows` of a benchmark, too.
        declared: the recipe's entry.
        benchmarks: the problems of those in `decontamination.against`, by name, whole: before their split and sample.
        tools: what other rooms provide.
        name: of the set, for errors.

    Raises:
        DataError: while rows are taken: nothing is left, fewer than the sample wants, a row lacks what it is to be
            stratified by, no row has a column that a filter names or none stays, or rows overlap a benchmark and the
            action is `fail`.
        FaultsError: while rows of a benchmark are taken: more references than tolerated cannot be graded, rows
            repeat a problem and `duplicates` is not declared, or give it another reference; with those of the source.
    """
    loaded = Stream(_readable(rows))
    steps: list[tuple[str, Stream[Problem, TakenOut]]] = []
    last: Stream[Problem, Any] = loaded
    for step, work in _works(declared, benchmarks, tools, name, loaded):
        last = Stream(work(last))
        steps.append((step, last))
    yield from last
    rejected = loaded.result
    unread = f"cannot be read: {len(rejected)}" if rejected else None
    counts = [StepCount("loaded", loaded.taken + len(rejected), loaded.taken, unread)]
    for step, stream in steps:
        if step:
            counts.append(StepCount(step, counts[-1].after, stream.taken, stream.result.note))
    if not last.taken:
        told = ", ".join(f"{count.step}: {count.after}" for count in counts)
        last_ones = next((count for count in counts if not count.after), counts[-1])
        why = f"; {last_ones.note}" if last_ones.note else ""
        raise DataError(f"`{name}` has no problem left ({told}){why}", remedy(last_ones.step))
    found = [stream.result for _, stream in steps]
    return Curated(
        steps=counts,
        rejected=rejected,
        overlaps=[overlap for one in found for overlap in one.overlaps],
        duplicates={kept: gone for one in found for kept, gone in one.duplicates.items()},
        ungraded=[pair for one in found for pair in one.ungraded],
    )


def whole(problems: Iterable[Problem], declared: Benchmark, tools: Tools) -> Iterator[Problem]:
    """A benchmark as training data is compared with it: its own side of a split, each problem once.

    Neither filtered nor sampled: what is not measured now may be next week.
    """
    stream = problems if declared.split is None else one_side(problems, declared.split)
    return without_exact(stream, lambda one, other: tools.references_agree(one, other, declared.answer))


def _works(
    declared: Dataset | Benchmark,
    benchmarks: Mapping[str, Sequence[Problem]],
    tools: Tools,
    name: str,
    loaded: Stream[Problem, list[Rejected]],
) -> Iterator[tuple[str, _Work]]:
    """The steps of a set in order, by what the counts call them; one without a name takes nothing out."""
    kind = declared.answer if isinstance(declared, Benchmark) else "math"

    def agree(one: str, other: str) -> bool:
        return tools.references_agree(one, other, kind)

    if declared.split is not None:
        yield f"split {declared.split.keep}", partial(_split, declared.split)
    for filter_ in declared.filters:
        if isinstance(filter_, ColumnFilter):
            yield name_of(filter_), partial(_by_column, filter_, name)
        else:
            yield name_of(filter_), partial(_filtered, check_of(filter_, tools))
    if isinstance(declared, Benchmark):
        step = "" if declared.tolerate is None else "gradable references"
        yield step, partial(_graded, declared, tools, loaded, name)
        yield "", partial(_one_answer_each, declared, agree, name)
    if declared.duplicates is not None:
        yield f"{declared.duplicates.kind} duplicates", partial(_deduplicated, declared.duplicates, agree)
    if isinstance(declared, Dataset) and declared.decontamination is not None:
        against = declared.decontamination.against
        known = {benchmark: benchmarks[benchmark] for benchmark in against}
        yield f"decontamination ({', '.join(against)})", partial(_decontaminated, declared.decontamination, known, name)
    if declared.sample is not None:
        by = f" by {declared.sample.stratify_by}" if declared.sample.stratify_by else ""
        yield f"sample {declared.sample.size}{by}", partial(_sampled, declared.sample, name)


def _readable(rows: Iterable[Problem | Rejected]) -> Generator[Problem, None, list[Rejected]]:
    rejected: list[Rejected] = []
    for row in rows:
        if isinstance(row, Rejected):
            rejected.append(row)
        else:
            yield row
    return rejected


def _split(declared: Split, rows: Iterator[Problem]) -> _Step:
    yield from one_side(rows, declared)
    return TakenOut()


def _sampled(declared: Sample, name: str, rows: Iterator[Problem]) -> _Step:
    yield from sampled(rows, declared, name)
    return TakenOut()


def _filtered(check: Check, rows: Iterator[Problem]) -> _Step:
    reasons: Counter[str] = Counter()
    for problem in rows:
        reason = check(problem)
        if reason is None:
            yield problem
        else:
            reasons[reason] += 1
    return TakenOut(note=_counts(reasons))


def _by_column(declared: ColumnFilter, name: str, rows: Iterator[Problem]) -> _Step:
    column = Column(declared)
    for problem in rows:
        if column.keeps(problem):
            yield problem
    column.check(name)
    return TakenOut(note=column.note())


def _graded(
    declared: Benchmark,
    tools: Tools,
    loaded: Stream[Problem, list[Rejected]],
    name: str,
    rows: Iterator[Problem],
) -> _Step:
    """The rows whose references can be graded against; the others too where none is tolerated, for their faults."""
    tolerated = 0 if declared.tolerate is None else declared.tolerate.rows
    ungraded: list[tuple[Problem, Fault]] = []
    faults: list[Fault] = []
    wrong = seen = 0
    source = Stream(_until_faults(rows))
    while batch := list(islice(source, _BATCH)):
        seen += len(batch)
        for problem, fault in zip(batch, tools.ungradable(batch, declared.answer), strict=True):
            if fault is not None:
                wrong += 1
                faults += [fault] if len(faults) < _FAULTS else []
                if wrong <= tolerated:
                    ungraded.append((problem, fault))
            if fault is None or not tolerated:
                yield problem
    error = source.result
    unread = error.rows if isinstance(error, FaultyRowsError) else len(loaded.result) if error is None else 0
    if wrong and wrong + unread > tolerated:
        # One number for both kinds: the one that was reported for the rows alone would not do.
        told = [replace(one, hint=None) if one.where == f"`{name}`" else one for one in (error.faults if error else [])]
        raise FaultsError([*told, *faults, _too_many(name, wrong, seen, unread, tolerated)])
    if error is not None:
        raise error
    return TakenOut(note=f"cannot be graded: {wrong}" if wrong else None, ungraded=ungraded)


def _until_faults(rows: Iterator[Problem]) -> Generator[Problem, None, FaultsError | None]:
    """The rows, and the error of their source in place of raising it: so that other faults can be reported with it."""
    try:
        yield from rows
    except FaultsError as error:
        return error
    return None


def _too_many(name: str, wrong: int, seen: int, unread: int, tolerated: int) -> Fault:
    """How many references cannot be graded, and the rule that leaves them out if they are the few."""
    also = f", and {unread} {'rows' if unread > 1 else 'row'} cannot be read" if unread else ""
    limit = f"; `tolerate.rows` is {tolerated}" if tolerated else ""
    message = f"{wrong} of {seen} references cannot be graded{also}{limit}"
    if 2 * wrong > seen:
        return Fault(f"`{name}`", message, "is `answer` the kind of answer that they are?")
    return Fault(f"`{name}`", message, f"`tolerate: {{rows: {wrong + unread}}}` leaves them out, counted on the card")


def _one_answer_each(declared: Benchmark, agree: Agree, name: str, rows: Iterator[Problem]) -> _Step:
    """The same rows, unless some repeat a problem and nothing is declared for it."""
    repeats = Repeats(agree)
    source = Stream(_until_faults(rows))
    for problem in source:
        repeats.add(problem.row or f"`{problem.problem_id}`", problem)
        yield problem
    known = source.result.faults if source.result else []
    if faults := [*known, *repeats.faults(name, declared.duplicates is not None)]:
        raise FaultsError(faults)
    return TakenOut()


def _deduplicated(declared: Duplicates, agree: Agree, rows: Iterator[Problem]) -> _Step:
    groups = yield from (without_exact(rows, agree) if declared.kind == "exact" else without_near(rows))
    note = f"{len(groups)} groups, the largest of {max(map(len, groups.values())) + 1}" if groups else None
    return TakenOut(note=note, duplicates=groups)


def _decontaminated(
    declared: Decontamination, benchmarks: Mapping[str, Sequence[Problem]], name: str, rows: Iterator[Problem]
) -> _Step:
    from its.curation.overlaps import Benchmarks  # here: it brings numpy, a sixth of what a check imports

    rules: Counter[str] = Counter()
    overlaps: list[Overlap] = []
    failed: list[str] = []
    for problem, hits in Benchmarks(benchmarks).overlaps(rows):
        found = [hit for hit in hits if declared.rules is None or hit.rule in declared.rules]
        if not found:
            yield problem
            continue
        overlaps.extend(found)
        rules[found[0].rule] += 1
        where = [f"{overlap.benchmark}/{overlap.benchmark_problem_id}" for overlap in found]
        if declared.action == "flag":
            yield problem.model_copy(update={"meta": {**problem.meta, "overlaps": where}})
        elif declared.action == "fail":
            failed.append(f"{problem.row or problem.problem_id} ({found[0].rule}: {where[0]})")
    if failed:
        more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise DataError(
            f"`{name}`: {counted(len(failed), 'row overlaps', 'rows overlap')} a benchmark: "
            f"{', '.join(failed[:_NAMED])}{more}",
            "remove them, or set `decontamination.action` to `drop` or `flag`",
        )
    return TakenOut(note=_counts(rules), overlaps=overlaps)


def _counts(counts: Counter[str]) -> str | None:
    return ", ".join(f"{reason}: {count}" for reason, count in counts.most_common()) or None
