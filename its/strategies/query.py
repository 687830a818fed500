"""Problem and personas -> query: one function for training and test prompts, so that they agree."""

from __future__ import annotations

import re
from functools import lru_cache

from its.prompts.render import render
from its.recipe.schema import Prompt, Strategy
from its.thinking import Marks
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
    body = render(template, f"recipes/{strategy.query}", values)
    frame = _plain_frame(prompt.user)
    if frame is None:
        user = render(prompt.user, "prompt.user", {"query": body})
    else:
        user = f"{frame[0]}{body}{frame[1]}".strip()
    system = "\n\n".join(part for part in (prompt.system, joined if in_system else None) if part)
    messages = [Message(role="system", content=system)] if system else []
    return [*messages, Message(role="user", content=user)]


def solution_turn(solution: str, marks: Marks | None) -> str:
    """The assistant's turn that is trained."""
    return solution


@lru_cache(maxsize=16)
def _plain_frame(user: str) -> tuple[str, str] | None:
    """The texts before and after the query in a frame without other Jinja; None for any other frame.

    Rendering gives the same, and would take a third of the stage's time for a second template per row.
    """
    match = re.fullmatch(r"([^{}\r]*)\{\{ ?query ?\}\}([^{}\r]*)", user)
    return None if match is None else (match[1], match[2])
