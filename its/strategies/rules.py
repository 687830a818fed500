"""The rules for personas. A change of what a rule finds bumps `RULES_VERSION`."""

from __future__ import annotations

import re

from its.recipe.schema import Limits
from its.strategies.leaks import leaks
from its.types import Problem

RULES_VERSION = "4"

COPIED_WORDS = 5
COPIED_SHARE = 0.3
WORD_LETTERS = 64
"""Most characters per word on average: no language comes near. A text without a space is one word of any length."""

RULES = {
    "empty": "nothing was written, or nothing outside of a thought",
    "brief": "fewer words than `min_words`, but not empty",
    "overlong": f"more words than `max_words`, more than {WORD_LETTERS} characters for each, or cut by `max_tokens`",
    "refuses": "an apology or a statement of being an AI or unable",
    "solves": "an equation, a box, `answer is`, or the reference itself as a number",
    "leaks": "the persona contains the reference: as a number of the same value, an expression or a word",
    "digits": "any digit (numbers of the problem leak into the persona)",
    "copies": f"{COPIED_SHARE:.0%} or more of its runs of {COPIED_WORDS} words, or of the problem's, are in the other",
    "language": "another language than `language`; a text too short to tell is not flagged",
}
"""Rule -> what it finds; the report prints this table."""

_REFUSAL = re.compile(
    r"\b(i['\u2019]?m sorry|i am sorry|i cannot|i can['\u2019]?t|as an ai|unable to|not able to)\b", re.IGNORECASE
)
_SOLVES = re.compile(r"\\?boxed\b|\banswer is\b|\d\s*[-+*/\u00d7=]\s*\d|=\s*\d", re.IGNORECASE)


def persona_flags(text: str, finish_reason: str, limits: Limits, problem: Problem) -> list[str]:
    """The rules that a persona breaks, in the order of `limits.checks`."""
    return [check for check in limits.checks if _breaks(check, text, finish_reason, limits, problem)]


def _breaks(check: str, text: str, finish_reason: str, limits: Limits, problem: Problem) -> bool:
    reference = problem.reference
    match check:
        case "empty":
            return not text
        case "brief":
            return limits.min_words is not None and 0 < len(text.split()) < limits.min_words
        case "overlong":
            return (
                finish_reason == "length"
                or len(text) > WORD_LETTERS * limits.max_words
                or len(text.split()) > limits.max_words
            )
        case "refuses":
            return bool(_REFUSAL.search(text))
        case "solves":
            numbers = re.findall(r"\d+(?:\.\d+)?", text)
            return bool(_SOLVES.search(text)) or (reference is not None and reference in numbers)
        case "leaks":
            return reference is not None and leaks(reference, text)
        case "digits":
            return bool(re.search(r"\d", text))
        case "copies":
            return copied_share(text, problem.text) >= COPIED_SHARE
        case "language":
            return limits.language is not None and _language(text) not in (None, limits.language)
    raise ValueError(f"no rule `{check}`")  # the schema refuses others


def copied_share(text: str, other: str) -> float:
    """The share of runs of five words that occur in both texts, of the text with fewer of them; in [0, 1].

    So it is near 1 both for a persona that is a piece of the problem and for one that contains the whole problem. Case
    and punctuation do not count. A text of fewer than five words has no run and gives 0.
    """
    one, two = _runs(text), _runs(other)
    fewest = min(len(one), len(two))
    return len(one & two) / fewest if fewest else 0.0


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[start : start + COPIED_WORDS]) for start in range(len(words) - COPIED_WORDS + 1)}


def _language(text: str) -> str | None:
    from its.language import language_of  # its tables are loaded only if a recipe has this rule

    return language_of(text)
