"""A declared problem set as `prepare` and `its recipe check` both read it: its rows, and the tools that grade them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from its.curation.filters import Tools
from its.errors import Fault, FaultyRowsError
from its.grading.grade import Grader, Item
from its.grading.references import compared_as_text as reference_as_text
from its.grading.references import references_agree, ungradable_references
from its.recipe.presets import PRESETS
from its.recipe.schema import AnswerKind, Benchmark, Dataset
from its.sources.filter_columns import with_filter_columns
from its.sources.load import load_problems
from its.sources.records import kept
from its.streams import streamed
from its.thinking import SOLUTION_MARKS
from its.types import Problem, Rejected, VerdictName


@streamed
def read_set(
    name: str, declared: Dataset | Benchmark, seed: int, project: Path
) -> Generator[Problem | Rejected, None, dict[str, Any]]:
    """The rows of a declared set, with the columns that its filters name; arguments and result as of `load_problems`.

    Raises:
        FaultsError: as `load_problems`; if few rows are faulty, with the rule that sets them aside.
    """
    rows = load_problems(
        name,
        with_filter_columns(declared),
        seed=seed,
        project=project,
        required=("reference",) if isinstance(declared, Benchmark) else ("solution",),
    )
    try:
        yield from rows
        return rows.result
    except FaultyRowsError as error:
        good = rows.taken - (declared.tolerate.rows if declared.tolerate else 0)  # the others were set aside
        if error.rows > good:
            raise  # the mapping is wrong, not the rows
        preset = PRESETS.get(declared.preset or "")
        known = f"; known of the preset `{declared.preset}`: {preset.faulty}" if preset and preset.faulty else ""
        message = f"{error.rows} {'rows are' if error.rows > 1 else 'row is'} faulty{known}"
        hint = f"`tolerate: {{rows: {error.rows}}}` sets aside what cannot be fixed, with its reason, and counts it"
        raise FaultyRowsError([*error.faults, Fault(f"`{name}`", message, hint)], error.rows) from error


def grading_tools(grader: Grader, count_tokens: Callable[[str, str], int]) -> Tools:
    """What curation needs of the grader and of `count_tokens`: (name of a declared model, text) -> tokens."""

    def verdict(problem: Problem, reference: str) -> VerdictName:
        solution = problem.solution or ""
        return grader.grade_one(Item(problem.problem_id, 0, solution, reference, "math", SOLUTION_MARKS)).verdict

    def ungradable(problems: Sequence[Problem], kind: AnswerKind) -> list[Fault | None]:
        rows = [(place_of(problem), problem.reference, kind) for problem in problems]
        faults = {fault.where: fault for fault in ungradable_references(rows)}
        return [faults.get(place) for place, _, _ in rows]

    return Tools(
        count_tokens=count_tokens,
        answer_agrees=lambda problem: None if problem.reference is None else verdict(problem, problem.reference),
        solution_parses=lambda problem: verdict(problem, problem.reference or "0") not in ("no_answer", "grader_error"),
        references_agree=lambda one, other, kind: references_agree(one, other, kind, grader),
        ungradable=ungradable,
    )


def compared_as_text(problems: Sequence[Problem], kind: AnswerKind) -> list[tuple[str, str]]:
    """(place, reason) of each problem whose reference is compared with answers as text."""
    why = ((problem, reference_as_text(problem.reference or "", kind)) for problem in problems)
    return [(place_of(problem), reason) for problem, reason in why if reason is not None]


def as_text_note(found: Sequence[tuple[str, str]]) -> str:
    """What such references mean for grading, with the first of them."""
    place, why = found[0]
    one = len(found) == 1
    count = "1 reference is" if one else f"{len(found)} references are"
    since = f"since {'it' if one else 'they'} cannot be read to the end ({place}: {why})"
    return f"{count} compared as text, {since}: the same text is correct, any other a `grader_error`"


def place_of(problem: Problem) -> str:
    """The name of a problem in errors: the place of its row, or its id if it has no row."""
    return problem.row or f"`{problem.problem_id}`"


def ungraded_row(problem: Problem, fault: Fault) -> Rejected:
    """The entry in the quarantine for a row whose reference cannot be graded."""
    values = {"problem_id": problem.problem_id, "reference": problem.reference, "problem": problem.text}
    remedies = [fault.hint] if fault.hint else []
    return Rejected(row=fault.where, reasons=[fault.message], remedies=remedies, raw=kept(values))
