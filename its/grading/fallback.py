r"""The fallback: the answer where a text states none explicitly.

The last number; for `math` the last formula in math delimiters if it ends later; for `choice` a lone letter at the end.
Models that were not trained to state an answer depend on it, so a recipe can switch it off (`grading.fallback: false`),
and its share is counted in every cell.

It skips what cannot be an answer: a sentence cut off within a formula, a question, the number of a step, and a name
alone (`$n$`, `$f(x)$`) or a condition ("for all $x > 0$") with something before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from its.grading.choices import last_letter
from its.grading.normalise import AnswerKind
from its.grading.spans import MATH_SPAN, NUMBER, SENTENCE_END, Found, content_of

_NUMERIC = frozenset("0123456789,.$\\+-\u2212\u2013/{} fractd")
_MARKER = re.compile(r"[\s*#>_-]*[0-9]{1,3}[.)][\s*_]*")
_STEP = re.compile(
    r"\b(?:step|part|case|question|problem|example|equation|eq\.?|figure|section|exercise|page|method)\s*[#(]?\s*$",
    re.IGNORECASE,
)
_RIGHT = re.compile(r"[,;]\s*(?:right|correct|ok(?:ay)?|yes|no|isn['\u2019]t it|huh)\s*$", re.IGNORECASE)
_INDEX = re.compile(r"[_^]\{?\s?[-\u2212]?$|(?<![A-Za-z])[A-Za-z]$")
"""Before an index, an exponent, the digit of a name: `x_1`, `cm^2`, `m2`."""
_PART = re.compile(r"-[a-z]{2}")
_BRACKET = re.compile(r"\\.|[()\[\]{}]", re.DOTALL)
_UNENDED = re.compile(
    r"(?:[-+/=^,\u00d7\u00f7\u2212]|(?<=\s)\*|\\[dtc]?frac\s*\{[^{}]*\}|"
    r"\\(?:[dtc]?frac|binom|sqrt|left|text[a-z]*|math[a-z]*|times|cdot|div|pm|[lg]eq?|in|cup|cap|to)|\\)$"
)
_LOOSE = re.compile(r"(?<!\\)\$(?=[A-Za-z\\({\[-])[^$]*$")
_ONE_NAME = (
    r"(?:\\(?:triangle|angle|overline|vec|hat|bar|mathrm|mathbf|mathit|mathcal|operatorname|overrightarrow)\s?)?"
    r"(?:\\?\{\s?)?(?:[A-Za-z]|[A-Z]{2,5}|\\(?!pi|infty|emptyset|varnothing|text|frac|sqrt|times|cdot|[lc]dots|mathbb)[A-Za-z]+)"
    r"(?:'|_\{?[A-Za-z0-9]{1,3}\}?)*(?:\s?\\?\})?"
)
_ARGUMENT = r"[A-Za-z](?:_\{?[A-Za-z0-9]{1,2}\}?)?"
_NAME = re.compile(
    rf"{_ONE_NAME}(?:\s?\(\s?{_ARGUMENT}(?:\s?,\s?{_ARGUMENT}){{0,4}}\s?\))?(?:\s?(?:,|\\ldots|\\dots|\s)\s?{_ONE_NAME}){{0,8}}"
)
"""`n`, `f(x)`, `x_1`, `\\triangle ABC`: a name, not a value."""
_BLANK = re.compile(r"(?:\\(?:blacksquare|square|Box|qed|Diamond|quad|ldots|dots)(?![A-Za-z])|[\s.,\u25a0\u25a1])*")
"""The end mark of a proof, or nothing."""
_CONDITION = re.compile(
    r"\b(?:for\s+(?:all|any|every|each|some|which|real|integers?|positive)\b[^.$\\\n]{0,30}|for|where|when(?:ever)?|if|"
    r"provided(?:\s+that)?|with|since|because|at)\s*$",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(
    r"(?:\b(?:answer|ans)\b[\s*_]*(?:(?:is|are|was|=|:)[\s*_:$\\\[(]*)|####\s*|<answer>\s*</answer>)\Z", re.IGNORECASE
)
_NO_VALUE = re.compile(
    r"\banswers?\s(?:[^.:;,\n]{0,40}\s)?(?:is|are|be|was)\s(?:not|never|(?:at\s)(?:least|most)|(?:strictly\s)?(?:less|more|greater|"
    r"fewer|larger|smaller)\sthan(?:\sor\sequal\sto)?|over|under|above|below|between|twice|thrice|double|half(?:\sof)?|(?:the\s)?"
    r"(?:square\s|cube\s)?root(?:\sof)?|the\s(?:square|cube)\sof)\s[^A-Za-z.;:\n]{0,12}(?:and\s[^A-Za-z.;\n]{0,12})?\Z|"
    r"\banswers?\s(?:cannot|can['\u2019]t|can\snot|could\snot|isn['\u2019]t|will\snot)\s(?:be\s)?[$\\(\s]*\Z",
    re.IGNORECASE,
)
"""Before a number about the answer that is not its value: "the answer is at most 5"."""
_LOOK = 400


def fallback_answer(text: str, kind: AnswerKind, question: str = "") -> tuple[Found, str] | None:
    """The answer by the fallback and its rule (`last_number`, `last_math`, `last_letter`); None if there is none.

    Args:
        question: the problem's text; a copy of it in the response is not an answer.
    """
    at = _behind_copy(text, question)
    if at is None:
        return None
    if _UNFINISHED.search(text.rstrip()[-60:]):
        return None  # it ends where an answer should follow
    if kind == "choice":
        letter = last_letter(text)
        return None if letter is None or letter.start < at else (letter, "last_letter")
    text = text[: complete_end(text)]
    spans = _spans(text, at) if kind == "math" else []
    span, passed = _strongest(text, spans, at)
    number = _last_number(_without(text, passed), kind, at, len(text))
    if span is None and number is None and passed:  # names alone
        span = next((s for s in passed if not _CONDITION.search(text, max(at, s.start() - 60), s.start())), passed[0])
    if span is None or (number is not None and number.end > span.end()):
        return number and (number, "last_number")
    return Found(content_of(span), span.start(), span.end()), "last_math"


def _behind_copy(text: str, question: str) -> int | None:
    """Where the last word-for-word copy of the question ends; None if the text is part of the question."""
    question, response = question.strip(), text.strip()
    if len(question) < 8 or len(response) < 8:
        return 0
    if response in question:
        return None
    rest = text.split(question)[-1]
    return len(text) - len(rest) if len(rest) < len(text) else 0


def complete_end(text: str) -> int:
    """Where the last sentence begins if it was cut off within a formula or number; else the end of the text."""
    tail = text.rstrip()
    line = tail.rfind("\n") + 1
    if line and len(tail) - line < 20 and _MARKER.fullmatch(tail, line):  # an empty item of a list
        tail = tail[:line].rstrip()
        line = tail.rfind("\n") + 1
    at = _cut_at(tail, line)
    if at is None:
        return len(tail)
    ends = [(tail.rfind(mark, 0, at), len(mark)) for mark in (". ", "\n", "! ", "? ", "\u3002")]
    return max((place + length for place, length in ends if place >= 0), default=0)


def _cut_at(tail: str, line: int) -> int | None:
    """A place in the formula in which a text was cut off, if it was; `line` is where its last line begins."""
    if not tail or tail[-1] in ".!?\u3002":
        return None
    opened = max(_last_of(tail, "\\["), _last_of(tail, "\\("))
    if opened > max(tail.rfind("\\]"), tail.rfind("\\)")):
        return opened
    if tail.count("$$") % 2:
        return tail.rfind("$$")
    line = max(line, len(tail) - 2000)
    stack: list[int] = []
    for bracket in _BRACKET.finditer(tail, line):
        if bracket.group() in "([{":
            stack.append(bracket.start())
        elif bracket.group() in ")]}" and stack:
            stack.pop()
    if stack:
        return stack[-1]
    loose = _LOOSE.search(MATH_SPAN.sub(lambda span: "#" * len(span.group()), tail[line:]))
    if loose is not None:
        return line + loose.start()
    return len(tail) - 1 if _UNENDED.search(tail, max(line, len(tail) - 100)) else None


def _last_of(text: str, mark: str) -> int:
    r"""The last place of a mark that is not a LaTeX line break (`\\[2pt]`)."""
    at = text.rfind(mark)
    while at > 0 and text[at - 1] == "\\":
        at = text.rfind(mark, 0, at)
    return at


def _numbers(text: str, kind: AnswerKind, begin: int, end: int) -> Iterator[Found]:
    """Numbers in [begin, end), last first; one between letters (`K2A`) is part of a name.

    The last run of numeric characters is searched first: it nearly always contains the answer.
    """
    start = stop = max(text.rfind(digit, begin, end) for digit in "0123456789") + 1
    if start <= begin:
        return
    while start > begin and text[start - 1] in _NUMERIC:
        start -= 1
    while stop < end and text[stop] in _NUMERIC:
        stop += 1
    while True:
        for match in reversed(list(NUMBER[kind].finditer(text, start, stop))):
            before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
            if not (before.isalpha() and after.isalpha()):
                yield Found(match.group().strip(), match.start(), match.end())
        if start <= begin:
            return
        stop = start
        start = max(begin, text.rfind("\n", begin, start - 1) + 1)


def _last_number(text: str, kind: AnswerKind, begin: int, stop: int) -> Found | None:
    """The last number before `stop` that is not a step's, an index or exponent, or part of a question."""
    for found in _numbers(text, kind, begin, stop):
        head = text[max(0, found.start - 20) : found.start]
        if (
            not _is_asked(text, found.end)
            and not _STEP.search(head)
            and not _INDEX.search(head)
            and not _is_no_value(text, found.start)
        ):
            return found
    return None


def _is_no_value(text: str, at: int) -> bool:
    return _NO_VALUE.search(text, max(0, at - 100), at) is not None


def _is_asked(text: str, at: int) -> bool:
    end = SENTENCE_END.search(text, at, at + _LOOK)
    return end is not None and end.group() in "?\uff1f" and not _RIGHT.search(text, at, end.start())


def _spans(text: str, begin: int) -> list[re.Match[str]]:
    """The formulas in math delimiters that are not blank and not part of a question."""
    if "$" not in text and "\\(" not in text and "\\[" not in text:
        return []
    spans = MATH_SPAN.finditer(text, begin)
    return [
        s
        for s in spans
        if not (_BLANK.fullmatch(content_of(s)) or _is_asked(text, s.end()) or _is_no_value(text, s.start()))
    ]


def _strongest(
    text: str, spans: Sequence[re.Match[str]], begin: int
) -> tuple[re.Match[str] | None, list[re.Match[str]]]:
    """The last formula that is not skipped, and those that are.

    Skipped are names alone, and conditions ("when $x = 3$") with a formula or number before them in their sentence.
    """
    passed: list[re.Match[str]] = []
    for place in range(len(spans) - 1, -1, -1):
        span = spans[place]
        if not _is_name(text, span):
            if not _CONDITION.search(text, max(begin, span.start() - 60), span.start()):
                return span, passed
            far = max(begin, span.start() - _LOOK)
            start = max(far, *(text.rfind(mark, far, span.start()) for mark in (". ", "\n", "? ", "! ")))
            before = place and spans[place - 1].start() >= start and not _is_name(text, spans[place - 1])
            if not before and _last_number(text, "math", start, span.start()) is None:
                return span, passed
        passed.append(span)
    return None, passed


def _without(text: str, spans: Sequence[re.Match[str]]) -> str:
    """The text with spaces in place of some spans, which are given last first."""
    pieces: list[str] = []
    at = len(text)
    for span in spans:
        pieces += [text[span.end() : at], " " * (span.end() - span.start())]
        at = span.start()
    return "".join(reversed([*pieces, text[:at]])) if spans else text


def _is_name(text: str, span: re.Match[str]) -> bool:
    """Whether a formula is a name and not a value: `n`, `f(x)`, `x`-axis."""
    return _NAME.fullmatch(content_of(span).strip(" .,;")) is not None or _PART.match(text, span.end()) is not None
