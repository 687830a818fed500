"""Conversations like those of a study, with which a chat template is tried: contents that none can know beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from its.thinking import SOLUTION_MARKS, Marks

LENGTHS = (300, 3_000, 30_000)
"""Characters of long turns; a reasoning trace has 30,000."""
EARLIER = (1, 3)
"""Earlier turns of the assistant in a request with examples."""

_ROUGH = (
    "If $\\frac{{1}}{2}x < 3$ & {{ braces }} {% raw %} {# stay #} <b>\"a\"</b> 'b' \\n\n\n\n- \u00e9 \u65e5\u672c "
    "\U0001f600\n\n    four,\ta tab,  two spaces \n|end|\n\n1. \\boxed{5}"
)

Turns = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ChatUse:
    """What a study sends to a model, and what it trains.

    Args:
        trained: by kind of conversation, whether it begins with a system turn; empty if the model is not trained.
        asked: the same of requests to the model that are not trained, as to a writer or judge.
        examples: whether such requests contain earlier turns of the assistant.
        starts: beginnings of answers that the model continues.
        system_of: what the system turns come from, for the fault of a template without them.
        tokens: named special tokens, as (`eos_token`, text); others get a placeholder.
        marks: of the model's thinking; None if it declares none.
        thoughts: whether solutions may contain a thought, `plain`: whether they may lack one.
    """

    trained: tuple[bool, ...] = ()
    asked: tuple[bool, ...] = (False,)
    examples: bool = True
    starts: tuple[str, ...] = ()
    system_of: str = ""
    tokens: tuple[tuple[str, str], ...] = ()
    marks: Marks | None = None
    thoughts: bool = False
    plain: bool = True


ANY_USE = ChatUse()
"""Of a model that is not trained, and may be sent earlier turns."""


class Case(NamedTuple):
    """A conversation; `answer` is the turn that is trained, `start` one that the model continues."""

    turns: Turns
    answer: str | None = None
    start: str | None = None
    thought: bool = False

    @property
    def last(self) -> str | None:
        return self.answer if self.start is None else self.start


def secret_of(source: str) -> str:
    """A text that the template does not contain: it depends on all of it."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def conversations(source: str, use: ChatUse) -> Iterator[Case]:
    """Conversations of every kind of the study, with short, long and rough contents."""
    secret = secret_of(source)

    def text(kind: str, number: int) -> str:
        begin = f"{kind}{number} {secret}"
        if number == 0:
            return f"{begin}?"
        if number == 1:
            return f"{begin}: {_ROUGH}"
        return f"{begin} {'so it is ' * LENGTHS[number - 2]}"[: LENGTHS[number - 2]].strip()

    def begun(system: bool, number: int) -> list[tuple[str, str]]:
        return [("system", text("s", number))] if system else []

    numbers = range(2 + len(LENGTHS))
    for system in use.trained:
        for number in numbers:
            turns = [*begun(system, number), ("user", text("u", number))]
            for answer, thought in _answers(text("t", number), text("a", number), use):
                yield Case(turns, answer, thought=thought)
        turns = [*begun(system, 0), ("user", text("u", 0))]
        for answer, thought in _answers("", text("a", 0), use):
            yield Case(turns, answer, thought=thought)
        for answer, thought in _answers(secret[1], secret[0], use):
            yield Case([*begun(system, 0), ("user", secret[2])], answer, thought=thought)
    for system in use.asked:
        for number in numbers:
            yield Case([*begun(system, number), ("user", text("u", number))])
        for count in EARLIER if use.examples else ():
            earlier = [(role, text(f"{role[0]}{at}", at % 2)) for at in range(count) for role in ("user", "assistant")]
            yield Case([*begun(system, 0), *earlier, ("user", text("u", 0))])
        for start in use.starts:
            yield Case([*begun(system, 0), ("user", text("u", 0))], start=start)


def _answers(thought: str, answer: str, use: ChatUse) -> Iterator[tuple[str, bool]]:
    """The turns that are trained on one solution, without a thought and with one, as `prepare` writes it."""
    marks = use.marks or SOLUTION_MARKS
    prompted = use.marks is not None and use.marks.opened_by == "prompt"
    if use.plain and not prompted:
        yield answer, False
    if use.thoughts or prompted:
        body = f"{thought}\n{marks.end.strip()}\n\n{answer}"
        yield body.lstrip() if prompted else f"{marks.start.strip()}\n{body}", True


def chats_of(case: Case, parts: bool) -> Iterator[dict[str, Any]]:
    """The prompt as an engine is sent it; with an answer the whole row; with `parts` the prompt as vLLM sends it."""
    turns = [{"role": role, "content": content} for role, content in case.turns]
    answer = [{"role": "assistant", "content": case.last}]
    if case.start is None:
        yield {"messages": turns, "add_generation_prompt": True}
    if case.last is not None:
        yield {"messages": [*turns, *answer], "add_generation_prompt": False}
    if parts and case.start is None:
        split = [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        yield {"messages": split, "add_generation_prompt": True}
