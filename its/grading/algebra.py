"""Comparisons that need algebra. They run in the worker processes of `its.grading.pool`, which limit their time."""

from __future__ import annotations

from itertools import product

from its.grading.equal import GraderError
from its.grading.formula.nodes import Node
from its.grading.formula.reading import Reading, read
from its.grading.formula.same import same
from its.grading.formula.values import UndecidedError
from its.grading.normalise import AnswerKind


def equivalent(answer: str, reference: str, kind: AnswerKind) -> bool:
    """Whether an answer is the reference in another form, where the exact path could not decide.

    Raises:
        GraderError: it cannot be decided.
    """
    given, wanted = read(answer, kind != "math"), read(reference, kind != "math")
    if _letter(wanted) is not None and _letter(wanted) == given.option:
        return True  # the reference is an option, and the answer names it before its value
    if _letter(given) is not None and _letter(given) == wanted.option:
        return True
    undecided: GraderError | None = None
    for one, other in product(_nodes(given), _nodes(wanted)):
        try:
            if same(one, other):
                return True
        except UndecidedError as error:
            undecided = undecided or GraderError(str(error))
    if undecided is not None:
        raise undecided
    return False


def _nodes(reading: Reading) -> list[Node]:
    return [node for node in (reading.node, *reading.others) if node is not None]


def _letter(reading: Reading) -> str | None:
    """The letter, if the answer is a single letter."""
    node = reading.node
    return node.text if node is not None and node.op == "symbol" and reading.option is None else None
