"""Problem -> persona request -> persona text, and the stated rules for what a writer does badly."""

from __future__ import annotations

import re
from collections.abc import Sequence

from its.prompts.render import render
from its.recipe.schema import Limits, PersonaRequest, Strategy
from its.seeds import derive_random
from its.types import Problem

RULES_VERSION = "1"

RULES = {
    "empty": "nothing was written",
    "overlong": "more words than `max_words`, or cut by `max_tokens`",
    "refuses": "an apology or a statement of being an AI or unable",
    "solves": "an equation, a box, `answer is`, or the reference itself as a number",
    "digits": "any digit (numbers of the problem leak into the persona)",
}
"""Rule -> what it finds; the report prints this table."""

_REFUSAL = re.compile(
    r"\b(i['\u2019]?m sorry|i am sorry|i cannot|i can['\u2019]?t|as an ai|unable to|not able to)\b", re.IGNORECASE
)
_SOLVES = re.compile(r"\\?boxed\b|\banswer is\b|\d\s*[-+*/\u00d7=]\s*\d|=\s*\d", re.IGNORECASE)


def draw_domain(strategy: Strategy, name: str, problem_id: str, seed: int) -> str | None:
    """The domain of one problem: uniform over the strategy's list, from (seed, strategy, problem_id) alone."""
    if not strategy.domains:
        return None
    return derive_random(seed, "domain", name, problem_id).choice(strategy.domains)


def has_persona(strategy: Strategy, name: str, problem_id: str, seed: int) -> bool:
    """Whether this problem gets a persona: always, never, or with chance `share`, from its own seed."""
    if strategy.persona is None:
        return False
    return strategy.share is None or derive_random(seed, "share", name, problem_id).random() < strategy.share


def persona_messages(
    asked: PersonaRequest, template: str, problem: Problem, domain: str | None
) -> list[dict[str, str]]:
    """The chat for the writer: system turn, worked examples, then the problem, all through one template.

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


def persona_text(start: str | None, completion: str) -> str:
    """The persona as used: the started answer and what followed, white space folded; empty if nothing followed."""
    if not completion.strip():
        return ""
    joined = (
        f"{start or ''} {completion}"
        if start and not completion[:1].isspace() and not start[-1:].isspace()
        else f"{start or ''}{completion}"
    )
    return " ".join(joined.split())


def persona_flags(text: str, finish_reason: str, limits: Limits, problem: Problem) -> list[str]:
    """The rules that a persona breaks, in the order of `limits.checks`; [] is a good one."""
    reference = problem.reference
    numbers = re.findall(r"\d+(?:\.\d+)?", text)
    broken = {
        "empty": not text,
        "overlong": finish_reason == "length" or len(text.split()) > limits.max_words,
        "refuses": bool(_REFUSAL.search(text)),
        "solves": bool(_SOLVES.search(text)) or (reference is not None and reference in numbers),
        "digits": bool(re.search(r"\d", text)),
    }
    return [check for check in limits.checks if broken[check]]


def truncate(text: str, max_words: int) -> str:
    """At most `max_words` words, cut after the last whole sentence where there is one."""
    words = text.split()[:max_words]
    cut = " ".join(words)
    ends = [match.end() for match in re.finditer(r"[.!?](?=\s|$)", cut)]
    return cut[: ends[-1]] if ends else cut


def best_attempt(attempts: Sequence[tuple[str, list[str]]]) -> int:
    """The index of the attempt with the fewest broken rules, an empty one last; the earliest on a tie."""
    return min(range(len(attempts)), key=lambda index: ("empty" in attempts[index][1], len(attempts[index][1]), index))
