r"""Which option a text chooses: "The answer is (B)", `ANSWER: [B]`, "C is correct.", a line `**C) 10 eV**`.

A letter A-J counts where it stands as an option and no other is chosen beside it: not in "B or C", "not B", a list of
all options, or as a word ("A train leaves", "I think").
"""

from __future__ import annotations

import re
from collections import deque

from its.grading.formulas import Found

TRIES = 64
WINDOW = 300

_HINTS = ("answer", "option", "choice", "correct", "right", "best", "choose", "select", "pick", "go with", "ans:")
_HINTS += ("\u7b54\u6848", "\u9009", "\u9078", "respuesta", "antwort", "opci", "ponse", "risposta", "resposta", "chose")
_DRESS = r"(?:[\s*_`\"'\u201c\u201d\u2018\u2019$#>~\u200b]|\\(?:text|textbf|textit|textrm|mathrm|mathbf|boldsymbol|boxed|fbox)\s{0,8}\{|\\[(\[,;:! ]|\{)*+"
_UNDRESS = r"(?:[*_`\"'\u201d\u2019$}]|\\[)\],;:! ])*+"
_LETTER = rf"(?:[(\[\uff08]{_DRESS}(?P<held>[A-Ja-j]){_UNDRESS}\s{{0,8}}[)\]\uff09]|(?P<bare>[A-J])(?![A-Za-z0-9]|['\u2019][a-z]|_[{{A-Za-z0-9]|\^|\s?[=<>+]|\([a-z])|(?P<low>[a-j])(?=\)))"
_AT = re.compile(rf"{_DRESS}{_LETTER}{_UNDRESS}")
_FILLER = re.compile(
    r"(?:[\s*_`\"'\u201c\u201d:\uff1a=\uff1d>]|(?:therefore|thus|then|hence|so|simply|just|indeed|still|clearly|obviously|"
    r"definitely|probably|likely|most\s{1,8}likely|certainly|either|the|letter|option|choice|answer|response|is|be|number|"
    r"given\s{1,8}by|as\s{1,8}follows|la|el|die|opci[o\u00f3]n|\u9009\u9879|\u9009)\b,?)*+",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"(?:(?<![A-Za-z])(?:answers?|options?|choice|selection|ans|respuesta|antwort|r\u00e9ponse|risposta|resposta)(?![A-Za-z])"
    r"(?:[^\S\n]|[*_`\"'\u201d\u2019)\]])*+"
    r"(?:(?:choice|option|letter)\s{0,8})?"
    r"(?:(?:\s{0,8}[,(]|\b(?:to|for|in|of|that|we|you|I|then|thus|therefore|here|which|from)\b)(?:[^.:=\n?!;]|\.(?=\w)){0,70}?)?"
    r"(?:[:=\uff1a\uff1d]|-+>|=>|\u2192|[\u2014\u2013-](?=\s)|\s{0,8}\b(?:is|would\s{1,8}be|will\s{1,8}be|must\s{1,8}be|should\s{1,8}be|has\s{1,8}to\s{1,8}be|es|ist|"
    r"lautet|est)\b|\n)"
    r"|(?P<chooses>\b(?:choos(?:e|ing)|chose|select|pick|go(?:ing)?\s{1,8}with|went\s{1,8}with)\b)"
    r"|\u7b54\u6848\s{0,8}(?:\u5e94\u8be5|\u5e94)?(?:\u662f|\u4e3a|\u70ba|\u9009|[:\uff1a])|(?:\u6545|\u5e94|\u56e0\u6b64|\u6240\u4ee5)?\s{0,8}\u9009(?:\u62e9|\u9879)?\s{0,8}[:\uff1a]?)",
    re.IGNORECASE,
)
_IS = re.compile(
    rf"(?:(?<=[\s(*$\"'\[_{{])|^)(?:[(\[]\s{{0,8}}(?P<held>[A-Ja-j])\s{{0,8}}[)\]]|(?P<bare>[A-J])\)?){_UNDRESS}\s{{1,8}}"
    r"(?:is|seems|must\s{1,8}be|would\s{1,8}be|should\s{1,8}be|appears\s{1,8}to\s{1,8}be|is\s{1,8}therefore|is\s{1,8}thus|is\s{1,8}indeed)\s{1,8}"
    r"(?:(?:clearly|also|indeed|therefore|thus|hence)\s{1,8})?(?:the\s{1,8})?(?:most\s{1,8}|only\s{1,8}|single\s{1,8})?"
    r"(?:(?:correct|right|best|accurate|appropriate|final|valid)\b|answer\b)(?!\s{1,8}(?:that|if|when|only|for|in)\b)",
    re.MULTILINE,
)
_OR = re.compile(
    rf"\s{{0,8}}(?:,?\s{{0,8}}(?:or|and|&|/|\uff0c|\u3001|\u548c|\u6216)\s{{0,8}}|/|,\s{{0,8}}){_DRESS}(?:option\s{{1,8}}|choice\s{{1,8}})?[(\[]?(?:(?-i:[A-J])(?![A-Za-z])|[a-j]\))",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"\s{0,8}(?:[).:,;!*$}\]\n\"'\u201d\u2019\u3002\uff0c<|_`\\(\u2014\u2013-]|$)|\s{1,8}(?:because|since|as|is|with|for)\b",
    re.IGNORECASE,
)
_ENDS_SENTENCE = re.compile(r"\s{0,8}[*_)\]}\"'$]*\s{0,8}(?:[.,;!\n]|$|because|since|as\b)", re.IGNORECASE)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppose|assum(?:e|ing)|unless|let|claim(?:s|ed)|thinks|says|said|might|may|could|why|not|n['\u2019]t|nor|"
    r"neither|both|except|which|statements?|reason|assertion|wrong|incorrect|previous)\b[^,.;:\n]{0,30}$|\b(?:and|or)\s{1,8}$",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:not|never|neither|n['\u2019]t|none|incorrect|wrong|nor|either)\b", re.IGNORECASE)
_BUT = re.compile(
    r"\bbut\s{1,8}(?:rather\s{1,8}|instead\s{1,8}|actually\s{1,8}|is\s{1,8}|it\s{1,8}is\s{1,8})*", re.IGNORECASE
)
_STOP = re.compile(r"[.!?](?=\s|$|[<*\"])|\n|\u3002")
_LATER = re.compile(r"(?:\b(?:is|option|choice|letter)\b|,|:)\s{0,8}", re.IGNORECASE)
_HELD = re.compile(rf"\(\s{{0,8}}([A-J])\s{{0,8}}\)")
_LINE = re.compile(
    rf"\A[\s>#+]*(?:-\s{{1,8}})?{_DRESS}(?:(?:option|choice|answer)\s{{1,8}})?(?:[(\[]\s{{0,8}}(?P<held>[A-Ja-j])\s{{0,8}}[)\]]|(?P<bare>[A-J])){_UNDRESS}"
    rf"(?:(?P<mark>\s{{0,8}}[).:\uff0e\u3001])(?P<rest>.*)|(?P<alone>\s{{0,8}})|(?P<held_rest>\s.*))\Z",
    re.IGNORECASE,
)
_OTHER = re.compile(r"(?:^|[\s(*])[(\[]?[A-J][).\]]\s")
_LAST = re.compile(r"(?:^|[\s(*])([A-J])[)*.\s]*$")
_NO_CHOICE = re.compile(
    r"(?:\b(?:not|nor|or|and|neither|except|an?|points?|angle|side|vertex|sets?|vitamin|grade|plan|class|type|group|box|bag|"
    r"container|line|matrix|event|team|city|town|train|car|part|statement|hepatitis|person|player|figure|table|case|node|"
    r"circle|triangle|segment|school|house|machine|step|list|column|row|room)|\b[A-J]\)?,)\s{0,8}[*(]*$",
    re.IGNORECASE,
)


def said_choice(text: str, after: int = 0) -> Found | None:
    """The last option that is said outright from `after` on, in a sentence."""
    folded = (text[after:] if after else text).lower()
    if not any(hint in folded for hint in _HINTS):
        return None
    leads = deque(_LEAD.finditer(text, after), maxlen=TRIES)
    verdicts = deque(_IS.finditer(text, after), maxlen=TRIES)
    found = next((said for lead in reversed(leads) if (said := _behind(text, lead))), None)
    for verdict in reversed(verdicts):
        if found is not None and found.end > verdict.start():
            break
        name = "held" if verdict.group("held") else "bare"
        head = text[max(0, verdict.start() - 60) : verdict.start()]
        if not _SUPPOSED.search(head):
            return _found(verdict, name)
    return found


def chosen_line(text: str, after: int = 0) -> Found | None:
    r"""A line that is an option: the last line, else the first; `C) 10 eV`, `**(C)**`, `$C$`, `C`.

    Not where it stands in a list of the options.
    """
    lines: list[tuple[int, str]] = []
    body = text.rstrip()
    if len(body) <= after:
        return None
    first_end = body.find("\n", len(body) - len(body.lstrip()))
    last_start = body.rfind("\n") + 1
    lines = [(last_start, body[last_start:])]
    if after == 0 and first_end >= 0 and last_start > first_end:
        lines.append((0, body[:first_end]))
    for start, line in lines:
        if start < after or len(line) > WINDOW:
            continue
        found = _line(line)
        if found is None:
            continue
        letter = found.answer
        if line[found.start].islower() and "\n" in body:
            continue  # a part of a solution
        beside = body[:start].rstrip().rpartition("\n")[2] if start else _next_line(body, len(line))
        other = _line(beside) if len(beside) <= WINDOW else None
        step = -1 if start else 1
        if other is not None and ord(other.answer) - ord(letter) == step:
            continue  # one of a list
        return Found(letter, start + found.start, start + found.end)
    return None


def last_letter(text: str) -> Found | None:
    """The fallback: a lone letter that ends the text."""
    text = text.rstrip()
    # Only the end can match, and `$` with a long run of blanks before it would be tried at each of them.
    offset = max(0, len(text) - 30)
    lone = _LAST.search(text[offset:])
    if lone is None or _NO_CHOICE.search(text[offset : offset + lone.start(1)]):
        return None
    if lone.group(1) == "I" and "(" not in lone.group():
        return None  # a word
    return Found(lone.group(1), offset + lone.start(1), offset + lone.end(1))


def _behind(text: str, lead: re.Match[str]) -> Found | None:
    head = text[max(0, lead.start() - 60) : lead.start()]
    if _SUPPOSED.search(head[max(head.rfind(mark) for mark in "\n.!?:;,") + 1 :]):
        return None
    return _letter_at(text, lead.end(), strict=lead.group("chooses") is not None)


def _letter_at(text: str, at: int, *, strict: bool, denied: bool = False) -> Found | None:
    stop = min(len(text), at + WINDOW)
    at = _FILLER.match(text, at, stop).end()  # type: ignore[union-attr]
    mark = _STOP.search(text, at, stop)
    end = mark.start() if mark else stop
    if _NOT.match(text, at, stop):
        but = None if denied else _BUT.search(text, at, end)
        return but and _letter_at(text, but.end(), strict=strict, denied=True)
    found = _AT.match(text, at, stop)
    if found is not None:
        return _checked(text, found, strict)
    if strict or text[end : end + 1] == "?":
        return None
    for later in reversed(list(_LATER.finditer(text, at, end))[-8:]):
        found = _AT.match(text, later.end(), stop)
        if found is not None and _ENDS_SENTENCE.match(text, found.end()):
            before = text[max(at, later.start() - 30) : later.start()]
            if re.search(r"\b(?:not|or|and|nor|than|of)\s{0,8}$", before, re.IGNORECASE):
                return None
            return _checked(text, found, strict)
    held = _HELD.findall(text[at:end])
    if len(held) == 1 and (one := _HELD.search(text, at, end)) and _ENDS_SENTENCE.match(text, one.end()):
        return Found(one.group(1), one.start(1), one.end(1))
    return None


def _checked(text: str, found: re.Match[str], strict: bool) -> Found | None:
    """The letter, unless another is chosen beside it, or it is a word: A and I begin many a sentence."""
    name = "held" if found.group("held") else "bare" if found.group("bare") else "low"
    if _OR.match(text, found.end()):
        return None
    if strict and not _ENDS_SENTENCE.match(text, found.end()):
        return None
    dressed = found.group().strip() != found.group(name)
    if name == "bare" and not dressed and found.group(name) in "AI" and not _ENDS.match(text, found.end()):
        return None
    return _found(found, name)


def _found(match: re.Match[str], name: str) -> Found:
    return Found(match.group(name).upper(), match.start(name), match.end(name))


def _line(line: str) -> Found | None:
    found = _LINE.match(line)
    if found is None:
        return None
    name = "held" if found.group("held") else "bare"
    letter = found.group(name)
    if name == "bare" and not letter.isupper():
        return None
    rest = found.group("rest") if found.group("mark") is not None else found.group("held_rest")
    if found.group("held_rest") is not None and name == "bare":
        return None  # `A train`
    if rest is not None and (_OTHER.search(rest) or _OR.match(line, found.end(name) + (name == "held"))):
        return None
    mark = (found.group("mark") or "").strip()
    if letter == "I" and rest is not None and rest.strip() and mark != ")":
        return None  # a numeral of a list
    return _found(found, name)


def _next_line(text: str, at: int) -> str:
    rest = text[at:].lstrip()
    return rest.partition("\n")[0]
