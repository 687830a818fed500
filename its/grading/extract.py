"""Response -> answer: where in a text the final answer stands.

Every search is linear in the text, because a model that loops writes 100 kB of braces or digits. What is returned is
the text as written; `its.grading.equal.normalise_answer` brings it into the form that is compared and voted on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from its.grading.equal import is_choice, normalise_answer, parse_number

AnswerKind = Literal["integer", "math", "choice"]

# The lookahead inside the group keeps the match free of backtracking: 1,000,0001 is 1,000 and then 0001.
# A sign counts only where nothing stands before it that it could subtract from: 16-3 ends in 3.
_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z)\]}.])[-+\u2212\u2013])?\\?\$?"
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3}(?![0-9]))++|[0-9]++)(?:\.[0-9]++)?|(?<![0-9.])\.[0-9]++)"
)
_BRACE = re.compile(r"\\{1,2}(?:boxed|fbox)\s*+\{|\\[\\{}]|[{}]")
_MATH_SPAN = re.compile(
    r"\$\$([^$]++)\$\$"
    r"|(?<!\\)\$(?!\s)([^$\n]++)(?<!\s)\$(?![0-9])"  # as pandoc: "$5 and $7" is money
    r"|\\\(((?:[^\\]|\\[^()])*+)\\\)"
    r"|\\\[((?:[^\\]|\\[^\[\]])*+)\\\]"
)
_FINAL = re.compile(r"final answer(?:\s*\*\*)?\s*(?:is\b|:|=|(?<=\*\*))[\s*:]*", re.IGNORECASE)
_HASHES = re.compile(r"####[ \t]*([^\n#][^\n]*)")
_SENTENCE_END = re.compile(r"\.(?=\s|$)|\n")
_CHOICE_SAID = re.compile(
    r"answer\s*(?:is|:)(?:\s*(?:option|choice)\b)?[\s*:$]*"
    r"(?:\\(?:text|mathrm|textbf|mathbf)\s*\{)?"
    r"(?:\(\s*([A-Ja-j])\s*\)|(?-i:([A-J]))(?=\s*(?:[).:,;*$}\]\n]|$)|\s+(?:because|since|as)\b)|(?-i:([B-HJ]))\b)",
    re.IGNORECASE,
)
_CHOICE_LAST = re.compile(r"(?:^|[\s(*])([A-J])[)*.\s]*$")


@dataclass(frozen=True)
class Extracted:
    """An answer as written and the rule that found it.

    Rules: box, final_answer, hashes, last_number, last_math, last_letter.
    """

    answer: str
    rule: str


def extract_answer(text: str, kind: AnswerKind) -> Extracted | None:
    r"""The final answer of a response, or None where it gives none.

    The first rule that finds something wins:

    1. `box`: the last balanced, non-empty `\boxed{...}` or `\fbox{...}`; of nested boxes the innermost. An empty box
       counts as none, so an earlier filled one is used. For `choice` it has to hold a letter A-J.
    2. `final_answer`: what follows the last "final answer is" (integer: the first number of that sentence, after its
       last equals sign); for `choice` the letter in "answer is (B)" or "Answer: B".
    3. `hashes` (integer, math): `#### X`; for math only as the last line, since `#### Step 2` is also a heading.
    4. integer: the last number; math: the last number or the last `$...$`, `\(...\)`, `\[...\]`, whichever ends later;
       choice: a lone letter that ends the text.

    Thinking is not cut off here: pass the text after it where a box inside it must not count.
    """
    boxed = _last_box(text, kind)
    if boxed is not None:
        return Extracted(boxed, "box")
    if kind == "choice":
        return _said_choice(text)
    final = _final_answer(text, kind) or _hashes(text, kind)
    if final is not None:
        return final
    number = _last(_NUMBER.finditer(text))
    span = _last(m for m in _MATH_SPAN.finditer(text) if _content(m)) if kind == "math" else None
    if span is not None and (number is None or span.end() >= number.end()):
        return Extracted(_content(span), "last_math")
    return Extracted(number.group().strip(), "last_number") if number is not None else None


def _last_box(text: str, kind: AnswerKind) -> str | None:
    """One pass with a stack; the box that starts last among those that close."""
    stack: list[int] = []  # where the content of an open box starts; -1 for any other brace
    best: tuple[int, str] | None = None
    for match in _BRACE.finditer(text):
        token = match.group()
        if token == "{":
            stack.append(-1)
        elif token == "}":
            start = stack.pop() if stack else -1
            if start < 0 or (best is not None and start < best[0]):
                continue
            content = text[start : match.start()].strip()
            if content.strip("$ \t\n") and (kind != "choice" or is_choice(content)):
                best = (start, content)
        elif token.endswith("{") and len(token) > 2:
            stack.append(match.end())
    return best[1] if best else None


def _final_answer(text: str, kind: AnswerKind) -> Extracted | None:
    lead = _last(_FINAL.finditer(text))
    if lead is None:
        return None
    span = _MATH_SPAN.match(text, lead.end())
    if span is not None and _content(span):
        return Extracted(_content(span), "final_answer")
    end = _SENTENCE_END.search(text, lead.end())
    sentence = text[lead.end() : end.start() if end else len(text)].strip(" \t*")
    if kind == "math":
        return Extracted(sentence, "final_answer") if sentence.strip("$ .") else None
    number = _NUMBER.search(sentence.rpartition("=")[2])
    return Extracted(number.group().strip(), "final_answer") if number else None


def _hashes(text: str, kind: AnswerKind) -> Extracted | None:
    mark = _last(_HASHES.finditer(text))
    if mark is None:
        return None
    answer = mark.group(1).strip()
    wanted = bool(parse_number(normalise_answer(answer, kind))) if kind == "integer" else not text[mark.end() :].strip()
    return Extracted(answer, "hashes") if answer and wanted else None


def _said_choice(text: str) -> Extracted | None:
    said = _last(_CHOICE_SAID.finditer(text))
    if said is not None:
        return Extracted(next(group for group in said.groups() if group).upper(), "final_answer")
    # Only the end can match, and `$` with a long run of blanks before it would be tried at each of them.
    lone = _CHOICE_LAST.search(text.rstrip()[-20:])
    return Extracted(lone.group(1), "last_letter") if lone else None


def _content(span: re.Match[str]) -> str:
    return next(group for group in span.groups() if group is not None).strip()


def _last(matches: Iterator[re.Match[str]]) -> re.Match[str] | None:
    found = None
    for found in matches:  # noqa: B007 - the last one is what is wanted
        pass
    return found
