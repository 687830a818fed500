r"""Which option a text chooses: "The answer is (B)", `ANSWER: [B]`, "C is correct.", a line `**C) 10 eV**`.

A letter A-J counts if it is an option and no other is chosen beside it: not in "B or C", "not B", a list of
all options, or as a word ("A train leaves", "I think").
"""

from __future__ import annotations

import re

from its.grading.phrases import ANSWER, ANSWER_HINTS, BUT, CLOSING, GAP, IS, folded, is_meant, last_places, spaced
from its.grading.spans import Found

WINDOW = 300
"""Characters in which an option is stated, and the longest option line."""

_NAMED = ("option", "choice", "selection", "opci\u00f3n")
_CHOOSES = ("choose", "choosing", "chose", "select", "pick", "go with", "going with", "went with", "\u9009", "\u9078")
_VERDICTS = ("correct", "right", "best", "accurate", "appropriate", "answer")

_FORMATTING = (
    r"(?:[\s*_`\"'\u201c\u201d\u201e\u2018\u2019\u00ab\u3010|$#>~{]|\\[(\[,;:! ]|</?[a-z]{1,8}>|<(?=[A-J]>)"
    r"|\\(?:text|textbf|textit|textrm|mathrm|mathbf|boldsymbol|boxed|fbox)\s?\{)*+"
)
_FORMATTING_ENDS = r"(?:[*_`\"'\u201d\u2019\u00bb\u3011|~$}]|\\[)\],;:! ]|</[a-z]{1,8}>)*+"
_HELD = rf"[(\[]{{1,2}}{_FORMATTING}(?P<held>[A-Ja-j]){_FORMATTING_ENDS}\s?[)\]]{{1,2}}"
_NO_NAME = r"(?![A-Za-z0-9]|['\u2019][a-z]|_[{A-Za-z0-9]|\^|\s?[=+]|\s[<>]|\([a-z])"
"""After a letter that is not a variable and not a word."""
_AT = re.compile(rf"{_FORMATTING}(?:{_HELD}|(?P<bare>[A-J]){_NO_NAME}|(?P<low>[a-j])(?=\))){_FORMATTING_ENDS}")
_LEAD = spaced(
    rf"(?<![A-Za-z])(?:{ANSWER}|options?|choice|selection|opci\u00f3n)(?![A-Za-z]){CLOSING}"
    rf"(?:(?:choice|option|letter) ?)?(?:{GAP})?"
    rf"(?:[:=\uff1a\uff1d]|-+>|=>|\u2192|[\u2014\u2013-](?=\s)|\s?{IS}|\u5e94?\u9009|\n)"
)
_CHOOSES_AT = spaced(
    r"(?<![A-Za-z])(?:choos(?:e|ing)|chose|select|pick|go(?:ing)? with|went with)\b"
    r"|[\u9009\u9078][\u62e9\u9879]?[:\uff1a]?"
)
_FILLER = re.compile(
    r"(?:[\s*_`\"'\u201c\u201d:\uff1a=\uff1d>]|(?:therefore|thus|then|hence|so|simply|just|indeed|still|clearly|obviously|"
    r"definitely|probably|most|likely|certainly|the|letter|option|choice|answer|response|is|be|number|given\sby|"
    r"as\sfollows|la|el|die|opci\u00f3n)\b,?|\u9009\u9879?)*+",
    re.IGNORECASE,
)
_IS_IT = spaced(
    rf"(?:(?<=[\s(*$\"'\[_{{])|^)(?:[(\[]\s?(?P<held>[A-Ja-j])\s?[)\]]|(?P<bare>(?-i:[A-J]))\)?){_FORMATTING_ENDS} "
    r"(?:is|seems|must be|would be|should be|appears to be) (?:(?:clearly|also|indeed|therefore|thus|hence) )?(?:the )?"
    r"(?:(?:most|only|single) )?(?:(?:correct|right|best|final|likely|accurate|appropriate|suitable|plausible) )?\Z",
    re.IGNORECASE | re.MULTILINE,
)
_ONLY_IN = spaced(
    r"\w*(?:-|(?: (?:answer|option|choice|one))? (?:that|if|when|only|for|in|of|angle|triangle|side|hand)\b)"
)
"""After a word that does not judge an option: "B is right-angled", "C is correct only if"."""
_OR = spaced(
    rf"\s?(?:,?\s?(?:or|and|&|/|\u3001|\u548c|\u6216)\s?|,\s?){_FORMATTING}(?:(?:option|choice) )?[(\[]?"
    r"(?:(?-i:[A-J])(?![A-Za-z])|[a-j]\))"
)
_WORD_ENDS = spaced(
    r"\s?(?:[).:,;!*$}\]\n\"'\u201d\u2019\u3002<|_`\\(\u2014\u2013-]|\Z)| (?:because|since|as|is|with|for)\b",
)
_ENDS = re.compile(r"[\s*_)\]}\"'$]{0,8}(?:[.,;!\n\u3002]|\Z|(?<=\s)(?:because|since|as)\b)", re.IGNORECASE)
_SUPPOSED = spaced(
    r"\b(?:if|whether|not|n['\u2019]t|nor|neither|both|except|which|statements?|reason|assertion|wrong|incorrect|between)\b"
    r"[^,.;:\n]{0,30}$|\b(?:and|or) $"
)
_NOT = spaced(r"(?:not|never|neither|n['\u2019]t|none|incorrect|wrong|nor|either)\b")
_STOP = re.compile(r"[.!?](?=\s|\Z|[<*\"])|\n|\u3002")
_LATER = re.compile(r"(?:\b(?:is|option|choice|letter)\b|,|:)\s?", re.IGNORECASE)
_ASIDE = re.compile(r"\(\s?([A-J])\s?\)")
_LINE = re.compile(
    rf"[\s>#+\u2192\u2713\u2714\u2705\u2022]*(?:-\s)?{_FORMATTING}(?:(?:option|choice|answer)\s)?"
    rf"(?:{_HELD}|(?P<bare>(?-i:[A-J])|(?-i:[a-j])(?=\)))){_FORMATTING_ENDS}"
    r"(?:\s?(?P<mark>[).:\u3001]|(?<=\s)[\u2014\u2013-](?=\s))(?P<rest>.*)|\s*|(?P<words>\s.*))",
    re.IGNORECASE,
)
_OTHER = re.compile(r"(?:^|[\s(*])[(\[]?[A-J][).\]]\s")
_REJECTS = re.compile(
    r"[^.\n]{0,80}\b(?:is|are)\s(?:wrong|incorrect|false|not\scorrect)\b|\W{0,3}(?:incorrect|wrong)\b", re.I
)
_LAST = re.compile(r"(?:^|(?<![0-9\u00b0])[\s(*])([A-J])[)*.\s]*$")
_NO_CHOICE = re.compile(
    r"(?:\b(?:not|nor|or|and|neither|except|an?|points?|angle|side|vertex|sets?|vitamin|grade|plan|class|type|group|box|bag|"
    r"container|line|matrix|event|team|city|town|train|car|part|statement|hepatitis|person|player|figure|table|case|node|"
    r"circle|triangle|segment|school|house|machine|step|list|column|row|room)|\b[A-J]\)?\s?[,/&])\s?[*(]*$",
    re.IGNORECASE,
)
"""Before a letter that names something else."""


def stated_choice(text: str, after: int = 0) -> Found | None:
    """The last option stated explicitly in a sentence, from `after` on."""
    low = folded(text)
    for at in last_places(low, (*ANSWER_HINTS, *_NAMED, *_CHOOSES, *_VERDICTS), after):
        stop = min(len(text), at + WINDOW)
        lead = _LEAD.match(text, at, stop)
        chooses = _CHOOSES_AT.match(text, at, stop) if lead is None else None
        behind = lead or chooses
        if behind is not None and is_meant(text, at) and not _is_supposed(text, at):
            found = _letter_at(text, behind.end(), strict=chooses is not None)
            if found is not None:
                return found
        verdict = _IS_IT.search(text, max(after, at - 60), at)
        if verdict is None or _ONLY_IN.match(text, at, stop):
            continue
        if _NO_CHOICE.search(text, max(0, verdict.start() - 20), verdict.start()):
            continue
        if is_meant(text, verdict.start()) and not _is_supposed(text, verdict.start()):
            return _found(verdict, "held" if verdict.group("held") else "bare")
    return None


def chosen_line(text: str, after: int = 0) -> Found | None:
    r"""The line that is an option: the last line, else the first; `C) 10 eV`, `**(C)**`, `$C$`, `C`.

    Not if it belongs to a list of the options.
    """
    body = text.rstrip()
    if len(body) <= after:
        return None
    last = body.rfind("\n") + 1
    if last >= after and (found := _option_of(body, last, len(body), -1)) is not None:
        return found
    first = len(body) - len(body.lstrip())
    end = body.find("\n", first)
    return _option_of(body, first, end, 1) if not after and end >= 0 and last > end else None


def last_letter(text: str) -> Found | None:
    """The fallback: a lone letter that ends the text."""
    text = text.rstrip()
    # Only the end can match, and `$` after a long run of spaces would be tried at each of them.
    offset = max(0, len(text) - 30)
    lone = _LAST.search(text[offset:])
    if lone is None or _NO_CHOICE.search(text[offset : offset + lone.start(1)]):
        return None
    if lone.group(1) == "I" and "(" not in lone.group():
        return None  # a word
    return Found(lone.group(1), offset + lone.start(1), offset + lone.end(1))


def _is_supposed(text: str, at: int) -> bool:
    head = text[max(0, at - 60) : at]
    return _SUPPOSED.search(head[max(head.rfind(mark) for mark in "\n.!?:;,") + 1 :]) is not None


def _letter_at(text: str, at: int, *, strict: bool, denied: bool = False) -> Found | None:
    """The option after a lead that ends at `at`: immediately, or (not `strict`) at the end of the sentence."""
    stop = min(len(text), at + WINDOW)
    at = _FILLER.match(text, at, stop).end()  # type: ignore[union-attr]
    mark = _STOP.search(text, at, stop)
    end = mark.start() if mark else stop
    if _NOT.match(text, at, stop):
        but = None if denied else BUT.search(text, at, end)
        return but and _letter_at(text, but.end(), strict=strict, denied=True)
    found = _AT.match(text, at, stop)
    if found is not None:
        return _checked(text, found, strict)
    if strict or text[end : end + 1] == "?":
        return None
    for later in reversed(list(_LATER.finditer(text, at, end))[-8:]):
        found = _AT.match(text, later.end(), stop)
        if found is not None and _ENDS.match(text, found.end()):
            before = text[max(at, later.start() - 30) : later.start()]
            return (
                None if re.search(r"\b(?:not|or|and|nor|than|of)\s?$", before, re.I) else _checked(text, found, strict)
            )
    asides = list(_ASIDE.finditer(text, at, end))
    if len(asides) == 1 and _ENDS.match(text, asides[0].end()):
        return Found(asides[0].group(1), asides[0].start(1), asides[0].end(1))
    return None


def _checked(text: str, found: re.Match[str], strict: bool) -> Found | None:
    """The letter, unless another is chosen beside it, or it is a word: A and I begin many sentences."""
    name = next(name for name in ("held", "bare", "low") if found.group(name))
    if _OR.match(text, found.end()) or (strict and not _ENDS.match(text, found.end())):
        return None
    dressed = found.group().strip() != found.group(name)
    if name == "bare" and not dressed and found.group(name) in "AI" and not _WORD_ENDS.match(text, found.end()):
        return None
    return _found(found, name)


def _found(match: re.Match[str], name: str) -> Found:
    return Found(match.group(name).upper(), match.start(name), match.end(name))


def _option_of(body: str, start: int, end: int, step: int) -> Found | None:
    """The option that a line is; None if the line before (`step` -1) or after (1) makes it part of a list."""
    found = _line(body, start, end)
    if found is None or (body[found.start].islower() and "\n" in body):  # `(a) First`: a part of a solution
        return None
    rest = body[:start].rstrip() if step < 0 else body[end:].lstrip()
    beside = rest.rpartition("\n")[2] if step < 0 else rest.partition("\n")[0]
    other = _line(beside, 0, len(beside))
    apart = "\n\n" in (body[len(rest) : start] if step < 0 else body[end : len(body) - len(rest)])
    distance = 0 if other is None else (ord(other.answer) - ord(found.answer)) * step
    return None if distance == 1 or (distance > 1 and not apart) else found


def _line(text: str, start: int, end: int) -> Found | None:
    found = _LINE.fullmatch(text, start, end) if end - start <= WINDOW else None
    if found is None:
        return None
    name = "held" if found.group("held") else "bare"
    words = found.group("words") or found.group("rest") or ""
    if found.group("words") is not None and name == "bare":
        return None  # `A train`
    if words and (_OTHER.search(words) or _REJECTS.match(words) or _OR.match(text, found.end(name) + (name == "held"))):
        return None
    if found.group(name) == "I" and words.strip() and found.group("mark") != ")":
        return None  # a numeral of a list
    return _found(found, name)
