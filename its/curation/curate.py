"""Curation as a whole: the declared steps of a problem set, one after the other, each counted.

    dataset    split, filters as declared, duplicates, decontamination, sample
    benchmark  split, duplicates, sample

The split comes first because its two sides are two sets in the recipe: drawn after filters that only one of them has,
the groups of near duplicates could differ and a problem could stand on both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from its.curation.duplicates import Agree, Groups, Repeats, without_exact, without_near
from its.curation.filters import Check, Tools, check_of, name_of
from its.curation.overlaps import Benchmarks, Overlap
from its.curation.sample import sampled
from its.curation.split import one_side
from its.errors import DataError, FaultsError
from its.recipe.schema import Benchmark, Dataset, Decontamination, Duplicates, Sample, Split
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

    `problems` can be read once. Only when its end was reached are `steps`, `overlaps` and `duplicates` (problem_id that
    stays -> those that went) complete.
    """

    problems: Iterator[Problem]
    steps: list[StepCount] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    duplicates: Groups = field(default_factory=dict)


_NAMED = 10  # rows that an error names
_Work = Callable[[Iterable[Problem], StepCount], Iterator[Problem]]


def curate(
    problems: Iterable[Problem],
    declared: Dataset | Benchmark,
    benchmarks: Mapping[str, Sequence[Problem]],
    tools: Tools,
    name: str,
) -> Curated:
    """Take a problem set through its declared steps.

    Problems are streamed: filters, exact duplicates and decontamination hold none back but a batch, a sample holds as
    many as it keeps; a split and near duplicates hold all.

    Args:
        problems: in order of the source.
        declared: the recipe's entry.
        benchmarks: the problems of those in `decontamination.against`, by name, whole: before their split and sample.
        tools: what is asked of other rooms.
        name: of the set, for errors.

    Raises:
        DataError: while `problems` is read: nothing is left, fewer than the sample wants, a row lacks what it is to be
            stratified by, or rows overlap a benchmark and the action is `fail`.
        FaultsError: while `problems` of a benchmark is read: rows repeat a problem and `duplicates` is not declared,
            or give it another reference.
    """
    curated = Curated(iter(()))
    kind = declared.answer if isinstance(declared, Benchmark) else "math"

    def agree(one: str, other: str) -> bool:
        return tools.references_agree(one, other, kind)

    stream = _counted(curated, "loaded", _loaded, problems)
    if declared.split is not None:
        stream = _counted(curated, f"split {declared.split.keep}", partial(_split, declared.split), stream)
    if isinstance(declared, Dataset):
        for filter_ in declared.filters:
            stream = _counted(curated, name_of(filter_), partial(_filtered, check_of(filter_, tools)), stream)
    else:
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
    return Curated(_some(stream, curated.steps, name), curated.steps, curated.overlaps, curated.duplicates)


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


def _one_answer_each(rows: Iterable[Problem], declared: Benchmark, agree: Agree, name: str) -> Iterator[Problem]:
    """The same rows, unless some repeat a problem and nothing is declared for it."""
    repeats = Repeats(agree)
    for problem in rows:
        repeats.add(problem.row or f"`{problem.problem_id}`", problem)
        yield problem
    if faults := repeats.faults(name, declared.duplicates is not None):
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
