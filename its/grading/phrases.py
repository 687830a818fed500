"""How models introduce an answer: the words, whether they are meant, and where they occur in a text."""

from __future__ import annotations

import re
from collections.abc import Iterable

TRIES = 64
"""More statements than this come from a model that loops; only the last ones are tried."""
WINDOW = 600
"""Characters after a lead in which its answer ends."""

ANSWER = r"answers?|ans|respuesta|antwort|r\u00e9ponse|risposta|resposta|\u0442\u0432\u0435\u0442|\u7b54\u6848"
"""The word for it: English, Spanish, German, French, Italian, Portuguese, Russian, Chinese."""
ANSWER_HINTS = (
    *("answer", "ans:", "ans.", "ans =", "ans=", "respuesta", "antwort", "r\u00e9ponse", "risposta", "resposta"),
    *("\u0442\u0432\u0435\u0442", "\u7b54\u6848"),
)
"""What is searched for, in lower case."""
CLOSING = r"(?:[^\S\n]|[*_`\"'\u201d\u2019)\]])*+"
"""What may close after it: `**Answer**:`."""


def spaced(pattern: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
    """A pattern in which each space matches 1 to 8 white space characters.

    The limit keeps patterns from scanning a long run of spaces again and again.
    """
    return re.compile(pattern.replace(" ", r"\s{1,8}"), flags)


IS = (
    r"(?:\b(?:is|are|was|were|becomes?|equals?|comes? (?:out )?to(?: be)?|(?:turns|works) out to(?: be)?|"
    r"(?:will|would|should|must|has to) (?:then |therefore )?be|es|ist|lautet|est|\u00e8|\u00e9)\b"
    r"|(?<=[A-Za-z])['\u2019]s\b|\u662f|\u5e94\u4e3a|\u4e3a|\u70ba)"
)
"""Between the word and the answer."""
GAP = (
    r"(?:[,(]|\b(?:to|for|in|of|as|we|you|I|that|then|thus|therefore|hence|here|now|rounded|on|when|using|from|after|"
    r"obtained|which)\b)(?:[^.:=\n?!;]|\.(?=[\w:)])){0,70}?"
)
"""What may be between the word and `IS`: "the answer to the question, in meters, is"."""
MARKS = "[*_`\"'\u201c\u201d\u2018\u2019]"
"""What may surround a word."""

_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppose|assum(?:e|es|ing)|imagine|unless|let|until|claim(?:s|ed)|thinks|thought|said|says|seems?|"
    r"might|may|could|would\s+you|does|did|why|check(?:ing)?|verify(?:ing)?|confirm(?:s|ing)?|test(?:ing)?)\b[^,.;:\n]*$",
    re.IGNORECASE,
)
_OTHERS = spaced(
    r"\b(?:wrong|incorrect|previous|earlier|initial|student(?:['\u2019]s)?|their|his|her|other|another|possible|"
    r"alternative|partial|intermediate|sub|old|sample|example|no|not the|not our|an?) (?:(?:final|correct) ){0,2}\Z"
)
BUT = spaced(r"\bbut (?:(?:rather|instead|actually|is|it is) ){0,2}")
"""After "not X", before the answer."""


def is_meant(text: str, at: int) -> bool:
    """Whether the words at `at` state the text's own answer: not supposed, asked, or about another's answer."""
    head = text[max(0, at - 80) : at]
    head = head[max(head.rfind(mark) for mark in "\n.!?:;") + 1 :]
    return not _SUPPOSED.search(head) and not _OTHERS.search(head)


def folded(text: str) -> str:
    """The text in lower case, character for character."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(one if len(one) == 1 else " " for one in map(str.lower, text))


def last_places(low: str, words: Iterable[str], after: int) -> list[int]:
    """Where any of some words occur in a lower-case text, last first; at most `TRIES` places."""
    found: list[int] = []
    for word in [word for word in words if word in low]:
        at = low.rfind(word, after)
        most = len(found) + TRIES
        while at >= 0 and len(found) < most:
            found.append(at)
            at = low.rfind(word, after, at)
    return sorted(set(found), reverse=True)[:TRIES] if len(found) > 1 else found
