"""What a reader has to know about cells before trusting their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from its.report.data import PersonaAccount, TrainedAccount
from its.results import CellResult, Comparison, VoteResult
from its.shown import counted

WARNED_RATE = 0.1  # of a cell's responses: from here on there is a warning
EQUAL_RATE = 0.9  # of a cell's problems, all of whose samples are equal
FLAGGED_RATE = 0.2  # of a strategy's personas: above it there is a warning


def setting_warnings(comparisons: Sequence[Comparison], votes: Sequence[VoteResult]) -> list[str]:
    """Each setting that differs between cells that are compared, or that vote together."""
    compared = [(row.name, row.different_settings) for row in comparisons]
    voted = [(f"{row.name} on {row.benchmark}", row.different_settings) for row in votes]
    return [*_differences("are compared", compared), *_differences("vote together", voted)]


def _differences(what: str, rows: Sequence[tuple[str, dict[str, list[str]]]]) -> list[str]:
    found: dict[str, list[str]] = {}
    for name, different in rows:
        for setting, values in different.items():
            found.setdefault(f"`{setting}` ({' / '.join(values)})", []).append(name)
    return [
        f"cells generated with different settings {what}: {setting}, in {'; '.join(dict.fromkeys(names))}"
        for setting, names in found.items()
    ]


def cell_warnings(cell: CellResult, *, max_tokens: int, temperature: float) -> list[str]:
    """Responses of a cell that were cut, loop, lack an answer, failed or are equal, where there are many."""
    out = []
    name = f"{cell.checkpoint} on {cell.benchmark}, test {cell.test}"
    if cell.truncated_rate >= WARNED_RATE:
        out.append(
            f"{name}: {100 * cell.truncated_rate:.0f} % of the responses were cut at max_tokens ({max_tokens}): with "
            "more its accuracy could be higher"
        )
    if cell.loop_rate >= WARNED_RATE:
        out.append(f"{name}: {100 * cell.loop_rate:.0f} % of the responses end in a repetition loop")
    if cell.no_answer_rate >= WARNED_RATE:
        out.append(f"{name}: {100 * cell.no_answer_rate:.0f} % of the responses contain no answer")
    if cell.errors:
        out.append(
            f"{name}: {cell.errors} of {cell.problems * cell.n} responses were refused, withheld or interrupted "
            "(finish_reason error); without a text they count as not correct"
        )
    if cell.n > 1 and cell.equal_samples >= EQUAL_RATE * cell.problems:
        out.append(
            f"{name}: the {cell.n} responses to each of {cell.equal_samples} of {cell.problems} problems are one text, "
            f"or less than half as many, word for word, at temperature {temperature:g}: either the engine (of a fleet "
            "each server) does not honour seeds, or the model is that certain; they carry no more information than "
            "those few texts"
        )
    if cell.grader_errors:
        out.append(f"{name}: the grader failed on {counted(cell.grader_errors, 'response')}; they count as not correct")
    return out


def solution_warnings(trained: Sequence[TrainedAccount]) -> list[str]:
    """Each dataset whose checkpoints were not all trained on the same problems, since some got no correct solution."""
    out = []
    for name in dict.fromkeys(row.set for row in trained):
        own = [row for row in trained if row.set == name]
        if any(row.rows_lost for row in own):
            told = ", ".join(f"{row.rows - row.rows_lost} of {row.rows} under {row.strategy}" for row in own)
            out.append(
                f"{name}: no correct solution was written for some problems, which are not trained on there (rows: "
                f"{told}): a difference between these checkpoints may come from the problems"
            )
    return out


def persona_warnings(accounts: Sequence[PersonaAccount], told: Callable[[str, Mapping[str, Any]], str]) -> list[str]:
    """Each strategy many of whose written personas break a rule: the rules, the share, and what to change.

    Args:
        accounts: of every set; those of a strategy are added up.
        told: (strategy, `flagged`, `personas` and `flags` of all its sets) -> these in words, with a remedy.
    """
    out = []
    written = [row for row in accounts if row.asked and row.flagged]
    for name in dict.fromkeys(row.strategy for row in written):
        own = [row for row in accounts if row.strategy == name]
        personas, flagged = sum(row.personas for row in own), sum(row.flagged or 0 for row in own)
        if flagged > FLAGGED_RATE * personas:
            flags = sum((Counter(row.flags) for row in own), Counter[str]())
            text = told(name, {"flagged": flagged, "personas": personas, "flags": flags})
            out.append(f"personas of {name} that were kept after the last attempt: {text}")
    return out
