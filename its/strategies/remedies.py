"""What to change where personas break a rule, by rule and strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from its.recipe.schema import Recipe
from its.strategies.rules import RULES


def rule_remedies(recipe: Recipe, name: str) -> dict[str, str]:
    """For each rule what to change in a strategy whose personas break it, or in its writer.

    Args:
        name: of a strategy with `limits`; without them there are no rules and no remedies.
    """
    limits, writer = recipe.strategies[name].limits, recipe.writer
    if limits is None:
        return {}
    tokens, place = writer.sampling.max_tokens, f"strategies.{name}.limits"
    thinks = (
        f", enough for its thought (`models.{writer.model}.thinking`)" if recipe.models[writer.model].thinking else ""
    )
    return {
        "empty": f"ask for the persona alone in the template, or raise `writer.sampling.max_tokens` ({tokens}){thinks}",
        "brief": f"ask for {limits.min_words} words or more in the template, or lower `{place}.min_words`",
        "overlong": f"ask for fewer than {limits.max_words} words in the template, or raise `{place}.max_words` "
        f"({limits.max_words}) and `writer.sampling.max_tokens` ({tokens}){thinks}",
        "refuses": "reword the template, which the writer declines, or begin the answer: `persona.start`",
        "solves": "ask in the template not to solve the problem, or show examples that do not: `persona.examples`",
        "leaks": "ask in the template not to state the answer, or show examples that do not: `persona.examples`",
        "digits": f"ask for no numbers in the template, or take `digits` out of `{place}.checks`",
        "copies": "ask in the template for a person, not for the problem, or show examples: `persona.examples`",
        "language": f"name the language in the template, or begin the answer in it (`{place}.language`: "
        f"{limits.language})",
    }


def flagged_text(item: Mapping[str, Any], remedies: Mapping[str, str]) -> str:
    """The rules that the kept personas of one strategy break, how many break each, and what to change for the first.

    Args:
        item: `flagged`, `personas` and `flags` as in `data/personas/summary.json`, or sums of them.
        remedies: by rule.
    """
    counts = {rule: item["flags"][rule] for rule in RULES if item["flags"].get(rule)}
    told = ", ".join(f"{rule} {count}" for rule, count in counts.items())
    verb = "breaks" if item["flagged"] == 1 else "break"
    text = f"{item['flagged']} of {item['personas']} {verb} a rule ({told})"
    worst = max(counts, key=lambda rule: counts[rule], default="")
    return f"{text}: {remedies[worst]}" if worst in remedies else text
