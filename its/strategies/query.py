"""Problem + persona -> query: the one function behind training and test prompts (prompt parity starts here)."""

from __future__ import annotations

from its.prompts.render import render
from its.recipe.schema import Prompt, Strategy
from its.types import Message, Problem


def query_messages(strategy: Strategy, template: str, prompt: Prompt, problem: Problem, persona: str) -> list[Message]:
    """The chat without the answer.

    Args:
        template: text of `strategy.query`.
        persona: its text, empty where the problem has none.

    Raises:
        DataError: if a template fails, with its path and line.
    """
    in_system = strategy.place == "system"
    body = render(template, f"recipes/{strategy.query}", {"problem": problem, "persona": "" if in_system else persona})
    user = render(prompt.user, "prompt.user", {"query": body})
    parts = [prompt.system, persona if in_system else None]
    system = "\n\n".join(part for part in parts if part)
    messages = [Message(role="system", content=system)] if system else []
    return [*messages, Message(role="user", content=user)]
