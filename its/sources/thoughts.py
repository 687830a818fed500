"""Reasoning traces in the one form that the project knows: `<think>`, the thought, `</think>`, the solution.

Recognised are that form with any white space, OpenThoughts' marks, and a thought that stands in a field of its own.
White space at the ends of thought and solution is dropped; nothing else is. A thought that was never ended keeps its
open `<think>` (the filter `complete_trace` knows it by that). Marks in any other order are a fault, not a guess: a
response has to be cut wherever its marks stand (`its.thinking`), a row to train on can be refused. What is accepted
here is cut there into the same thought and solution.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from its.sources.records import RowFault
from its.thinking import SOLUTION_MARKS, written_thought

ThoughtForm = Literal["think", "openthoughts", "fields"]

_OPEN, _CLOSE, _ = SOLUTION_MARKS
_BEGIN_THOUGHT, _END_THOUGHT = "<|begin_of_thought|>", "<|end_of_thought|>"
_BEGIN_SOLUTION, _END_SOLUTION = "<|begin_of_solution|>", "<|end_of_solution|>"
_MARK = re.compile(
    "|".join(map(re.escape, (_OPEN, _CLOSE, _BEGIN_THOUGHT, _END_THOUGHT, _BEGIN_SOLUTION, _END_SOLUTION)))
)


class Trace(NamedTuple):
    """A solution in the normal form and the form it had; `form` is None where there is no thought."""

    text: str
    form: ThoughtForm | None


def normal_trace(solution: str, thinking: str | None = None) -> Trace | RowFault:
    """The normal form of a solution, or why it has none.

    Args:
        solution: with whatever marks the source has.
        thinking: the thought where it stands apart; then neither may hold marks, but for a pair around the thought.
    """
    if thinking is not None:
        thought = thinking.strip()
        if thought.startswith(_OPEN) and thought.endswith(_CLOSE):
            thought = thought[len(_OPEN) : -len(_CLOSE)]
        mark = _mark(thought) or _mark(solution)
        if mark:
            message = f"the thought has its own field, yet the text contains `{mark}`"
            return RowFault(message, "map `solution` alone, or fix the row")
        return Trace(_joined(thought, solution), "fields")
    if not _mark(solution):
        return Trace(solution, None)
    text = solution.strip()
    form: ThoughtForm = "openthoughts" if text.startswith(_BEGIN_THOUGHT) else "think"
    parts = _openthoughts(text) if form == "openthoughts" else _think(text)
    if parts is not None and not any(_mark(part) for part in parts if part):
        return Trace(_joined(*parts), form)
    marks = _MARK.findall(solution)
    if marks == [_CLOSE]:
        return RowFault(
            "`</think>` without `<think>`: the prompt probably ended in `<think>`",
            "map `thinking: \"{{ row.X | before('</think>') }}\"` and `solution: \"{{ row.X | after('</think>') }}\"`",
        )
    shown = " ".join(f"`{mark}`" for mark in marks[:6]) + (" ..." if len(marks) > 6 else "")
    return RowFault(
        f"the marks of the reasoning are in no known order: {shown}",
        "expected a thought at the start, in `<think>` and `</think>` or in OpenThoughts' four marks, each once",
    )


def _mark(text: str) -> str | None:
    """The first mark in a text."""
    if "think>" not in text and "<|" not in text:  # plain searches are ten times as fast, and most texts have none
        return None
    found = _MARK.search(text)
    return found.group() if found else None


def _think(text: str) -> tuple[str, str | None] | None:
    if not text.startswith(_OPEN):
        return None
    thought, ended, solution = text[len(_OPEN) :].partition(_CLOSE)
    return thought, solution if ended else None


def _openthoughts(text: str) -> tuple[str, str | None] | None:
    thought, ended, rest = text[len(_BEGIN_THOUGHT) :].partition(_END_THOUGHT)
    if not ended:
        return thought, None
    rest = rest.lstrip()
    if not rest.startswith(_BEGIN_SOLUTION) or not rest.endswith(_END_SOLUTION):
        return None
    return thought, rest[len(_BEGIN_SOLUTION) : -len(_END_SOLUTION)]


def _joined(thought: str, solution: str | None) -> str:
    if solution is None:
        return f"{_OPEN}\n{thought.strip()}"
    return written_thought(thought, solution)
