"""Problem and personas -> query by one function for training and test; solution -> the turn that is trained."""

from __future__ import annotations

import re
from functools import lru_cache

from its.errors import DataError
from its.prompts.render import render
from its.recipe.schema import Prompt, Strategy
from its.thinking import SOLUTION_MARKS, Marks, PlainMarks, cut_thinking
from its.types import Message, Problem


def query_messages(
    strategy: Strategy, template: str, prompt: Prompt, problem: Problem, personas: list[str]
) -> list[Message]:
    """The chat without the answer.

    The template reads `personas` one by one, or all of them as `persona`, joined by a blank line. If they are in the
    system turn it receives neither.

    Args:
        template: text of `strategy.query`.
        personas: their texts, none of them empty; [] if the problem has none.

    Raises:
        DataError: if a template fails, with its path and line.
    """
    joined = "\n\n".join(personas)
    in_system = strategy.place == "system"
    values = {
        "problem": problem,
        "persona": "" if in_system else joined,
        "personas": [] if in_system else personas,
    }
    body = render(template, f"recipes/{strategy.template}", values)
    frame = _plain_frame(prompt.user)
    if frame is None:
        user = render(prompt.user, "prompt.user", {"query": body})
    else:
        user = f"{frame[0]}{body}{frame[1]}".strip()
    system = "\n\n".join(part for part in (prompt.system, joined if in_system else None) if part)
    messages = [Message(role="system", content=system)] if system else []
    return [*messages, Message(role="user", content=user)]


@lru_cache(maxsize=16)
def _plain_frame(user: str) -> tuple[str, str] | None:
    """The texts before and after the query in a frame without other Jinja; None for any other frame.

    Rendering gives the same, and would take a third of the stage's time for a second template per row.
    """
    match = re.fullmatch(r"([^{}\r]*)\{\{ ?query ?\}\}([^{}\r]*)", user)
    return None if match is None else (match[1], match[2])


class UnfitSolution(ValueError):
    """A solution that a model's prompt leaves no place for; the text says what is wrong with it, to follow `it`."""


def solution_turn(solution: str, marks: Marks | None, closed: bool = False) -> str:
    """The assistant's turn that is trained on a solution: what follows the prompt, up to the end of turn.

    | prompt | solution | turn |
    |---|---|---|
    | ends within no thought | any | verbatim, with the model's own marks in place of `SOLUTION_MARKS` |
    | opens a thought (`opened_by: prompt`) | `<think>a</think>5` | `a</think>5`: the mark is in the prompt |
    | the same | `a</think>5` | verbatim |
    | the same | without a whole thought, or with text before it | refused |
    | closes a thought (`closed`) | without a mark | verbatim |
    | the same | with a thought | refused |

    Of several thoughts only the mark of the first is in the prompt. An empty thought is a thought.

    Args:
        marks: `models.NAME.thinking`; None changes nothing, and those of solutions are looked for if `closed`.
        closed: whether the chat template ends the prompt after a thought (`its.prompts.chat.closes_thought`).

    Raises:
        UnfitSolution: if it is refused, or contains both kinds of marks.
    """
    if marks is None:
        if not closed:
            return solution
        marks = SOLUTION_MARKS
    turn = _with_own_marks(solution, marks)
    own = PlainMarks(marks.start.strip(), marks.end.strip(), marks.opened_by)
    if closed:
        if own.start in turn or own.end in turn:
            raise UnfitSolution(
                f"contains `{own.start if own.start in turn else own.end}`, and the prompt ends a thought"
            )
        return turn
    if marks.opened_by != "prompt":
        return turn
    either = "|".join(re.escape(mark) for mark in sorted((own.start, own.end), key=len, reverse=True))
    first = re.search(either, turn)
    if first is not None and first[0] == own.start and not turn[: first.start()].strip():
        turn = turn[first.end() :].lstrip()
    elif first is not None and first[0] == own.start != own.end:
        raise UnfitSolution(f"has text before `{own.start}`")
    if not cut_thinking(turn, own, False).finished:
        raise UnfitSolution(f"has no whole thought, up to `{own.end}`")
    return turn


def _with_own_marks(solution: str, marks: Marks) -> str:
    """The solution with the model's marks.

    Raises:
        UnfitSolution: if it contains both kinds: then a thought would end where it does not.
    """
    pairs = [(SOLUTION_MARKS.start, marks.start.strip()), (SOLUTION_MARKS.end, marks.end.strip())]
    changed = {ours: own for ours, own in pairs if ours != own}
    if not changed or not any(ours in solution for ours, _ in pairs):
        return solution
    for own in sorted(set(changed.values())):
        if own in solution:
            raise UnfitSolution(f"contains `{own}` of the model beside `{SOLUTION_MARKS.start}`")
    return re.sub("|".join(map(re.escape, changed)), lambda found: changed[found[0]], solution)


class SolutionTurns:
    """The trained turns of one model's rows; solutions that do not fit are counted and refused together.

    Args:
        model: its name in the recipe.
        marks, closed: as in `solution_turn`.
    """

    def __init__(self, model: str, marks: Marks | None, closed: bool = False) -> None:
        self._model, self._marks, self._closed = model, marks, closed
        self._rows = 0
        self._unfit: list[tuple[str, str]] = []

    def turn(self, where: str, name: str, solution: str) -> str:
        """The turn of one row; the solution itself if it does not fit, which `refuse` reports.

        Args:
            where: the file of the row and its line.
            name: the row's name in its file.
        """
        self._rows += 1
        try:
            return solution_turn(solution, self._marks, self._closed)
        except UnfitSolution as error:
            self._unfit.append((where, f"the solution of `{name}` {error}"))
            return solution

    def refuse(self) -> None:
        """End the stage if a solution did not fit.

        Raises:
            DataError: with their number and the first of them.
        """
        if not self._unfit:
            return
        where, wrong = self._unfit[0]
        number = f"{len(self._unfit)} of {self._rows} solutions cannot be trained on by `{self._model}`"
        if self._closed:
            why = "its prompt ends a thought, so a solution must have none"
            hint = "let the template open no thought (`template_kwargs: {enable_thinking: true}`), or map no `thinking`"
        elif self._marks is not None and self._marks.opened_by == "prompt":
            start, end = self._marks.start.strip(), self._marks.end.strip()
            why = f"its prompt opens a thought, so a solution must be `{start}`, the thought, `{end}`, the answer"
            hint = (
                "map the reasoning (`fields: {thinking: ...}` of the dataset), leave rows without it out "
                "(`fields: {meta: {mark: ...}}` with the filter `column`), or give the model a chat template whose "
                "prompt opens no thought, and `opened_by: model`"
            )
        else:
            why, hint = "they have marks of two kinds", "write the reasoning between `<think>` and `</think>` alone"
        raise DataError(f"{where}: {wrong}; {number}: {why}", hint)
