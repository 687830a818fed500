r"""Answers stated in words: "The answer is 18. Check: ...", `**Answer:** $x+1$`, "so 18 is the answer".

A lead ("the final answer is", "Answer:") counts if an answer follows it; the last such lead wins. The answer is the
formula or number immediately after the lead (`its.grading.spans`), or else one that the sentence gives later ("the
answer is the number of eggs, which is 18"). Anything else is not a statement: "the answer is right", "is an integer of
3 digits", nor is what is supposed ("if the answer is 5"), asked, denied, or about someone else's answer.
"""

from __future__ import annotations

import re

from its.grading.normalise import AnswerKind
from its.grading.phrases import (
    ANSWER,
    ANSWER_HINTS,
    BUT,
    CLOSING,
    GAP,
    IS,
    MARKS,
    WINDOW,
    folded,
    is_meant,
    last_places,
    spaced,
)
from its.grading.spans import MATH_SPAN, Found, read_formula, sentence_end

_LEAD = spaced(
    rf"(?<![A-Za-z])(?:{ANSWER})(?![A-Za-z])(?:"
    rf"{CLOSING}(?P<colon>[:=\uff1a\uff1d]|(?<=[Aa][Nn][Ss])\.(?=\s?[-$\\(0-9])|-+>|=>|\u2192|[\u2014\u2013-](?=\s))"
    rf"|{CLOSING}\n?{IS}"
    rf"|\s?{GAP}(?:\s?{IS}|(?P<far>[*_)]*[:\uff1a]))"
    rf"|{CLOSING}(?P<heading>\n)"
    r"|(?P<at_once>(?: (?:of|as))?,? (?=[-+$\\(\[{]?(?:[0-9$\\(\[{]|[A-Za-z](?![A-Za-z])|[a-z]{2,7}\())))"
)
_SHORT = re.compile(r"^[^\S\n]*+[*_#>]*+A:", re.MULTILINE)
_IS_IT = spaced(
    r"\b(?:is|as|was|be|gives|equals) (?:(?:indeed|therefore|thus|then|also|exactly|just|simply) )?(?:the|our|my|your) "
    r"(?:(?:final|correct|right|required|desired|exact|only) ){0,2}answer\Z"
)
"""After an answer: "18 is the answer"."""
_SPLIT = re.compile(
    r".*(?:[.:;!?]\s|,\s(?=[A-Za-z]{2})|\n|\b(?:so|therefore|thus|hence|then|that|and|gives?|gets?|have|see|conclude|"
    r"means|value|number|result|total|is|are|with|obtain)\b)",
    re.DOTALL | re.IGNORECASE,
)
_FINAL = re.compile(r"final\s?$", re.IGNORECASE)
_OWN = spaced(r"\b(?:the|our|my|final|correct) (?:(?:final|correct|exact) ){0,2}$")
_HEADING = spaced(r"[\s#*_>\d.)-]*(?:the |my )?(?:(?:final|correct|boxed) ){0,2}")
_MARKUP = re.compile(rf"(?:\s|{MARKS})*")
_FILLER = re.compile(
    rf"(?:[\s:\uff1a=\uff1d>]|{MARKS}|\\(?:q?quad|displaystyle)(?![A-Za-z])|\\[,;:! \"'`]|Rs\.?(?=\s?[0-9])|\u20b9"
    r"|(?:therefore|thus|then|hence|so|simply|just|indeed|still|exactly|clearly|obviously|precisely|now|also|really|only|"
    r"either|actually|definitely|probably|likely|certainly|in\sfact|in\sthis\scase|equal\sto|equals|given\s(?:by|as)|"
    r"as\sfollows|the\sfollowing|that|is|are|be|[a-z]{3,12}ed\sas|(?:found|seen|going|known|shown|[a-z]{4,10}ed)\sto\sbe|"
    r"the\s(?:number|integer|value|fraction|expression|interval|set|ratio|point|(?:ordered\s)?pair|vector|matrix)(?!\sof)"
    r")\b,?)*+",
    re.IGNORECASE,
)
_OPTION = re.compile(r"\(?[A-J]\)?|\\(?:text|textbf|mathrm|mathbf)\s?\{\s?\(?[A-J]\)?\s?\}")
_OPTION_MARK = re.compile(
    r"(?:(?:option|choice)\s)?(?:\(\s?[A-J]\s?\)|[A-J]\s?[).:])\s*(?=[-+.0-9$\\(\[{]|[a-z][\s=+*/^(_-])(?!\.?\s*(?:\Z|\n))|"
    r"(?:option|choice)\s(?=\$|\\\()"
)
"""The letter of an option before its text: `C) 10`."""
_BULLET = re.compile(r"-\s(?=\S)")
_ABOUT = spaced(r"(?:approximately|approx\.?|about|roughly|around|nearly|almost|close to|\u2248|\\approx\b|~)\s{0,8}")
_NOT = re.compile(r"(?:not|never|neither|n['\u2019]t)\b", re.IGNORECASE)
_LATER = spaced(
    r"\b(?:is|are|was|were|equals?|will be|would be|makes|totals)\b\s?:?|(?<![<>!=])=(?!=)|:",
)
_DOES = spaced(
    r"\b(?:has|have|had|makes?|made|gets?|got|needs?|needed|costs?|earns?|earned|pays?|paid|takes?|took|spends?|spent|"
    r"sells?|sold|gives?|gave|leaves?|left|reads?|eats?|ate|buys?|bought|saves?|[a-z]{3,10}ed|"
    r"(?:total|value|sum|amount) of|"
    r"there (?:are|is|were|was|will be)) "
    r"(?:(?:exactly|about|a total of|only) ){0,2}"
)
_OPERAND = spaced(
    r"\b(?:by|than|of|least|most|under|over|between|and|or|from|to|with|degree|modulo|mod|in|at|within|nearest|first|last|not|"
    r"step|part|question|problem|equation|example|case|up|except|excluding|odd|even|prime|all|any|every|each|no|only|real|"
    r"positive|negative|natural|consecutive|distinct|twice|thrice|double|triple|half|root|minus|plus|wrong:?) ?\Z"
)
"""Before a number that is not an answer: divisible by 3, a polynomial of degree 1."""
_CLAUSE = re.compile(r"(?:,|:|\s[\u2014\u2013-])\s")
_VERBISH = re.compile(
    r"\b(?:is|are|was|were|has|have|had|do|does|did|can|will|would|should|makes?|made|gets?|got|gives?|gave|needs?|costs?|"
    r"sold|sells?|buys?|bought|ate|eats?|takes?|took|goes|went|arrives?|pays?|paid|spends?|spent|earns?|reads?|plus|"
    r"minus|planted|picked|there|he|she|they|we|it|then)\b",
    re.IGNORECASE,
)
_ENDS_CLAUSE = re.compile(r"[,;(]|\b(?:since|because|as|which|so|where)\b", re.IGNORECASE)
_UNIT = re.compile(r"(?:[A-Za-z/]+(?:\s[A-Za-z/]+){0,2})?")
_POINTING = re.compile(r"\b(?:which|that|this|these|what)\b", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*(?:\s[^\W\d_]+(?:['\u2019-][^\W\d_]+)*){0,3}")
_OF_ALL = re.compile(
    r"(?:all|any|every|no|odd|even|only)(?:\s(?:[^\W\d_]+|[0-9]{1,6}|\$[^$\n]{1,40}\$)){1,6}", re.IGNORECASE
)
_DONE = re.compile(r"\b(?!undefined|unbounded)[a-z]+(?:ed|ing)\b", re.IGNORECASE)
_NO_ANSWERS = re.compile(
    r"(?:correct|right|wrong|incorrect|obvious|clear|unclear|unknown|not|in|to|given|found|obtained|based|derived|"
    r"calculated|shown|below|above|here|available|required|needed|the|a|an|that|what|this|it|as|simple|simplified|"
    r"expressed|written|rounded|boxed|verified|confirmed|consistent|reasonable|complete|provided|presented|one|of|for|by|"
    r"from|also|at|on|still|already|more|less|greater|between|choice|option|i|we|you|he|she|they|please|and|or|but|so|"
    r"therefore)\b",
    re.IGNORECASE,
)
"""First words of a remark about an answer."""


def stated_answer(text: str, kind: AnswerKind, after: int) -> Found | None:
    """The last answer stated in words; not for kind `choice`.

    Args:
        after: where the search begins. If it is not 0, an answer was stated before: then only a formula or number
            immediately after the lead replaces it, and not an approximate one.
    """
    low = folded(text)
    found: Found | None = None
    for at in last_places(low, (*ANSWER_HINTS, "a:"), after):
        # An approximation does not replace the exact answer before it.
        stated, about = _stated_at(text, at, kind, after, strict=after > 0 or found is not None)
        found = found or stated
        if stated is not None and not about:
            found = stated
            break
    return found


def stated_alone(text: str, kind: AnswerKind) -> Found | None:
    """The answer that a short text is, if it is nothing but an answer and its unit."""
    at = _MARKUP.match(text).end()  # type: ignore[union-attr]
    found = read_formula(text, at, len(text), kind)
    if found is None:
        return None
    rest = text[found.end :].strip(" .*_`\"'$\n")
    unit = _UNIT.fullmatch(rest) and not _VERBISH.search(rest) and not _POINTING.search(rest)
    return found if not rest or unit else None


def _stated_at(text: str, at: int, kind: AnswerKind, after: int, *, strict: bool) -> tuple[Found | None, bool]:
    """The answer stated around the word at `at`, and whether it is approximate."""
    if text[at + 1] == ":":
        return _line(text, at, kind), False
    lead = _LEAD.match(text, at, min(len(text), at + WINDOW))
    if lead is not None and is_meant(text, at):
        stated = _behind(text, lead, kind, strict=strict)
        if stated is not None:
            return stated, _ABOUT.search(text, lead.end(), stated.start) is not None
    mark = _IS_IT.search(text, max(after, at - 60), at + len("answer"))
    return (None if mark is None else _ahead(text, mark.start(), after, kind)), False


def _line(text: str, at: int, kind: AnswerKind) -> Found | None:
    """`A: 18`, if that is the whole line."""
    begin = text.rfind("\n", 0, at) + 1
    if at - begin > 12 or not _SHORT.match(text, begin):
        return None
    at += len("A:")
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    if text[at : at + 1] == " " and text[at + 1 : end].isdecimal():  # the usual case
        return Found(text[at + 1 : end], at + 1, end)
    return _shifted(stated_alone(text[at:end], kind), at) if end - at <= WINDOW else None


def _behind(text: str, lead: re.Match[str], kind: AnswerKind, *, strict: bool) -> Found | None:
    start, end = lead.span()
    stop = min(len(text), end + WINDOW)
    head = text[text.rfind("\n", max(0, start - 40), start) + 1 : start][-40:]
    heading = lead.group("heading") is not None
    if heading and not _HEADING.fullmatch(head):
        return None
    if lead.group("at_once") is not None:
        found = read_formula(text, end, stop, kind) if _OWN.search(head) or _HEADING.fullmatch(head) else None
        more = found and (":" in found.answer or re.match(r"[^\S\n]?[A-Za-z:]", text[found.end : found.end + 2]))
        return None if more else found
    colon = heading or lead.group("colon") is not None or lead.group("far") is not None
    return _value(text, end, stop, kind, strict=strict, plain=colon and not _FINAL.search(head), first=start < 12)


def _value(
    text: str, at: int, stop: int, kind: AnswerKind, *, strict: bool, plain: bool, first: bool, denied: bool = False
) -> Found | None:
    """The answer after a lead that ends at `at`.

    Args:
        strict: only an immediate formula, and no approximation.
        plain: after a mere "answer:", which may also be the heading of a whole solution.
        first: whether the lead begins the text.
    """
    at = _skip(text, at, stop)
    if (bullet := _BULLET.match(text, at, stop)) and "\n" in text[max(0, at - 3) : at]:
        at = bullet.end()
    if _NOT.match(text, at, stop):
        but = None if denied else BUT.search(text, at, sentence_end(text, at, stop))
        return but and _value(text, but.end(), stop, kind, strict=strict, plain=plain, first=first, denied=True)
    about = _ABOUT.match(text, at, stop)
    if about is not None:
        if strict:
            return None
        at = about.end()
    end = sentence_end(text, at, stop)
    if text[end : end + 1] in ("?", "\uff1f"):
        return None
    if (option := _OPTION_MARK.match(text, at, stop)) is not None:
        at = option.end()
    found = read_formula(text, at, stop, kind)
    if found is not None and strict and _OPTION.fullmatch(found.answer):
        return None  # the letter of the option that is boxed
    if found is not None:
        return found if not plain or _is_answer_below(text, at, found.end, end, first) else None
    if strict or text[at : at + 1] == "$" or text.startswith(("\\(", "\\["), at):  # a formula that does not end
        return None
    if plain and re.search(r"[0-9]", text[end:]):
        return None
    return _later(text, at, end, kind)


def _skip(text: str, at: int, stop: int) -> int:
    return _FILLER.match(text, at, stop).end()  # type: ignore[union-attr]


def _is_answer_below(text: str, at: int, behind: int, end: int, first: bool) -> bool:
    """Whether the text after a heading is an answer, and not the first sentence of a solution: `3 cars are there`.

    Args:
        at, behind: where the answer begins and ends.
        end: of its sentence.
    """
    rest = text[behind:end]
    clause = _ENDS_CLAUSE.search(rest)
    if _VERBISH.search(rest, 0, clause.start() if clause else len(rest)):
        return False
    works = first and "=" in text[at:behind] and re.search(r"[0-9]\s?[-+*/\u00d7]\s?[0-9]", text[at:behind])
    return not (works and "=" in text[behind:])


def _later(text: str, at: int, end: int, kind: AnswerKind) -> Found | None:
    """The answer later in a sentence: after its last verb, as its last clause, or as its only number."""
    sentence = text[at:end]
    for verb in reversed(list(_LATER.finditer(sentence))[-8:]):
        place = _skip(text, at + verb.end(), end)
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
    if (found := _at_end(text, at, end, kind, len(numbers))) is not None:
        return found
    return _in_words(text, at, end, bool(numbers)) if kind == "math" else None


def _at_end(text: str, at: int, end: int, kind: AnswerKind, numbers: int) -> Found | None:
    """The only formula or number of a sentence, if it ends it: `the interval $[0, 1)$`, `the number 18`."""
    sentence = text[at:end].rstrip(" *_\"'")
    spans = list(MATH_SPAN.finditer(sentence))
    if len(spans) > 1 or (not spans and numbers != 1):
        return None
    place = spans[0].start() if spans else sentence.rfind(" ") + 1
    if _OPERAND.search(sentence, 0, place):
        return None
    found = read_formula(text, at + place, end, kind)
    return found if found is not None and found.end == at + len(sentence) else None


def _in_words(text: str, at: int, end: int, numbers: bool) -> Found | None:
    """A name or a few words, `The answer is Evelyn.`; or a quantified phrase with formulas: `all odd $n$`."""
    clause = _ENDS_CLAUSE.search(text, at, end)
    if clause is not None and clause.group() == "(" and not text[clause.start() - 1].isspace():
        return None
    end = clause.start() if clause else end
    stated = text[at:end].strip(" \t*_`\"'.\u201c\u201d")
    shape = _OF_ALL if _OF_ALL.match(stated) else None if numbers else _WORDS
    if shape is None or len(stated) > 60 or not shape.fullmatch(stated):
        return None
    if _NO_ANSWERS.match(stated) or _DONE.search(stated) or _VERBISH.search(stated):
        return None
    start = text.index(stated, at)
    return Found(stated, start, start + len(stated))


def _ahead(text: str, mark: int, after: int, kind: AnswerKind) -> Found | None:
    """The answer before "is the answer", which begins at `mark`."""
    begin = max(after, mark - 200)
    chunk = text[begin:mark].rstrip(" *_`\"'\u201d,")
    spans = list(MATH_SPAN.finditer(chunk)) if chunk.endswith(("$", ")", "]")) else []
    if spans and spans[-1].end() == len(chunk):
        return _shifted(stated_alone(spans[-1].group(), kind), begin + spans[-1].start())
    split = _SPLIT.match(chunk)
    at = split.end() if split else 0
    if not is_meant(text, begin + at) or re.search(r"\bnot\s?$", chunk[:at], re.IGNORECASE):
        return None
    comma = chunk.rfind(", ", at)
    if comma > 0 and re.search(r"[<>=]", chunk[at:comma]):  # "since 7 > 5, 18 is the answer"
        at = comma + 1
    return _shifted(stated_alone(chunk[at:], kind), begin + at)


def _shifted(found: Found | None, by: int) -> Found | None:
    return found and Found(found.answer, found.start + by, found.end + by)
