"""Response -> answer: where in a text the final answer stands.

Every search is linear in the text, because a model that loops writes 100 kB of braces or digits. What is returned is
the text as written; `its.grading.normalise.normalise_answer` brings it into the form that is compared and voted on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from its.grading.boxes import last_box, run_of_boxes
from its.grading.normalise import AnswerKind, ascii_digits, is_choice, normalise_answer, parse_number

WHOLE_CHARACTERS = 200
"""A response up to this long that is a number or a formula and nothing else is the answer."""

# The lookahead inside the group keeps the match free of backtracking: 1,000,0001 is 1,000 and then 0001.
# A sign counts only where nothing stands before it that it could subtract from: 16-3 ends in 3.
_SIGN = r"(?:(?<![0-9A-Za-z)\]}.])[-+\u2212\u2013])?\\?\$?"
_PLAIN = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3}(?![0-9]))++|[0-9]++)(?:\.[0-9]++)?|(?<![0-9.])\.[0-9]++)"
_RATIO = r"[0-9]{1,20}+/[0-9]++(?![/0-9])|\\[dtc]?frac\s?\{-?[0-9]{1,20}+\}\{[0-9]{1,20}+\}"
_COMMA = r"(?<![0-9,.])[0-9]{1,20}+,[0-9]{1,2}+(?![0-9,])"
_NUMBER: dict[str, re.Pattern[str]] = {
    "integer": re.compile(_SIGN + _PLAIN),
    "number": re.compile(_SIGN + f"(?:{_RATIO}|{_COMMA}|{_PLAIN})"),
    "math": re.compile(_SIGN + f"(?:{_RATIO}|{_PLAIN})"),
}
_NUMERIC = frozenset("0123456789,.$\\+-\u2212\u2013/{} fractd")
_MATH_SPAN = re.compile(
    r"\$\$([^$]++)\$\$"
    r"|(?<!\\)\$(?!\s)((?:[^$\n\\]|\\[^\n])++)(?<!\s)\$(?![0-9])"  # as pandoc: "$5 and $7" is money
    r"|(?<!\\)\$((?:[^$\n\\A-Za-z]|\\[A-Za-z]++(?:\{[A-Za-z |]++\})*+|\\.|(?<![A-Za-z])[A-Za-z](?![A-Za-z]))++)\$"
    r"(?![0-9])"
    r"|\\\(((?:[^\\]|\\[^()])*+)\\\)"
    r"|\\\[((?:[^\\]|\\[^\[\]])*+)\\\]"
)
_TAG = re.compile(r"<answer>(?:(?!</?answer>).)*+</answer>", re.DOTALL | re.IGNORECASE)
_FINAL = re.compile(r"final answer(?:\s*\*\*)?\s*(?:is\b|:|=|(?<=\*\*))[\s*:]*", re.IGNORECASE)
_HASHES = re.compile(r"####[ \t]*([^\n#][^\n]*)")
_SENTENCE_END = re.compile(r"\.(?=\s|$)|\n")
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}(?![A-Za-z(}])")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s*\{[^{}]*\}")
_SAID = re.compile(r"\b(?:is|are|equals|be)\b\s*:?")
_NO_OTHER = r"(?!\s*(?:or|and)\s+\(?[A-J]\b)"  # `B or C` is no choice
_CHOICE_SAID = re.compile(
    r"(?:answer|option|choice)\s*(?:is|:)(?:\s*(?:option|choice)\b)?[\s*:$\"'\u201c\u2018]*"
    r"(?:\\(?:text|mathrm|textbf|mathbf)\s*\{)?"
    r"(?:\(\s*([A-Ja-j])\s*\)"
    rf"|(?-i:([A-J])){_NO_OTHER}"
    r"(?=\s*(?:[).:,;*$}\]\n\"'\u201d\u2019]|$)|\s+(?:because|since|as)\b)"
    rf"|(?-i:([B-HJ]))\b{_NO_OTHER})",
    re.IGNORECASE,
)
_CHOICE_IS = re.compile(
    r"(?:option|choice)\s*[*\"'(]*(?-i:([A-J]))[*\"')]*\s+is\s+(?:the\s+)?(?:correct|right|best|answer)", re.IGNORECASE
)
_CHOICE_LAST = re.compile(r"(?:^|[\s(*])([A-J])[)*.\s]*$")
_NO_CHOICE = re.compile(r"\b(?:not|nor|or|and|neither|except)\s*[*(]*$", re.IGNORECASE)
_PRODUCT = re.compile(r"[A-Za-z](?:\s*[-+*/]\s*[A-Za-z])+")
_AND_NO_MORE = re.compile(r"\s*(?:\(|[,;:](?![0-9])|[A-Za-z]{2})")


@dataclass(frozen=True, slots=True)
class Extracted:
    """An answer as written, the rule that found it, and where: characters `start` to `end` of the text that was read.

    Rules: box, boxes, tag, final_answer, hashes, whole, last_number, last_math, last_letter.
    """

    answer: str
    rule: str
    start: int
    end: int


def extract_answer(text: str, kind: AnswerKind) -> Extracted | None:
    r"""The final answer of a response without its thinking, or None where it gives none.

    Said outright, and of these the last one in the text:

    - `box`: the last balanced, non-empty `\boxed{...}` or `\fbox{...}`; of nested boxes the innermost. An empty box
      counts as none, so an earlier filled one is used. For `choice` it has to hold a letter A-J. `boxes` (math): a
      run of boxes with no more than `,`, `and`, `or` and a few words between them is the list of them.
    - `tag`: the last `<answer>...</answer>`; a box inside it is the answer.
    - `final_answer`: what follows the last "final answer is", a box before all. math: the formula that it begins
      with, else its last number or formula if it is prose, else all of it. integer, number: the first number of the
      sentence, after its last equals sign. Behind a box it counts if it begins with a formula or a number. choice: the
      letter in "answer is (B)" or "Answer: B".

    Else, in this order:

    - `hashes` (not choice): `#### X`; for math only as the last line, since `#### Step 2` is also a heading.
    - `whole` (not choice): a short response that is nothing but a number or, for math, a formula.
    - `last_number`; for math the last number or the last `$...$`, `\(...\)`, `\[...\]`, whichever ends later:
      `last_math`; for choice a lone letter that ends the text: `last_letter`.
    """
    text = ascii_digits(text)
    box = last_box(text, kind == "choice")
    tag = _last(_TAG.finditer(text)) if "</" in text else None
    if tag is not None and (box is None or box.start < tag.start()):
        return _in_tag(text, tag, kind) or (None if box is None else Extracted(box.content, "box", box.start, box.end))
    if kind == "choice":
        return Extracted(box.content, "box", box.start, box.end) if box is not None else _said_choice(text)
    final = _final_answer(text, kind, box.end if box is not None else -1)
    if final is not None:
        return final
    if box is not None:
        if kind == "math" and (run := run_of_boxes(text, box)) is not None:
            return Extracted(run.content, "boxes", run.start, run.end)
        return Extracted(box.content, "box", box.start, box.end)
    return _hashes(text, kind) or _whole(text, kind) or _last_said(text, kind)


def _in_tag(text: str, tag: re.Match[str], kind: AnswerKind) -> Extracted | None:
    start, end = tag.start() + len("<answer>"), tag.end() - len("</answer>")
    content = text[start:end].strip()
    if not content:
        return None
    if kind == "choice":
        if is_choice(content):
            return Extracted(content, "tag", start, end)
        said = _said_choice(text[start:end])
        return said and Extracted(said.answer, "tag", start + said.start, start + said.end)
    if kind != "math" and parse_number(normalise_answer(content, kind), kind) is None:
        inner = _last_number(content, kind)
        if inner is not None:
            return Extracted(inner.answer, "tag", start, end)
    return Extracted(content, "tag", start, end)


def _final_answer(text: str, kind: AnswerKind, after: int) -> Extracted | None:
    """What "final answer is" says; behind a box, which ends at `after`, only what is a formula or a number at once."""
    lead = _last(_FINAL.finditer(text)) if "nswer" in text or "NSWER" in text else None
    if lead is None or lead.start() < after:
        return None
    span = _MATH_SPAN.match(text, lead.end())
    if span is not None and _content(span):
        return Extracted(_content(span), "final_answer", span.start(), span.end())
    stop = _SENTENCE_END.search(text, lead.end())
    end = stop.end() - 1 if stop else len(text)
    sentence = text[lead.end() : end].strip(" \t*")
    at = text.find(sentence, lead.end())
    if kind != "math":
        skipped = sentence.rfind("=") + 1
        number = _NUMBER[kind].search(sentence, skipped)
        if number is None or (after >= 0 and number.start() > 0):
            return None
        return Extracted(number.group().strip(), "final_answer", at + number.start(), at + number.end())
    if not sentence.strip("$ ."):
        return None
    if not _PROSE.search(_TEXT.sub("", _MATH_SPAN.sub("", sentence))):
        starts_right = after < 0 or _NUMBER["math"].match(sentence)
        return Extracted(sentence, "final_answer", at, at + len(sentence)) if starts_right else None
    if after >= 0:
        return None
    first = _NUMBER["math"].match(sentence)
    if first is not None and _AND_NO_MORE.match(sentence, first.end()):  # `5 (since 3 + 2)`
        return Extracted(first.group().strip(), "final_answer", at, at + first.end())
    said = _last(_SAID.finditer(sentence))
    tail = sentence[said.end() :] if said else sentence
    found = _last_said(tail, "math")
    if found is None:
        return Extracted(sentence, "final_answer", at, at + len(sentence))
    offset = at + len(sentence) - len(tail)
    return Extracted(found.answer, "final_answer", offset + found.start, offset + found.end)


def _hashes(text: str, kind: AnswerKind) -> Extracted | None:
    mark = _last(_HASHES.finditer(text)) if "####" in text else None
    if mark is None:
        return None
    answer = mark.group(1).strip()
    if kind == "math":
        wanted = not text[mark.end() :].strip()
    else:
        wanted = parse_number(normalise_answer(answer, kind), kind) is not None
    return Extracted(answer, "hashes", mark.start(1), mark.end(1)) if answer and wanted else None


def _whole(text: str, kind: AnswerKind) -> Extracted | None:
    answer = text.strip() if len(text) < 2 * WHOLE_CHARACTERS else ""
    if not answer or len(answer) > WHOLE_CHARACTERS or "\n" in answer or _PROSE.search(answer):
        return None
    if "\\boxed" in answer or "\\fbox" in answer:
        return None  # one that is empty or does not close
    if parse_number(normalise_answer(answer, kind), kind) is None and (
        kind != "math"
        or not (re.search(r"[0-9\\^=]", answer) or _PRODUCT.fullmatch(answer))
        or re.search(r"[.:?!] ", answer)
        or "$" in answer
    ):
        return None
    at = text.index(answer)
    return Extracted(answer, "whole", at, at + len(answer))


def _last_said(text: str, kind: AnswerKind) -> Extracted | None:
    number = _last_number(text, kind)
    if kind != "math":
        return number
    span = _last(m for m in _MATH_SPAN.finditer(text) if _content(m))
    if span is not None and (number is None or span.end() >= number.end):
        return Extracted(_content(span), "last_math", span.start(), span.end())
    return number


def _last_number(text: str, kind: AnswerKind) -> Extracted | None:
    """The number that ends last; one between letters (`K2A`) is part of a name.

    The last run of what numbers are made of is searched first: it nearly always holds it.
    """
    end = max(text.rfind(digit) for digit in "0123456789") + 1
    if not end:
        return None
    start = stop = end
    while start and text[start - 1] in _NUMERIC:
        start -= 1
    while stop < len(text) and text[stop] in _NUMERIC:
        stop += 1
    found = _last(_free(text, kind, start, stop)) or _last(_free(text, kind, 0, start))
    return Extracted(found.group().strip(), "last_number", found.start(), found.end()) if found else None


def _free(text: str, kind: AnswerKind, start: int, stop: int) -> Iterator[re.Match[str]]:
    """Numbers that do not stand between letters."""
    for match in _NUMBER[kind].finditer(text, start, stop):
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        if not (before.isalpha() and after.isalpha()):
            yield match


def _said_choice(text: str) -> Extracted | None:
    said = max((_last(rule.finditer(text)) for rule in (_CHOICE_SAID, _CHOICE_IS)), key=_place)
    if said is not None:
        group = said.lastindex or 1
        return Extracted(said.group(group).upper(), "final_answer", said.start(group), said.end(group))
    # Only the end can match, and `$` with a long run of blanks before it would be tried at each of them.
    text = text.rstrip()
    offset = max(0, len(text) - 20)
    lone = _CHOICE_LAST.search(text[offset:])
    if lone and _NO_CHOICE.search(text[offset : offset + lone.start(1)]):
        return None
    return Extracted(lone.group(1), "last_letter", offset + lone.start(1), offset + lone.end(1)) if lone else None


def _place(match: re.Match[str] | None) -> int:
    return match.start() if match else -1


def _content(span: re.Match[str]) -> str:
    return next(group for group in span.groups() if group is not None).strip()


def _last(matches: Iterable[re.Match[str]]) -> re.Match[str] | None:
    found = None
    for found in matches:  # noqa: B007 - the last one is what is wanted
        pass
    return found
