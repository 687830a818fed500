r"""What a text says of its answer in words: "The answer is 18. Check: ...", `**Answer:** $x+1$`, "so 18 is the answer".

A lead ("the final answer is", "Answer:") counts if an answer can be read behind it; of those that count the last one
does. At once behind the lead a formula or number is read, as far as it goes (`its.grading.formulas`). Else, where the
sentence says it later ("the answer is the number of eggs, which is 18"), that; what is neither ("the answer is right",
"is an integer of 3 digits") is no statement. Nor is what is supposed ("if the answer is 5"), asked, denied, or said of
somebody else's answer.
"""

from __future__ import annotations

import re
from collections import deque

from its.grading.formulas import WINDOW, Found, read_formula, sentence_end
from its.grading.normalise import AnswerKind

TRIES = 64
"""More statements than this are a model that loops; the last ones are looked at."""

_WORD = (
    r"(?<![A-Za-z])(?:answers?|ans(?=\s{0,8}[.:=])|respuesta|antwort|r\u00e9ponse|resposta|risposta)(?![A-Za-z])"
    r"|\u7b54\u6848|\u0442\u0432\u0435\u0442(?=\s{0,8}[:\u2014-])"
)
_HINTS = ("answer", "ans:", "ans.", "ans =", "ans=", "respuesta", "antwort", "ponse", "risposta", "resposta")
_HINTS += ("\u7b54\u6848", "\u0442\u0432\u0435\u0442")
_CLOSING = r"(?:[^\S\n]|[*_`\"'\u201d\u2019)\]])*+"
_VERB = (
    r"(?:\b(?:is|are|was|were|becomes?|equals?|comes?\s{1,8}(?:out\s{1,8})?to(?:\s{1,8}be)?|(?:turns|works)\s{1,8}out\s{1,8}to(?:\s{1,8}be)?|"
    r"(?:will|would|should|must|has\s{1,8}to)\s{1,8}(?:then\s{1,8}|therefore\s{1,8})?be|es|ist|lautet|est|\u00e8|\u00e9)\b"
    r"|(?<=[A-Za-z])['\u2019]s\b|\u662f|\u4e3a|\u70ba)"
)
_GAP = (
    r"(?:\s{0,8}[,(]|\s{1,8}(?:to|for|in|of|as|we|you|I|that|then|thus|therefore|hence|here|now|rounded|on|when|using|from|"
    r"after|correct|obtained)\b)(?:[^.:=\n?!;]|\.(?=[\w:)])){0,70}?"
)
_LEAD = re.compile(
    rf"(?:{_WORD})(?:"
    rf"{_CLOSING}(?P<colon>[:=\uff1a\uff1d]|-+>|=>|\u2192|[\u2014\u2013-](?=\s))"
    rf"|{_CLOSING}\s{{0,8}}(?P<verb>{_VERB})"
    rf"|(?P<gap>{_GAP}(?P<reach>\s{{0,8}}{_VERB}|[*_)]*[:\uff1a]))"
    rf"|{_CLOSING}(?P<heading>\n)"
    r"|(?P<none>(?:\s{1,8}(?:of|as))?\s{0,8},?\s{1,8}(?=[-+$\\(\[{]?(?:[0-9$\\(\[{]|[A-Za-z](?![A-Za-z])))))"
    r"|^[^\S\n]*+[*_#>]*+(?P<short>A)[^\S\n]*+:",
    re.IGNORECASE | re.MULTILINE,
)
_BEFORE = re.compile(
    r"(?:\b(?:is|as|was|be|gives|equals)\s{1,8}(?:(?:indeed|therefore|thus|then|also|exactly|just|simply)\s{1,8})?"
    r"(?:the|our|my|your)\s{1,8}(?:(?:final|correct|right|required|desired|exact|only)\s{1,8}){0,2}answer\b)",
    re.IGNORECASE,
)
"""Behind an answer: "18 is the answer"."""
_SPLIT = re.compile(
    r".*(?:[.:;!?]\s|,\s(?=[A-Za-z]{2})|\n|\b(?:so|therefore|thus|hence|then|that|and|gives?|gets?|have|see|conclude|means|value|number|"
    r"result|total|is|are|with|obtain)\b)",
    re.DOTALL | re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppose|assum(?:e|es|ing)|imagine|unless|let|until|claim(?:s|ed)|thinks|thought|said|says|seems?|"
    r"might|may|could|would\s{1,8}you|does|did|why)\b[^,.;:\n]*$",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    r"\b(?:wrong|incorrect|previous|earlier|initial|student(?:['\u2019]s)?|their|his|her|other|another|possible|alternative|"
    r"partial|intermediate|sub|old|former|sample|example|no|not\s{1,8}the|not\s{1,8}our|an?)\s{1,8}(?:(?:final|correct)\s{1,8})*$",
    re.IGNORECASE,
)
_FINAL = re.compile(r"final\s{0,8}$", re.IGNORECASE)
_OWN = re.compile(r"\b(?:the|our|my|final|correct)\s{1,8}(?:(?:final|correct|exact)\s{1,8})*$", re.IGNORECASE)
_HEADING = re.compile(r"[\s#*_>\d.)-]*(?:the\s{1,8}|my\s{1,8})?(?:(?:final|correct|boxed)\s{1,8}){0,2}$", re.IGNORECASE)
_FILLER = re.compile(
    r"(?:[\s*_`\"\u201c\u201d'\u2018\u2019:\uff1a=\uff1d>]|\\(?:q?quad|displaystyle)(?![A-Za-z])|\\[,;:! \"'`]|Rs\.?(?=\s?[0-9])|\u20b9"
    r"|(?:therefore|thus|then|hence|so|simply|just|indeed|still|exactly|clearly|obviously|precisely|now|also|really|"
    r"actually|definitely|probably|likely|certainly|equal\s{1,8}to|equals|given\s{1,8}by|as\s{1,8}follows|the\s{1,8}following|only|"
    r"either|that|of|value|is|are|be)\b,?)*+",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[\s*_`\"\u201c\u201d'\u2018\u2019]*")
_OPTION = re.compile(r"\(?[A-J]\)?|\\(?:text|textbf|mathrm|mathbf)\s?\{\s?\(?[A-J]\)?\s?\}")
_BULLET = re.compile(r"-\s(?=\S)")
_ABOUT = re.compile(
    r"(?:approximately|approx\.?|about|roughly|around|nearly|almost|close\s{1,8}to|\u2248|\\approx\b|~)\s{0,8}", re.I
)
_NOT = re.compile(r"(?:not|never|neither|n['\u2019]t)\b", re.IGNORECASE)
_BUT = re.compile(
    r"\bbut\s{1,8}(?:rather\s{1,8}|instead\s{1,8}|actually\s{1,8}|is\s{1,8}|it\s{1,8}is\s{1,8})*", re.IGNORECASE
)
_LATER = re.compile(
    r"\b(?:is|are|was|were|equals?|will\s{1,8}be|would\s{1,8}be|makes|totals)\b\s{0,8}:?|(?<![<>!=])=(?!=)|:",
    re.IGNORECASE,
)
_DOES = re.compile(
    r"\b(?:has|have|had|makes?|made|gets?|got|needs?|needed|costs?|earns?|earned|pays?|paid|takes?|took|spends?|spent|"
    r"sells?|sold|gives?|gave|leaves?|left|reads?|eats?|ate|buys?|bought|saves?|saved|(?:total|value|sum|amount)\s{1,8}of|"
    r"there\s{1,8}(?:are|is|were|was|will\s{1,8}be))\s{1,8}(?:(?:exactly|about|a\s{1,8}total\s{1,8}of|only)\s{1,8})*",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"(?:,|:|\s[\u2014\u2013-])\s{1,8}")
_VERBISH = re.compile(
    r"\b(?:is|are|was|were|has|have|had|do|does|did|can|will|would|should|makes?|made|gets?|got|gives?|gave|needs?|costs?|"
    r"sold|sells?|buys?|bought|ate|eats?|takes?|took|goes|went|arrives?|pays?|paid|spends?|spent|earns?|reads?|plus|minus|"
    r"planted|picked|there|he|she|they|we|it|then)\b",
    re.IGNORECASE,
)
_ENDS_CLAUSE = re.compile(r"[,;(]|\b(?:since|because|as|which|so|where)\b", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*(?:\s[^\W\d_]+(?:['\u2019-][^\W\d_]+)*){0,3}")
_NO_ANSWERS = frozenset(
    "correct right wrong incorrect obvious clear unclear unknown not in to given found obtained based derived calculated "
    "shown below above here available required needed the a an that what this it as simple simplified expressed written "
    "rounded boxed verified confirmed consistent reasonable complete provided presented one of for by from also at on "
    "still already more less greater between choice option i we you he she they please and or but so therefore".split()
)
"""First words of what is said about an answer and is none."""


def said_answer(text: str, kind: AnswerKind, after: int, cut_short: bool = False) -> Found | None:
    """The last answer that is said in words; not of kind `choice`.

    Args:
        after: leads count from here on. Where it is not 0 something was said outright before: then only a formula or
            number at once behind the lead takes its place, and not an approximate one.
        cut_short: whether the limit of tokens ended the text: what ends with it may be half a number.
    """
    if not _may_say(text, after):
        return None
    leads: deque[re.Match[str]] = deque(_LEAD.finditer(text, after), maxlen=TRIES)
    backwards = deque(_BEFORE.finditer(text, after), maxlen=TRIES)
    found: Found | None = None
    for lead in reversed(leads):
        # An approximation does not take the place of the exact answer before it.
        said = _behind(text, lead, kind, strict=after > 0 or found is not None)
        found = said or found
        if said is not None and not _ABOUT.search(text, lead.end(), said.start):
            break
    for mark in reversed(backwards):
        if found is not None and found.end > mark.start():
            break
        if (said := _ahead(text, mark, after, kind)) is not None:
            found = said
            break
    return None if found is None or (cut_short and found.end >= len(text)) else found


def stated_alone(text: str, kind: AnswerKind) -> Found | None:
    """What a short text is, where it is an answer and nothing else but its unit."""
    at = _MARKUP.match(text).end()  # type: ignore[union-attr]
    found = read_formula(text, at, len(text), kind)
    if found is None:
        return None
    rest = text[found.end :].strip(" .*_`\"'$\n")
    return found if re.fullmatch(r"(?:[A-Za-z/]+(?:\s[A-Za-z/]+){0,2})?", rest) and not _VERBISH.search(rest) else None


def _may_say(text: str, after: int) -> bool:
    folded = (text[after:] if after else text).lower()
    return any(hint in folded for hint in _HINTS) or folded.startswith("a:") or "\na:" in folded or "a:**" in folded


def _behind(text: str, lead: re.Match[str], kind: AnswerKind, *, strict: bool) -> Found | None:
    start = lead.start()
    head = text[max(0, start - 80) : start]
    head = head[max(head.rfind(mark) for mark in "\n.!?:;") + 1 :]
    if lead.group("short") is not None:
        return _line(text, lead.end(), kind)
    if _SUPPOSED.search(head) or _OTHERS.search(head):
        return None
    stop = min(len(text), lead.end() + WINDOW)
    colon = lead.group("colon") is not None or lead.group()[-1] in ":\uff1a"
    if lead.group("heading") is not None:
        if not _HEADING.fullmatch(head):
            return None
        colon = True
    if lead.group("none") is not None:
        if not _OWN.search(head):
            return None
        found = read_formula(text, lead.end(), stop, kind)
        return found if found and not re.match(r"[^\S\n]*[A-Za-z:]", text[found.end :]) else None
    final = _FINAL.search(head) is not None
    return _value(text, lead.end(), stop, kind, strict=strict, plain=bool(colon) and not final, first=start < 12)


def _line(text: str, at: int, kind: AnswerKind) -> Found | None:
    """`A: 18`, where that is all of the line."""
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    if end - at > WINDOW:
        return None
    return _shifted(stated_alone(text[at:end], kind), at)


def _value(
    text: str, at: int, stop: int, kind: AnswerKind, *, strict: bool, plain: bool, first: bool, denied: bool = False
) -> Found | None:
    """The answer behind a lead that ends at `at`.

    Args:
        strict: only a formula at once, and no approximation.
        plain: behind a mere "answer:", which is also a heading over a whole solution.
        first: whether the lead begins the text.
    """
    at = _FILLER.match(text, at, stop).end()  # type: ignore[union-attr]
    if (bullet := _BULLET.match(text, at, stop)) and "\n" in text[max(0, at - 3) : at]:
        at = bullet.end()
    if _NOT.match(text, at, stop):
        but = None if denied else _BUT.search(text, at, sentence_end(text, at, stop))
        return but and _value(text, but.end(), stop, kind, strict=strict, plain=plain, first=first, denied=True)
    about = _ABOUT.match(text, at, stop)
    if about is not None:
        if strict:
            return None
        at = about.end()
    end = sentence_end(text, at, stop)
    if text[end : end + 1] in ("?", "\uff1f"):
        return None
    found = read_formula(text, at, stop, kind)
    if found is not None and strict and _OPTION.fullmatch(found.answer):
        return None  # the letter of the option that is boxed
    if found is not None:
        return found if not plain or _stands(text, at, found.end, end, first) else None
    if strict or text[at : at + 1] == "$" or text.startswith(("\\(", "\\["), at):  # a formula that does not end
        return None
    if plain and re.search(r"[0-9]", text[end:]):
        return None
    return _later(text, at, end, kind)


def _stands(text: str, at: int, behind: int, end: int, first: bool) -> bool:
    """Whether what a heading has below it is an answer, and not the first sentence of a solution: `3 cars are there`.

    Args:
        at, behind: where the answer begins and ends.
        end: of its sentence.
    """
    rest = text[behind:end]
    clause = _ENDS_CLAUSE.search(rest)
    if _VERBISH.search(rest, 0, clause.start() if clause else len(rest)):
        return False
    works = first and "=" in text[at:behind] and re.search(r"[0-9]\s*[-+*/\u00d7]\s*[0-9]", text[at:behind])
    return not (works and "=" in text[behind:])


def _later(text: str, at: int, end: int, kind: AnswerKind) -> Found | None:
    """The answer that a sentence says after some words: behind its last verb, as its last clause, or as one number."""
    sentence = text[at:end]
    for verb in reversed(list(_LATER.finditer(sentence))[-8:]):
        place = at + verb.end()
        place = _FILLER.match(text, place, end).end()  # type: ignore[union-attr]
        if _NOT.match(text, place, end):
            return None
        if (found := read_formula(text, place, end, kind)) is not None:
            return found
    clauses = list(_CLAUSE.finditer(sentence))
    if clauses and (found := _shifted(stated_alone(sentence[clauses[-1].end() :], kind), at + clauses[-1].end())):
        return found
    numbers = re.findall(r"[0-9]+(?:[.,/][0-9]+)*", sentence)
    if len(numbers) == 1:
        for verb in _DOES.finditer(sentence):
            if (found := read_formula(text, at + verb.end(), end, kind)) is not None:
                return found
    return _in_words(text, at, end) if kind == "math" and not numbers else None


def _in_words(text: str, at: int, end: int) -> Found | None:
    """A name or a few words: `The answer is Evelyn.`"""
    clause = _ENDS_CLAUSE.search(text, at, end)
    if clause is not None and clause.group() == "(" and not text[clause.start() - 1].isspace():
        return None
    end = clause.start() if clause else end
    said = text[at:end].strip(" \t*_`\"'.\u201c\u201d")
    words = _WORDS.fullmatch(said)
    if words is None or len(said) > 40 or said.split()[0].lower() in _NO_ANSWERS or _VERBISH.search(said):
        return None
    start = text.index(said, at)
    return Found(said, start, start + len(said))


def _ahead(text: str, mark: re.Match[str], after: int, kind: AnswerKind) -> Found | None:
    """The answer before "is the answer"."""
    begin = max(after, mark.start() - 200)
    chunk = text[begin : mark.start()].rstrip(" *_`\"'\u201d,")
    split = _SPLIT.match(chunk)
    at = split.end() if split else 0
    if _SUPPOSED.search(chunk[max(0, at - 60) : at]) or re.search(r"\bnot\s{0,8}$", chunk[:at], re.IGNORECASE):
        return None
    comma = chunk.rfind(", ", at)
    if comma > 0 and re.search(r"[<>=]", chunk[at:comma]):  # "since 7 > 5, 18 is the answer"
        at = comma + 1
    return _shifted(stated_alone(chunk[at:], kind), begin + at)


def _shifted(found: Found | None, by: int) -> Found | None:
    return found and Found(found.answer, found.start + by, found.end + by)
