"""Problem -> persona request -> persona text: which problems get a persona, the request, what is kept of the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from its.prompts.render import render
from its.recipe.schema import Fixed, PersonaRequest, Strategy
from its.seeds import derive_random
from its.strategies.rules import WORD_LETTERS
from its.thinking import Marks, PlainMarks, cut_thinking
from its.types import Problem


def persona_indices(asked: PersonaRequest) -> list[int | None]:
    """The indices of the personas of a problem; [None] if `count` is not set."""
    return [None] if asked.count is None else list(range(asked.count))


def draw_domain(strategy: Strategy, name: str, problem_id: str, seed: int, index: int | None = None) -> str | None:
    """The domain of one persona, uniform over the strategy's list, from (seed, strategy, problem_id) alone.

    Several personas of one problem get domains in a shuffled order of the list, so none repeats before all were used,
    and a larger `count` keeps those of a smaller one.
    """
    if not strategy.domains:
        return None
    drawn = derive_random(seed, "domain", name, problem_id)
    if index is None:
        return drawn.choice(strategy.domains)
    order = list(strategy.domains)
    drawn.shuffle(order)
    return order[index % len(order)]


def fixed_text(fixed: Fixed, name: str, problem_id: str, seed: int) -> str:
    """The text of the recipe that a problem gets, uniform over `texts`, from (seed, strategy, problem_id) alone.

    Its lines stay as they are; white space around the whole is removed: a block of YAML ends with a line end.
    """
    return derive_random(seed, "fixed", name, problem_id).choice(fixed.texts).strip()


def has_persona(strategy: Strategy, name: str, problem_id: str, seed: int) -> bool:
    """Whether this problem gets a persona: always, never, or with probability `share`, from its own seed."""
    if not strategy.has_context:
        return False
    return strategy.share is None or derive_random(seed, "share", name, problem_id).random() < strategy.share


def persona_messages(
    asked: PersonaRequest, template: str, problem: Problem, domain: str | None
) -> list[dict[str, str]]:
    """The chat for the writer: system turn, worked examples, then the problem, all from one template.

    Raises:
        DataError: if the template fails, with its path and line.
    """
    messages = [{"role": "system", "content": asked.system}] if asked.system else []
    for example in asked.examples:
        shown = Problem(problem_id="example", text=example.problem, source="example")
        messages.append({"role": "user", "content": _ask(asked, template, shown, example.domain)})
        messages.append({"role": "assistant", "content": example.persona})
    messages.append({"role": "user", "content": _ask(asked, template, problem, domain)})
    return messages


def _ask(asked: PersonaRequest, template: str, problem: Problem, domain: str | None) -> str:
    values: dict[str, object] = {"problem": problem}
    if domain is not None:
        values["domain"] = domain
    return render(template, f"recipes/{asked.template}", values)


def persona_answer(
    start: str | None, completion: str, marks: Marks | None, cut_short: bool, apart: str | None = None
) -> str:
    """The persona in a writer's response: its answer without its thinking, joined to the start by `persona_text`.

    A started answer replaces what the template would open, so the prompt opens a thought only if `start` itself ends
    within one (`start: <think>`); a thought in `start` is not part of the persona either.

    Args:
        start, completion: the started answer, and the writer's continuation.
        marks: of the writer's thinking; None if it has none.
        cut_short, apart: see `its.thinking.cut_thinking`.
    """
    if marks is not None and start is not None:
        begun = cut_thinking(start, PlainMarks(marks.start, marks.end, "model"), False)
        marks, start = PlainMarks(marks.start, marks.end, "model" if begun.finished else "prompt"), begun.answer
    return persona_text(start, cut_thinking(completion, marks, cut_short, apart).answer)


def persona_text(start: str | None, completion: str) -> str:
    """The persona as used: the started answer and its continuation, white space folded; empty without continuation."""
    if not completion.strip():
        return ""
    joined = (
        f"{start or ''} {completion}"
        if start and not completion[:1].isspace() and not start[-1:].isspace()
        else f"{start or ''}{completion}"
    )
    return " ".join(joined.split())


def truncate(text: str, max_words: int) -> str:
    """At most `max_words` words of a mean length, cut after the last whole sentence if there is one."""
    words = text[: WORD_LETTERS * max_words].split()[:max_words]
    cut = " ".join(words)
    ends = [match.end() for match in re.finditer(r"[.!?](?=\s|$)", cut)]
    return cut[: ends[-1]] if ends else cut


def best_attempt(attempts: Sequence[tuple[str, list[str]]]) -> int:
    """The index of the attempt that breaks the fewest rules, empty ones last; the earliest on a tie."""
    return min(range(len(attempts)), key=lambda index: ("empty" in attempts[index][1], len(attempts[index][1]), index))
