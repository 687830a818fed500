r"""Where a formula or a number in prose ends: `72, which is the total` is 72, `(-1,6).` is (-1,6).

A formula is read token by token up to the first word of prose, the end of its sentence or an unmatched closing bracket.
What is incomplete (`(1/2`, `3 +`) is not a formula. All of it is linear, and bounded by the caller's window.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from its.grading.formula.vocabulary import SMALL_WORDS, names_of
from its.grading.normalise import AnswerKind, normalise_answer, parse_number

# The lookahead inside the group keeps the match free of backtracking: 1,000,0001 is 1,000 and then 0001.
# A sign counts only if there is nothing before it to subtract from: 16-3 ends in 3.
_SIGN = r"(?:(?<![0-9A-Za-z)\]}.])[-+\u2212\u2013])?\\?\$?"
_PLAIN = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3}(?![0-9]))++|[0-9]++)(?:\.[0-9]++)?|(?<![0-9.])\.[0-9]++)"
_RATIO = r"[0-9]{1,20}+/[0-9]++(?![/0-9])|\\[dtc]?frac\s?\{-?[0-9]{1,20}+\}\{[0-9]{1,20}+\}"
_COMMA = r"(?<![0-9,.])[0-9]{1,20}+,[0-9]{1,2}+(?![0-9,])"
NUMBER: dict[str, re.Pattern[str]] = {
    "integer": re.compile(_SIGN + _PLAIN),
    "number": re.compile(_SIGN + f"(?:{_RATIO}|{_COMMA}|{_PLAIN})"),
    "math": re.compile(_SIGN + f"(?:{_RATIO}|{_PLAIN})"),
}
MATH_SPAN = re.compile(
    r"\$\$((?:[^$\\]|\\[\s\S])++)\$\$"
    r"|(?<!\\)\$(?!\s)((?:[^$\n\\]|\\[^\n])++)(?<!\s)\$(?![0-9])"  # as pandoc: "$5 and $7" is money
    r"|(?<!\\)\$((?:[^$\n\\A-Za-z]|\\[A-Za-z]++(?:\{[A-Za-z |]++\})*+|\\.|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))++)\$"
    r"(?![0-9])"
    r"|\\\(((?:[^\\]|\\[^()])*+)\\\)"
    r"|\\\[((?:[^\\]|\\[^\[\]])*+)\\\]"
)
_LONE = re.compile(rf"[-+]?\\?\$?{_PLAIN}(?=\.?[ \t]?(?:\n|\Z)|\. [A-Z])")
"""A number with nothing after it in its sentence, the usual case."""
_GROUPS = r"\{[^{}]{0,300}(?:\{[^{}]{0,300}\}[^{}]{0,300}){0,8}\}"
_TOKEN = re.compile(
    r"(?P<env>\\begin\{([a-z]{1,12}\*?)\}(?:(?!\\end\{).){0,600}\\end\{\2\})"
    rf"|(?P<words>\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*{_GROUPS})"
    r"|(?P<command>\\(?:[A-Za-z]+|.))"
    r"|(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3}(?![0-9]))++|[0-9]++)(?:\.[0-9]++)?|\.[0-9]++)"
    r"|(?P<solid>[\u00b2\u00b3\u00b9\u2070-\u209f\u00bc-\u00be\u2150-\u215f\u221e\u00b0\u2032\u2033%\u2030\u2205\u2460-\u24ff])"
    r"|(?P<word>[^\W\d_]+(?:['\u2019][^\W\d_]+)*)"
    r"|(?P<space>[^\S\n]+)"
    r"|(?P<stars>\*+|_{2,})"
    r"|(?P<dots>\.{3}|\u2026)"
    r"|(?P<mark>.)",
    re.DOTALL,
)
_OPENS, _CLOSES = "([{", ")]}"
_FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"}
_FUNCTIONS |= {"log", "ln", "lg", "sqrt", "mod"}
_CALLED = {"max", "min", "abs", "floor", "ceil", "gcd", "lcm", "det", "exp", "binom"}
"""Functions only if a parenthesis follows."""
_CONSTANTS = {"pi", "infinity", "infty", "theta", "alpha", "beta"}
_ENGLISH = SMALL_WORDS | names_of("he do my up us me am go hi oh ok vs eh")
_OPERATOR = re.compile(
    r"times|cdot|div|pm|mp|leq?|leqslant|geq?|geqslant|lt|gt|neq?|(?:not)?in|cup|cap|setminus|subset(?:eq)?|to|rightarrow|"
    r"implies|approx|equiv|sim|mid|oplus|otimes|circ|l?and|lor|wedge|vee|[dt]?frac|sqrt|angle|triangle|left|neg"
)
"""Commands that something has to follow."""
_SPACING = re.compile(r"q?quad|[^A-Za-z%}]")
_GREEK = re.compile(r"[A-Za-z]?[\u0391-\u03c9]{1,2}[A-Za-z]?")
_SOMETHING = re.compile(r"[0-9A-Za-z\\\u00b2-\u24ff]")
_BEFORE_A_TERM = frozenset(" +-*/^=<>(,[{|\u2212\u2264\u2265")
_HARD = frozenset("+*/^=<>\u2264\u2265\u2260\u00b1\u00d7\u00f7\u2248\u222a\u2229\u2208\u221a")
_SOFT = frozenset("-\u2212\u2013\u00b7_&~,;\uff0c\u3001:")
_A_WORD = re.compile(r"\s+[A-Za-z]{2}|'")
_LINKS = {
    **dict.fromkeys(("and", "or"), ("link", re.compile(r"\s+(?!(?:a|A|I)\s)(?:[-+$\\(\[0-9.]|[A-Za-z](?![A-Za-z']))"))),
    "to": ("open", re.compile(r"\s+-?\$?[0-9]")),  # a range
    "in": ("open", re.compile(r"\s+(?:[\[(]|[0-9]+(?!\s?[0-9A-Za-z]))")),  # an interval, odds
}
"""Words between two formulas: what they do, and what has to follow."""
_CHANGING = re.compile(
    r"[^\S\n]*-?(?:and\s+(?:a|one|two|three)[\s-]+)?(?:[mbtr]+illion|thousand|hundred|dozen|lakh|crore|hal(?:f|ves)|"
    r"thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|thousandths?|squared|"
    r"cubed|factorial|times|[ap]\.?m\b\.?|or\s(?:more|less|fewer|greater|higher|lower)|to\sthe\spower|"
    r"(?:plus|minus|over|choose|(?:divided|multiplied)\sby)\s[0-9]+)(?![A-Za-z])",
    re.IGNORECASE,
)
"""Words after a number that change its value: 5 million is not 5."""
_NEGATIVE = re.compile(r"(?:negative|minus)\s(?=[0-9]|\\[dt]?frac)", re.IGNORECASE)
_COMPOUND = re.compile(
    r"[^\S\n]*(?!(?:so|as|or|if|in|of|to|for|from|per|by|at|on|with|since|because|is|than|when|but|while|then|out)\b)"
    r"[A-Za-z]+\.?(?:,\s?)?\s*(?:and\s+)?[0-9][0-9.,]*\s*[A-Za-z]+\.?(?=\s*(?:[.;!?)\n]|$))"
)
"""`5 hours and 30 minutes` is not 5."""
_LENGTH = re.compile(r"[^\S\n]*-?\s*(?:digits?|decimals?|significant|places|sig\.?\s?figs?|characters|words)\b", re.I)
_PROSE = re.compile(r"(?<![\\A-Za-z0-9{])(?=[A-Za-z]*[a-z]{2})[A-Za-z]{3,}(?![A-Za-z(}])|(?<=[0-9])[a-z]{5,}")
_HALF = re.compile(r"\\[dtc]?frac\s*(?:\{[^{}]*\})?\s*$")
_BREAK = re.compile(
    r"[,;]\s+(?=[A-Za-z]{2,})|\(|\b(?:since|because|as|which|so|where|when|if|for|that|after|with|given)\b|\s[\u2014\u2013-]\s"
)
_RELATION = re.compile(
    r"[<>\u2264\u2265\u2260\u2248,;]|!=|\\(?:[lg]eq?(?:slant)?|neq?|approx|equiv|in|to|text|q?quad|implies)(?![A-Za-z])"
)
_LETTERS = re.compile(
    r"(?<![\\A-Za-z])[A-Za-z]|[\u0391-\u03bf\u03c1-\u03c9]|\\(?!(?:[dtc]?frac|sqrt|times|cdot|div|left|right|pm|pi|binom)(?![A-Za-z]))[A-Za-z]"
)
SENTENCE_END = re.compile(r"[.!?](?=\s|$|[<*\"\u201d')])|\n|\u3002|\uff1f")


class Found(NamedTuple):
    """An answer as written, and its place: characters [start, end) of the text."""

    answer: str
    start: int
    end: int


def content_of(span: re.Match[str]) -> str:
    """The content of a `MATH_SPAN` without its delimiters."""
    return next(group for group in span.groups() if group is not None).strip()


def has_prose(text: str) -> bool:
    """Whether a text contains words of prose."""
    return _PROSE.search(text) is not None


def sentence_end(text: str, at: int, stop: int) -> int:
    """Where the sentence around `at` ends, before its mark; a mark within a formula does not end it."""
    while True:
        mark = SENTENCE_END.search(text, at, stop)
        if mark is None:
            return stop
        head = text[at : mark.start()]
        if "$" not in head and "\\" not in head:
            return mark.start()
        span = next((m for m in MATH_SPAN.finditer(text, at, stop) if m.end() > mark.start()), None)
        if span is None or span.start() >= mark.start():
            return mark.start()
        at = span.end()


def read_formula(text: str, at: int, stop: int, kind: AnswerKind) -> Found | None:
    """The formula or number that begins at `at`, up to its end; None if there is none or it is incomplete.

    A unit in words is dropped, but a word that changes the value stays (`5 million`), and so does a second quantity
    (`5 hours and 30 minutes`). In an equation with units, what follows its last equals sign is the answer.
    """
    plain = _LONE.match(text, at, stop)
    if plain is not None:
        return Found(plain.group(), at, plain.end())
    if (sign := _NEGATIVE.match(text, at, stop)) is not None:
        found = read_formula(text, sign.end(), stop, kind)
        return found and Found("-" + found.answer, at, found.end)
    found = _scan(text, at, stop, kind)
    if found is None or _LENGTH.match(text, found.end, stop):
        return None
    more = _CHANGING.match(text, found.end, stop) or _COMPOUND.match(text, found.end, stop)
    if more is not None:
        words = more.group().rstrip()
        return Found(found.answer + words, found.start, found.end + len(words))
    rest = text[found.end : sentence_end(text, found.end, stop)]
    broken = _BREAK.search(rest)
    equals = rest.rfind("=", 0, broken.start() if broken else len(rest))
    if equals >= 0 and has_prose(rest[:equals]):
        start = found.end + equals + 1
        while start < stop and text[start].isspace():
            start += 1
        return _scan(text, start, stop, kind) or found
    return _result(text, found)


def _result(text: str, found: Found) -> Found:
    """The result of a calculation: 5 of `3 + 2 = 5`, 12 of `m+n = 5+7 = 12`; other equations stay."""
    if r"\text{or}" in found.answer:  # 1/2 or 0.5
        values = {parse_number(normalise_answer(part, "math")) for part in found.answer.split(r"\text{or}")}
        if len(values) == 1 and None not in values:
            return Found(found.answer.partition(r"\text{or}")[0].strip(), found.start, found.end)
    if "=" not in found.answer or _RELATION.search(found.answer):
        return found
    parts = found.answer.split("=")
    last = parts[-1].strip()
    worked = not _LETTERS.search(parts[0]) or (len(parts) > 2 and re.search(r"[0-9]", parts[-2]) is not None)
    if not worked or any(map(_depth, parts)) or parse_number(normalise_answer(last, "math")) is None:
        return found
    at = text.rfind(last, found.start, found.end)
    return Found(last, at, at + len(last)) if at >= 0 else Found(last, found.start, found.end)


def _depth(text: str) -> int:
    return sum((letter in _OPENS) - (letter in _CLOSES) for letter in text)


def _scan(text: str, at: int, stop: int, kind: AnswerKind) -> Found | None:
    scan = _Scan(text, at, stop, kind)
    return scan.found() if scan.reads() else None


class _Scan:
    """A formula read token by token.

    What a token does: `keep` it, so that a formula can end with it; `hold` it, part of the formula if more follows (a
    comma, a space); `want`: hold it, and something has to follow (`=`); `skip` it; `stop` before it; `fail`.
    """

    def __init__(self, text: str, at: int, stop: int, kind: AnswerKind) -> None:
        self.text, self.at, self.stop, self.kind = text, at, stop, kind
        self.pieces: list[str] = []
        self.kept = 0  # pieces up to the last token that can end a formula
        self.end = at  # after that token
        self.wants = False  # whether something has to follow
        self.opened: list[str] = []
        self.spans: list[re.Match[str]] = []

    def reads(self) -> bool:
        """Read to the end of the formula; False if it is part of a question."""
        place = self.at
        while place < self.stop:
            span = MATH_SPAN.match(self.text, place, self.stop) if self.text[place] in "$\\" else None
            if span is not None and content_of(span):
                if "\\boxed" in span.group() or "\\fbox" in span.group():
                    break  # which has its own rule
                self.spans.append(span)
                self._take("keep", content_of(span), span.end())
                place = span.end()
                continue
            token = _TOKEN.match(self.text, place, self.stop)
            assert token is not None
            does = self._does(token.lastgroup or "", token.group(), place, token.end())
            if does in ("stop", "fail"):
                return does == "stop"
            self._take(does, token.group(), token.end())
            place = token.end()
        return True

    def found(self) -> Found | None:
        """The formula that was read; None if there is none or it is incomplete."""
        answer = "".join(self.pieces[: self.kept]).strip().strip(",;").strip()
        if answer.endswith("|") and answer.count("|") % 2:
            answer = answer[:-1].strip()  # the edge of a table
        if self.opened or self.wants or _HALF.search(answer) or not _SOMETHING.search(answer):
            return None
        if len(self.spans) == 1 and answer == content_of(self.spans[0]):
            return Found(answer, *self.spans[0].span())
        start = self.at
        while self.text[start].isspace():
            start += 1
        return Found(answer, start, self.end)

    def _take(self, does: str, token: str, end: int) -> None:
        if does == "skip":
            return
        if does == "link":
            if "".join(self.pieces[self.kept :]).strip() == ",":  # `1, 2, or 3`
                self.pieces[self.kept :] = [" "]
            token = rf"\text{{{token.lower()}}}"
        self.pieces.append(token)
        if does == "keep":
            self.kept, self.end, self.wants = len(self.pieces), end, False
        self.wants = self.wants or does == "want"

    def _does(self, name: str, token: str, place: int, end: int) -> str:
        after = self.text[end : min(self.stop, end + 40)]
        if name in ("number", "solid", "env", "words"):
            return "keep"
        if name == "space" or name == "dots":
            return "hold"
        if name == "command":
            return self._command(token[1:])
        if name == "stars":
            return self._stars(token, place, after)
        if name == "word":
            return self._word(token, place, after)
        return self._mark(token, place, end, after)

    def _command(self, name: str) -> str:
        if name in ("boxed", "fbox", ")", "]", "(", "["):
            return "stop"
        if name == "circ" and self.last() in "^{":
            return "keep"  # degrees
        if _OPERATOR.fullmatch(name):
            return "want"
        return "hold" if _SPACING.fullmatch(name) else "keep"

    def _stars(self, token: str, place: int, after: str) -> str:
        """`3 * 4` and `3*4` are products, `x^*` is a name; `**18**` is set bold."""
        if token == "*" and self.last() in "^{":
            return "keep"
        before = place == self.at or self.text[place - 1].isspace()
        behind = not after or after[0].isspace() or after[0] in '.,;:!?)"'
        return "want" if before == behind and token != "__" else "skip"

    def _word(self, word: str, place: int, after: str) -> str:
        low = word.lower()
        if self.opened[-1:] == ["{"]:
            return "keep"
        if low in _LINKS:
            return _LINKS[low][0] if self.kept and _LINKS[low][1].match(after) else "stop"
        if low in _CONSTANTS or _GREEK.fullmatch(word):
            return "keep"
        if low in _FUNCTIONS or (low in _CALLED and after[:1] == "("):
            return "want"
        if not word.isascii() or (word in "ie" and after.startswith((".e.", ".g."))):
            return "stop"
        attached = bool(self.kept) and (self.text[place - 1].isdigit() or self.text[place - 1] in ")}]^")
        if len(word) == 1:
            return "stop" if word in "aAI" and not attached and _A_WORD.match(after) else "keep"
        if attached:
            return "keep" if len(word) <= 4 or _CHANGING.match(self.text, place, self.stop) else "stop"
        # `ab` and `ABC` are products or points, where something has to follow.
        if self.kind != "math" or low in _ENGLISH or not (self.wants or self.last() in _BEFORE_A_TERM):
            return "stop"
        if len(word) > 2 and not (word.isupper() and len(word) <= 4):
            return "stop"
        return "stop" if not self.kept and _A_WORD.match(after) else "keep"

    def _mark(self, token: str, place: int, end: int, after: str) -> str:
        if token in _OPENS:
            if not self.opened and token == "(" and _is_aside(self.text, place, self.stop):
                return "stop"
            self.opened.append(token)
            return "hold"
        if token in _CLOSES:
            return "keep" if self.opened and self.opened.pop() else "stop"
        if token == "?":
            return "fail"
        if token == "|":  # an absolute value; in a set, "such that"
            return "keep" if "".join(self.pieces).count("|") % 2 else "hold"
        if token == "$":
            return "hold" if re.match(r"-?\.?[0-9]", after) else "stop"
        if token in "\u20ac\u00a3\u00a5":
            return "keep" if self.kept and self.text[place - 1].isdigit() else "hold"
        if token == "!":
            return "stop" if re.match(r"\s*(?:[A-Z0-9\n]|\Z)", after) else "keep"  # else a factorial
        if token == "'" and self.kept and (after[:1] in ("(", "'") or "circ" in "".join(self.pieces)):
            return "keep"
        if token == ":":  # a ratio
            return "hold" if self.last().isdigit() and re.match(r"\s?[0-9$\\]", after) else "stop"
        if token == "<" and re.match(r"[|/]|[A-Za-z]+>", after):
            return "stop"  # a token of a template, a tag
        if token == "/" and self.kept and re.match(r"[A-Za-z]{2}", after):
            return "stop"  # 18/day
        return "want" if token in _HARD else "hold" if token in _SOFT else "stop"

    def last(self) -> str:
        """The last character so far that is not a space; else a space."""
        return next((piece.rstrip()[-1:] for piece in reversed(self.pieces) if piece.strip()), " ")


def _is_aside(text: str, start: int, stop: int) -> bool:
    """Whether a parenthesis is a remark: words, or how a number was obtained: `18 (since 9 * 2)`, `18 (9 * 2 = 18)`."""
    close = text.find(")", start, min(stop, start + 200))
    held = text[start + 1 : close] if close > 0 else ""
    worked = re.search(r"[0-9]\s$", text[max(0, start - 2) : start]) is not None
    return has_prose(held) or (worked and ("=" in held or not re.search(r"[A-Za-z]", held)))
