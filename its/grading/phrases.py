"""How models lead up to an answer: the words, whether they are meant, and where they stand in a text."""

from __future__ import annotations

import re
from collections.abc import Iterable

TRIES = 64
"""More statements than this are a model that loops; the last ones are looked at."""
WINDOW = 600
"""Characters; what is said of an answer ends before."""

ANSWER = r"answers?|ans|respuesta|antwort|r\u00e9ponse|risposta|resposta|\u0442\u0432\u0435\u0442|\u7b54\u6848"
"""The word for it: English, Spanish, German, French, Italian, Portuguese, Russian, Chinese."""
ANSWER_HINTS = (
    *("answer", "ans:", "ans.", "ans =", "ans=", "respuesta", "antwort", "r\u00e9ponse", "risposta", "resposta"),
    *("\u0442\u0432\u0435\u0442", "\u7b54\u6848"),
)
"""How it is looked for, in lower case."""
CLOSING = r"(?:[^\S\n]|[*_`\"'\u201d\u2019)\]])*+"
"""What may close behind it: `**Answer**:`."""


def spaced(pattern: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
    """A pattern in which each space stands for white space of any kind.

    At most 8 characters of it, so that no pattern goes through a long run of blanks again and again.
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
"""What may stand between the word and `IS`: "the answer to the question, in meters, is"."""
MARKS = "[*_`\"'\u201c\u201d\u2018\u2019]"
"""What sets a word off."""

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
"""Behind "not X", before the answer."""


def is_meant(text: str, at: int) -> bool:
    """Whether the words at `at` say what the text holds true: not supposed, asked, or said of another's answer."""
    head = text[max(0, at - 80) : at]
    head = head[max(head.rfind(mark) for mark in "\n.!?:;") + 1 :]
    return not _SUPPOSED.search(head) and not _OTHERS.search(head)


def folded(text: str) -> str:
    """The text in lower case, character for character."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(one if len(one) == 1 else " " for one in map(str.lower, text))


def last_places(low: str, words: Iterable[str], after: int) -> list[int]:
    """Where any of some words stand in a text in lower case, from the last one on; at most `TRIES` of them."""
    found: list[int] = []
    for word in [word for word in words if word in low]:
        at = low.rfind(word, after)
        most = len(found) + TRIES
        while at >= 0 and len(found) < most:
            found.append(at)
            at = low.rfind(word, after, at)
    return sorted(set(found), reverse=True)[:TRIES] if len(found) > 1 else found
