r"""Where a formula or a number ends in the middle of prose: `72, which is the total` is 72, `(-1,6).` is (-1,6).

A formula is read token by token up to the first word that belongs to no formula, to the end of its sentence or to a
bracket that closes nothing. What is left open (`(1/2`, `3 +`) is no formula. All of it is linear, and bounded by the
window that the caller gives.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from its.grading.normalise import AnswerKind, normalise_answer, parse_number

# The lookahead inside the group keeps the match free of backtracking: 1,000,0001 is 1,000 and then 0001.
# A sign counts only where nothing stands before it that it could subtract from: 16-3 ends in 3.
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
    r"\$\$([^$]++)\$\$"
    r"|(?<!\\)\$(?!\s)((?:[^$\n\\]|\\[^\n])++)(?<!\s)\$(?![0-9])"  # as pandoc: "$5 and $7" is money
    r"|(?<!\\)\$((?:[^$\n\\A-Za-z]|\\[A-Za-z]++(?:\{[A-Za-z |]++\})*+|\\.|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))++)\$"
    r"(?![0-9])"
    r"|\\\(((?:[^\\]|\\[^()])*+)\\\)"
    r"|\\\[((?:[^\\]|\\[^\[\]])*+)\\\]"
)
_LONE = re.compile(rf"[-+]?\\?\$?{_PLAIN}(?=\.?[ \t]?(?:\n|\Z)|\. [A-Z])")
"""A number with nothing behind it in its sentence, the usual case."""
_GROUPS = r"\{[^{}]{0,300}(?:\{[^{}]{0,300}\}[^{}]{0,300}){0,8}\}"
_TOKEN = re.compile(
    r"(?P<env>\\begin\{([a-z]{1,12}\*?)\}(?:(?!\\end\{).){0,600}\\end\{\2\})"
    rf"|(?P<words>\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*{_GROUPS})"
    r"|(?P<command>\\(?:[A-Za-z]+|.))"
    r"|(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3}(?![0-9]))++|[0-9]++)(?:\.[0-9]++)?|\.[0-9]++)"
    r"|(?P<solid>[\u00b2\u00b3\u00b9\u2070-\u209f\u00bc-\u00be\u2150-\u215f\u221e\u00b0\u2032\u2033%\u2030\u2205\u2460-\u24ff|])"
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
"""Functions only where a parenthesis follows."""
_CONSTANTS = {"pi", "infinity", "infty", "theta", "alpha", "beta"}
_ENGLISH = {"is", "as", "of", "to", "in", "on", "at", "by", "or", "an", "if", "so", "we", "it", "be", "he", "no", "do"}
_ENGLISH |= {"my", "up", "us", "me", "am", "go", "hi", "oh", "ok", "vs", "eh"}
"""Words of two letters that are no product."""
_OPERATOR = re.compile(
    r"times|cdot|div|pm|mp|leq?|leqslant|geq?|geqslant|lt|gt|neq?|(?:not)?in|cup|cap|setminus|subset(?:eq)?|to|rightarrow|"
    r"implies|approx|equiv|sim|mid|oplus|otimes|circ|l?and|lor|wedge|vee|[dt]?frac"
)
"""Commands behind which something has to follow."""
_SPACING = re.compile(r"q?quad|[^A-Za-z]")
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
    r"cubed|factorial|times|[ap]\.?m\b\.?)(?![A-Za-z])",
    re.IGNORECASE,
)
"""Words behind a number that change its value: 5 million is not 5."""
_COMPOUND = re.compile(
    r"[^\S\n]*(?!(?:so|as|or|if|in|of|to|for|from|per|by|at|on|with|since|because|is|than|when|but|while|then|out)\b)"
    r"[A-Za-z]+\.?(?:,\s?)?\s*(?:and\s+)?[0-9][0-9.,]*\s*[A-Za-z]+\.?(?=\s*(?:[.;!?)\n]|$))"
)
"""`5 hours and 30 minutes` is not 5."""
_LENGTH = re.compile(r"[^\S\n]*-?\s*(?:digits?|decimals?|significant|places|sig\.?\s?figs?|characters|words)\b", re.I)
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}(?![A-Za-z(}])")
_HALF = re.compile(r"\\[dtc]?frac\s*(?:\{[^{}]*\})?\s*$")
_BREAK = re.compile(
    r"[,;]\s+(?=[A-Za-z]{2,})|\(|\b(?:since|because|as|which|so|where|when|if|for|that|after|with|given)\b|\s[\u2014\u2013-]\s"
)
_RELATION = re.compile(
    r"[<>\u2264\u2265\u2260\u2248,;]|!=|\\(?:[lg]eq?(?:slant)?|neq?|approx|equiv|in|to|text|q?quad|implies)(?![A-Za-z])"
)
_LETTERS = re.compile(
    r"(?<![\\A-Za-z])[A-Za-z]|\\(?!(?:[dtc]?frac|sqrt|times|cdot|div|left|right|pm|pi|binom)(?![A-Za-z]))[A-Za-z]"
)
_STOP = re.compile(r"[.!?](?=\s|$|[<*\"\u201d')])|\n|\u3002|\uff1f")


class Found(NamedTuple):
    """An answer as written, and where it stands: characters [start, end) of the text."""

    answer: str
    start: int
    end: int


def content_of(span: re.Match[str]) -> str:
    """What stands between the marks of a `MATH_SPAN`."""
    return next(group for group in span.groups() if group is not None).strip()


def has_prose(text: str) -> bool:
    """Whether a text holds words that belong to no formula."""
    return _PROSE.search(text) is not None


def sentence_end(text: str, at: int, stop: int) -> int:
    """Where the sentence that runs on at `at` ends, before its mark; a mark within a formula ends none."""
    while True:
        mark = _STOP.search(text, at, stop)
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
    """The formula or number that begins at `at`, as far as it goes; None where none begins or it is left open.

    A unit in words goes, but a word that changes the value stays (`5 million`), and so does a second quantity
    (`5 hours and 30 minutes`). Where units stand in an equation, what follows its last equals sign is the answer.
    """
    plain = _LONE.match(text, at, stop)
    if plain is not None:
        return Found(plain.group(), at, plain.end())
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
    """What a calculation comes to: 5 of `3 + 2 = 5`, 12 of `m+n = 5+7 = 12`; other equations stay."""
    if r"\text{or}" in found.answer:  # 1/2 or 0.5
        values = {parse_number(normalise_answer(part, "math")) for part in found.answer.split(r"\text{or}")}
        if len(values) == 1 and None not in values:
            return Found(found.answer.partition(r"\text{or}")[0].strip(), found.start, found.end)
    if "=" not in found.answer or _RELATION.search(found.answer):
        return found
    parts = found.answer.split("=")
    last = parts[-1].strip()
    worked = not _LETTERS.search(parts[0]) or (
        len(parts) > 2 and re.search(r"[0-9]", parts[-2]) and not _LETTERS.search(last)
    )
    if not worked or not re.search(r"[0-9]", last) or any(_depth(part) for part in parts):
        return found
    at = text.rfind(last, found.start, found.end)
    return Found(last, at, at + len(last)) if at >= 0 else Found(last, found.start, found.end)


def _depth(text: str) -> int:
    return sum((letter in _OPENS) - (letter in _CLOSES) for letter in text)


def _scan(text: str, at: int, stop: int, kind: AnswerKind) -> Found | None:
    pieces: list[str] = []
    kept = 0  # pieces up to the last token that can end a formula
    solid, place, hard = at, at, False
    opened: list[str] = []
    spans = 0
    only: re.Match[str] | None = None

    def keep(piece: str, end: int) -> None:
        nonlocal kept, solid, hard
        pieces.append(piece)
        kept, solid, hard = len(pieces), end, False

    while place < stop:
        letter = text[place]
        span = MATH_SPAN.match(text, place, stop) if letter in "$\\" else None
        if span is not None and content_of(span):
            if "box" in span.group():
                break  # which is read as such
            keep(content_of(span), span.end())
            only, spans, place = span, spans + 1, span.end()
            continue
        token = _TOKEN.match(text, place, stop)
        assert token is not None
        name, said, end = token.lastgroup, token.group(), token.end()
        after = text[end : end + 1]
        if name in ("number", "solid", "env", "words"):
            keep(said, end)
        elif name == "space":
            pieces.append(" ")
        elif name == "dots":
            pieces.append(said)
            hard = hard or not kept
        elif name == "command":
            bare = said[1:]
            if bare in ("boxed", "fbox", ")", "]", "(", "["):
                break
            if bare in ("%", "}"):
                keep(said, end)
            elif _SPACING.fullmatch(bare):
                pieces.append(said)
            elif _OPERATOR.fullmatch(bare):
                pieces.append(said)
                hard = True
            else:
                keep(said, end)
        elif name == "stars":
            before = place == at or text[place - 1].isspace()
            behind = not after or after.isspace() or after in '.,;:!?)"'
            if before == behind and said != "__":  # `3 * 4` and `3*4` are products; `**18**` is set bold
                pieces.append(said)
                hard = True
        elif name == "word" and said in "ie" and text.startswith((".e.", ".g."), end):
            break
        elif name == "word" and opened[-1:] == ["{"]:
            keep(said, end)
        elif name == "word":
            verdict = _word(text, place, end, stop, kind, solid > at, hard or not kept)
            if verdict == "stop":
                break
            if verdict == "link":
                if "".join(pieces[kept:]).strip() == ",":  # `1, 2, or 3`
                    del pieces[kept:]
                    pieces.append(" ")
                pieces.append(rf"\text{{{said.lower()}}}")
            elif verdict == "keep":
                keep(said, end)
            else:
                pieces.append(said)
                hard = True
        elif said in _OPENS:
            if not opened and _is_aside(text, place, stop):
                break
            opened.append(said)
            pieces.append(said)
        elif said in _CLOSES:
            if not opened:
                break
            opened.pop()
            keep(said, end)
        elif said == "?":
            return None  # it is asked
        elif said == "$":
            if not re.match(r"-?\.?[0-9]", text[end : end + 3]):
                break
            pieces.append(said)
        elif said in "\u20ac\u00a3\u00a5":
            if kept and text[place - 1].isdigit():
                keep(said, end)
            else:
                pieces.append(said)
        elif said == "!":
            if re.match(r"\s*(?:[A-Z0-9\n]|\Z)", text[end : end + 3]):
                break  # an exclamation
            keep(said, end)
        elif said == "'" and kept and (after == "(" or after == "'"):
            keep(said, end)
        elif said == ":":
            if not (
                kept and re.match(r"\s?[0-9$\\]", text[end : end + 2]) and re.search(r"[0-9}]\s?$", text[at:place])
            ):
                break
            pieces.append(said)
        elif said in _HARD or said in _SOFT:
            if said == "<" and re.match(r"[|/]|[A-Za-z]+>", text[end : end + 20]):
                break  # a token of a template, a tag
            if said == "/" and kept and re.match(r"[A-Za-z]{2}", text[end : end + 2]):
                break  # 18/day
            pieces.append(said)
            hard = hard or said in _HARD
        else:
            break
        place = end
    answer = "".join(pieces[:kept]).strip().strip(",;").strip()
    if answer.endswith("|") and answer.count("|") % 2:
        answer = answer[:-1].strip()  # the edge of a table
    if opened or not answer or not re.search(r"[0-9A-Za-z\\\u00b2-\u24ff]", answer) or _HALF.search(answer):
        return None
    if hard:
        return None  # `3 +`, `x =`
    if spans == 1 and only is not None and answer == content_of(only):
        return Found(answer, only.start(), only.end())
    start = at + len(text[at:solid]) - len(text[at:solid].lstrip())
    return Found(answer, start, solid)


def _word(text: str, start: int, end: int, stop: int, kind: AnswerKind, begun: bool, wanted: bool) -> str:
    """What a word does: `keep` in the formula, `link` two formulas, take an argument (`open`), or `stop` it.

    Args:
        begun: whether the formula has a token already.
        wanted: whether a token is wanted here: at the beginning and behind an operator.
    """
    word = text[start:end]
    low = word.lower()
    after = text[end : min(stop, end + 40)]
    if low in _LINKS:
        return _LINKS[low][0] if begun and _LINKS[low][1].match(after) else "stop"
    if low in _CONSTANTS:
        return "keep"
    if low in _FUNCTIONS or (low in _CALLED and after[:1] == "("):
        return "open"
    if not word.isascii():
        return "keep" if len(word) == 1 and "\u0370" <= word <= "\u03ff" else "stop"
    attached = begun and (text[start - 1].isdigit() or text[start - 1] in ")}]^")
    if len(word) == 1:
        return "stop" if word in "aAI" and not attached and _A_WORD.match(after) else "keep"
    if attached:
        return "keep" if len(word) <= 4 or _CHANGING.match(text, start, stop) else "stop"
    if kind != "math" or not wanted or low in _ENGLISH:
        return "stop"
    if len(word) > 2 and not (word.isupper() and len(word) <= 4):
        return "stop"
    return "stop" if not begun and _A_WORD.match(after) else "keep"  # `ab` and `ABC` are products or points


def _is_aside(text: str, start: int, stop: int) -> bool:
    """Whether a bracket holds words, or how a number was come by: `18 (since 9 * 2)`, `18 (9 * 2 = 18)`."""
    close = text.find(")" if text[start] == "(" else "]" if text[start] == "[" else "}", start, min(stop, start + 200))
    held = text[start + 1 : close] if close > 0 else ""
    worked = text[start] == "(" and re.search(r"[0-9]\s$", text[max(0, start - 2) : start]) is not None
    return has_prose(held) or (worked and ("=" in held or not re.search(r"[A-Za-z]", held)))
