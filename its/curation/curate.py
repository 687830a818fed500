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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from its.curation.columns import Column
from its.curation.duplicates import Agree, Groups, Repeats, without_exact, without_near
from its.curation.filters import Check, Tools, check_of, name_of
from its.curation.overlaps import Benchmarks, Overlap
from its.curation.sample import sampled
from its.curation.split import one_side
from its.errors import DataError, Fault, FaultsError, FaultyRowsError
from its.recipe.schema import Benchmark, ColumnFilter, Dataset, Decontamination, Duplicates, Sample, Split
from its.types import Problem


@dataclass
class StepCount:
    """A step and how many problems came and stayed; `note` says why the others went, most frequent first."""

    step: str
    before: int = 0
    after: int = 0
    note: str | None = None


@dataclass(frozen=True)
class Curated:
    """What is left of a set.

    `problems` can be read once. Only when its end was reached are `steps`, `overlaps`, `duplicates` (problem_id that
    stays -> those that went) and `ungraded` (what went because no answer can be graded against it, and why) complete.
    """

    problems: Iterator[Problem]
    steps: list[StepCount] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    duplicates: Groups = field(default_factory=dict)
    ungraded: list[tuple[Problem, Fault]] = field(default_factory=list)


_NAMED = 10  # rows that an error names
_FAULTS = 20  # of references, that an error lists
_BATCH = 1000  # references that are read at once
_Work = Callable[[Iterable[Problem], StepCount], Iterator[Problem]]


def curate(
    problems: Iterable[Problem],
    declared: Dataset | Benchmark,
    benchmarks: Mapping[str, Sequence[Problem]],
    tools: Tools,
    name: str,
    rejected: Sequence[object] = (),
) -> Curated:
    """Take a problem set through its declared steps.

    Problems are streamed: filters, references, exact duplicates and decontamination hold none back but a batch, a
    sample holds as many as it keeps; a split and near duplicates hold all.

    Args:
        problems: in order of the source.
        declared: the recipe's entry.
        benchmarks: the problems of those in `decontamination.against`, by name, whole: before their split and sample.
        tools: what is asked of other rooms.
        name: of the set, for errors.
        rejected: the rows that could not be read and are tolerated, whole once the last of `problems` was taken: they
            count against `tolerate.rows` too.

    Raises:
        DataError: while `problems` is read: nothing is left, fewer than the sample wants, a row lacks what it is to be
            stratified by, no row has a column that a filter names or none stays, or rows overlap a benchmark and the
            action is `fail`.
        FaultsError: while `problems` of a benchmark is read: more references than tolerated cannot be graded, rows
            repeat a problem and `duplicates` is not declared, or give it another reference; with those of the source.
    """
    curated = Curated(iter(()))
    kind = declared.answer if isinstance(declared, Benchmark) else "math"

    def agree(one: str, other: str) -> bool:
        return tools.references_agree(one, other, kind)

    stream = _counted(curated, "loaded", _loaded, problems)
    if declared.split is not None:
        stream = _counted(curated, f"split {declared.split.keep}", partial(_split, declared.split), stream)
    for filter_ in declared.filters:
        work = (
            partial(_by_column, filter_, name)
            if isinstance(filter_, ColumnFilter)
            else partial(_filtered, check_of(filter_, tools))
        )
        stream = _counted(curated, name_of(filter_), work, stream)
    if isinstance(declared, Benchmark):
        graded = partial(_graded, declared, tools, curated.ungraded, rejected, name)
        if declared.tolerate is None:  # none may go: no step
            stream = graded(stream, StepCount(""))
        else:
            stream = _counted(curated, "gradable references", graded, stream)
        stream = _one_answer_each(stream, declared, agree, name)
    if declared.duplicates is not None:
        stream = _counted(
            curated,
            f"{declared.duplicates.kind} duplicates",
            partial(_deduplicated, declared.duplicates, agree, curated.duplicates),
            stream,
        )
    if isinstance(declared, Dataset) and declared.decontamination is not None:
        stream = _counted(
            curated,
            f"decontamination ({', '.join(declared.decontamination.against)})",
            partial(_decontaminated, declared.decontamination, benchmarks, curated.overlaps, name),
            stream,
        )
    if declared.sample is not None:
        by = f" by {declared.sample.stratify_by}" if declared.sample.stratify_by else ""
        step = f"sample {declared.sample.size}{by}"
        stream = _counted(curated, step, partial(_sampled, declared.sample, name), stream)
    return replace(curated, problems=_some(stream, curated.steps, name))


def whole(problems: Iterable[Problem], declared: Benchmark, tools: Tools) -> Iterator[Problem]:
    """A benchmark as training data is held against it: its own side of a split, each problem once.

    Neither filtered nor sampled: what is not measured now may be next week.
    """
    stream = problems if declared.split is None else one_side(problems, declared.split)
    return without_exact(stream, {}, lambda one, other: tools.references_agree(one, other, declared.answer))


def _counted(curated: Curated, step: str, work: _Work, source: Iterable[Problem]) -> Iterator[Problem]:
    """Put a step behind those that are there."""
    count = StepCount(step)
    curated.steps.append(count)

    def come() -> Iterator[Problem]:
        for problem in source:
            count.before += 1
            yield problem

    def stay() -> Iterator[Problem]:
        for problem in work(come(), count):
            count.after += 1
            yield problem

    return stay()


def _loaded(rows: Iterable[Problem], _: StepCount) -> Iterator[Problem]:
    return iter(rows)


def _split(declared: Split, rows: Iterable[Problem], _: StepCount) -> Iterator[Problem]:
    return one_side(rows, declared)


def _sampled(declared: Sample, name: str, rows: Iterable[Problem], _: StepCount) -> Iterator[Problem]:
    return sampled(rows, declared, name)


def _filtered(check: Check, rows: Iterable[Problem], count: StepCount) -> Iterator[Problem]:
    reasons: Counter[str] = Counter()
    for problem in rows:
        reason = check(problem)
        if reason is None:
            yield problem
        else:
            reasons[reason] += 1
            count.note = _tally(reasons)


def _by_column(declared: ColumnFilter, name: str, rows: Iterable[Problem], count: StepCount) -> Iterator[Problem]:
    column = Column(declared)
    yield from column.kept(rows)
    count.note = column.note()
    column.check(name)


def _graded(
    declared: Benchmark,
    tools: Tools,
    ungraded: list[tuple[Problem, Fault]],
    rejected: Sequence[object],
    name: str,
    rows: Iterable[Problem],
    count: StepCount,
) -> Iterator[Problem]:
    """The rows whose references can be graded against; the others too where none is tolerated, for their faults."""
    faults: list[Fault] = []
    tolerated = 0 if declared.tolerate is None else declared.tolerate.rows
    wrong = seen = 0
    source: list[Fault] = []
    unread_rows: list[int] = []
    stream = _before_faults(rows, source, unread_rows)
    while batch := list(islice(stream, _BATCH)):
        seen += len(batch)
        for problem, fault in zip(batch, tools.reference_faults(batch, declared.answer), strict=True):
            if fault is not None:
                wrong += 1
                faults += [fault] if len(faults) < _FAULTS else []
                if wrong <= tolerated:
                    ungraded.append((problem, fault))
                count.note = f"cannot be graded: {wrong}"
            if fault is None or not tolerated:
                yield problem
    unread = max(len(rejected), *unread_rows, 0)
    if wrong and wrong + unread > tolerated:
        # One number for both kinds: the one that was told for the rows alone would not do.
        told = [replace(fault, hint=None) if fault.where == f"`{name}`" else fault for fault in source]
        raise FaultsError([*told, *faults, _too_many(name, wrong, seen, unread, tolerated)])
    if source:
        raise FaultsError(source)


def _before_faults(rows: Iterable[Problem], faults: list[Fault], unread: list[int] | None = None) -> Iterator[Problem]:
    """The rows up to the faults of their source, which come behind the last one: so theirs can be told with them."""
    try:
        yield from rows
    except FaultsError as error:
        faults.extend(error.faults)
        if unread is not None and isinstance(error, FaultyRowsError):
            unread.append(error.rows)


def _too_many(name: str, wrong: int, seen: int, unread: int, tolerated: int) -> Fault:
    """How many references cannot be graded, and the rule that leaves them out if they are the few."""
    also = f", and {unread} {'rows' if unread > 1 else 'row'} cannot be read" if unread else ""
    limit = f"; `tolerate.rows` is {tolerated}" if tolerated else ""
    message = f"{wrong} of {seen} references cannot be graded{also}{limit}"
    if 2 * wrong > seen:
        return Fault(f"`{name}`", message, "is `answer` the kind of answer that they are?")
    return Fault(f"`{name}`", message, f"`tolerate: {{rows: {wrong + unread}}}` leaves them out, counted on the card")


def _one_answer_each(rows: Iterable[Problem], declared: Benchmark, agree: Agree, name: str) -> Iterator[Problem]:
    """The same rows, unless some repeat a problem and nothing is declared for it."""
    repeats = Repeats(agree)
    faults: list[Fault] = []
    for problem in _before_faults(rows, faults):
        repeats.add(problem.row or f"`{problem.problem_id}`", problem)
        yield problem
    if faults := [*faults, *repeats.faults(name, declared.duplicates is not None)]:
        raise FaultsError(faults)


def _deduplicated(
    declared: Duplicates, agree: Agree, groups: Groups, rows: Iterable[Problem], count: StepCount
) -> Iterator[Problem]:
    yield from without_exact(rows, groups, agree) if declared.kind == "exact" else without_near(rows, groups)
    if groups:
        count.note = f"{len(groups)} groups, the largest of {max(map(len, groups.values())) + 1}"


def _decontaminated(
    declared: Decontamination,
    benchmarks: Mapping[str, Sequence[Problem]],
    overlaps: list[Overlap],
    name: str,
    rows: Iterable[Problem],
    count: StepCount,
) -> Iterator[Problem]:
    known = Benchmarks({against: benchmarks[against] for against in declared.against})
    rules: Counter[str] = Counter()
    faults: list[str] = []
    for problem, hits in known.overlaps(rows):
        found = [hit for hit in hits if declared.rules is None or hit.rule in declared.rules]
        if not found:
            yield problem
            continue
        overlaps.extend(found)
        rules[found[0].rule] += 1
        count.note = _tally(rules)
        where = [f"{overlap.benchmark}/{overlap.benchmark_problem_id}" for overlap in found]
        if declared.action == "flag":
            yield problem.model_copy(update={"meta": {**problem.meta, "overlaps": where}})
        elif declared.action == "fail":
            faults.append(f"{problem.row or problem.problem_id} ({found[0].rule}: {where[0]})")
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise DataError(
            f"`{name}`: {len(faults)} rows overlap a benchmark: {', '.join(faults[:_NAMED])}{more}",
            "take them out, or set `decontamination.action` to `drop` or `flag`",
        )


def _some(rows: Iterable[Problem], steps: Sequence[StepCount], name: str) -> Iterator[Problem]:
    """The same rows, at least one."""
    empty = True
    for problem in rows:
        empty = False
        yield problem
    if empty:
        counts = ", ".join(f"{step.step}: {step.after}" for step in steps)
        raise DataError(f"`{name}` has no problem left ({counts})", "loosen the step that took the last ones")


def _tally(counts: Counter[str]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in counts.most_common())
