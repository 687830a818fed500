"""Response -> answer: where the final answer of a text is.

Every search is linear in the text, because a model that loops writes 100 kB of braces or digits. The answer
is returned as written; `its.grading.normalise.normalise_answer` gives the form that is compared and voted on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from its.boxes import Box, last_box, opens_box, run_of_boxes
from its.grading.choices import chosen_line, stated_choice
from its.grading.fallback import complete_end, fallback_answer
from its.grading.formula.characters import place_for_place
from its.grading.formula.vocabulary import SMALL_WORDS
from its.grading.normalise import AnswerKind, is_choice, normalise_answer, parse_number
from its.grading.spans import MATH_SPAN, NUMBER, Found, content_of, has_prose
from its.grading.statements import stated_alone, stated_answer

WHOLE_CHARACTERS = 200
"""A response of up to this length that is a number or a formula and nothing else is the answer."""

_TAG = re.compile(r"<answer>(?:(?!</?answer>).)*+</answer>", re.DOTALL | re.IGNORECASE)
_HASHES = re.compile(r"####[ \t]*([^\n#][^\n]*)")
_SMALL_WORD = re.compile(rf"(?<![\\A-Za-z])(?:he|my|{'|'.join(sorted(SMALL_WORDS))})(?![A-Za-z])", re.IGNORECASE)
_PRODUCT = re.compile(r"[A-Za-z](?:\s*[-+*/]\s*[A-Za-z])+")
_TERM = r"(?:[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\$[^$\n]{1,60}\$)"
_FEW_WORDS = re.compile(rf"{_TERM}(?:,?\s{_TERM}){{0,4}}")
_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|be|am|has|have|had|do|does|did|don['\u2019]t|can|cannot|can['\u2019]t|could|will|would|should|i|"
    r"i['\u2019]m|you|we|he|she|they|it|let|let['\u2019]s|the|this|that|there|here|what|how|why|to|so|thus|hence|then|"
    r"therefore|first|next|now|find|solve|given|compute|calculate|step|(?<!no )solution|answers?|thinking|sure|okay|ok|"
    r"hello|hi|please|sorry|hmm|wait|well|because|since|of course|certainly|simplify|evaluate|determine|question|"
    r"problem|by|using)\b",
    re.IGNORECASE,
)
"""Words of a sentence, which is not an answer as a whole."""
_OR = re.compile(r"\bor\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Extracted:
    """An answer as written, the rule that found it, and its place: characters `start` to `end` of the text.

    Rules: box, boxes, tag, final_answer, option, hashes, whole, and those of the fallback: last_number, last_math,
    last_letter (`its.types.FALLBACK_RULES`).
    """

    answer: str
    rule: str
    start: int
    end: int


def extract_answer(text: str, kind: AnswerKind, *, fallback: bool = True, question: str = "") -> Extracted | None:
    r"""The final answer of a response without its thinking; None if it gives none.

    Stated explicitly, and of these the last one in the text:

    - `box`: the last box that closes and is filled (`its.boxes`). For `choice` it must contain a letter A-J. `boxes`
      (math): a run of boxes with only `,`, `and`, `or` and a few words between them is a list.
    - `tag`: the last `<answer>...</answer>`; a box inside it is the answer.
    - `final_answer`: stated in words (`its.grading.statements`; choice: `its.grading.choices`). After a box it counts
      only if a formula or a number follows immediately.
    - `hashes` (not choice): `#### X`; for math only as the last line, since `#### Step 2` is also a heading.
    - `option` (choice): a line that is an option, `C) 10 eV`.

    Else, in this order:

    - `whole` (not choice): a short response that is nothing but a number or, for math, a formula or a few words.
    - the fallback (`its.grading.fallback`): `last_number`, `last_math`, `last_letter`. Not if a box was opened
      and never filled: then nothing was answered.

    Args:
        fallback: whether the fallback may find an answer.
        question: the problem's text; a copy of it is not an answer to the fallback.
    """
    read, places = place_for_place(text)
    found = _extract(read, kind, fallback, question)
    if found is None or places is None:
        return found
    return replace(found, start=places[found.start], end=places[found.end - 1] + 1)


def _extract(text: str, kind: AnswerKind, fallback: bool, question: str) -> Extracted | None:
    box = last_box(text, is_choice if kind == "choice" else None)
    after = box.right if box is not None else 0
    if not after or len(text) - after > 6:  # else there is no room for anything after it
        found = _outright(text, kind, after)
        if found is not None:
            return found
    if box is not None:
        return _boxed(text, box, kind)
    if kind != "choice" and (whole := _whole(text, kind)) is not None:
        return whole
    if not fallback or (opens_box(text) and last_box(text) is None):
        return None
    last = fallback_answer(text, kind, question)
    return None if last is None else Extracted(*last[0][:1], last[1], *last[0][1:])


def _outright(text: str, kind: AnswerKind, after: int) -> Extracted | None:
    """The last answer stated explicitly after `after`, where the last box ends."""
    best: Extracted | None = None
    tag = _last(_TAG.finditer(text, after)) if "</" in text else None
    if tag is not None:
        best = _in_tag(text, tag, kind)
        after = tag.end() if best is not None else after
    if kind == "choice":
        stated = stated_choice(text, after)
        line = chosen_line(text, max(after, stated.end if stated else 0))
        if line is not None:
            return Extracted(line.answer, "option", line.start, line.end)
    else:
        stated = stated_answer(text, kind, after)
        if "####" in text and (hashes := _hashes(text, kind, max(after, stated.end if stated else 0))) is not None:
            return hashes
    return best if stated is None else Extracted(stated.answer, "final_answer", stated.start, stated.end)


def _boxed(text: str, box: Box, kind: AnswerKind) -> Extracted:
    run = run_of_boxes(text, box)
    # Of one number `m = \boxed{3}, n = \boxed{4}, m+n = \boxed{7}` states 7, and `\boxed{5} or \boxed{6}` nothing.
    if run is not None and (kind == "math" or _OR.search(text, run.start, run.end)):
        return Extracted(run.content, "boxes", run.start, run.end)
    return Extracted(box.content, "box", box.start, box.end)


def _in_tag(text: str, tag: re.Match[str], kind: AnswerKind) -> Extracted | None:
    start, end = tag.start() + len("<answer>"), tag.end() - len("</answer>")
    content = text[start:end].strip()
    if not content:
        return None
    inner: Found | None = None
    if kind == "choice":
        if not is_choice(content):
            inner = stated_choice(text[start:end]) or chosen_line(text[start:end])
            return inner and Extracted(inner.answer, "tag", start + inner.start, start + inner.end)
    elif "nswer" in content:
        inner = stated_answer(text[start:end], kind, 0)
    if kind in ("integer", "number") and inner is None and parse_number(normalise_answer(content, kind), kind) is None:
        number = _last(NUMBER[kind].finditer(text, start, end))
        inner = number and Found(number.group().strip(), number.start() - start, number.end() - start)
    if inner is not None:
        return Extracted(inner.answer, "tag", start + inner.start, start + inner.end)
    return Extracted(content, "tag", start, end)


def _hashes(text: str, kind: AnswerKind, after: int) -> Extracted | None:
    mark = _last(_HASHES.finditer(text, after))
    if mark is None:
        return None
    answer = mark.group(1).strip()
    if kind == "math":
        wanted = not text[mark.end() :].strip() and not (after and has_prose(answer))
    else:
        wanted = parse_number(normalise_answer(answer, kind), kind) is not None
    return Extracted(answer, "hashes", mark.start(1), mark.end(1)) if answer and wanted else None


def _whole(text: str, kind: AnswerKind) -> Extracted | None:
    answer = text.strip() if len(text) < 2 * WHOLE_CHARACTERS else ""
    if not answer or len(answer) > WHOLE_CHARACTERS or "\n" in answer:
        return None
    if "\\boxed" in answer or "\\fbox" in answer or answer[0] in "<>":
        return None  # a box that is empty or does not close, the beginning of a tag
    if complete_end(text) < len(text.rstrip()):
        return None
    at = text.index(answer)
    span = MATH_SPAN.fullmatch(answer.rstrip(".").strip("*"))
    if span is not None and content_of(span):
        return Extracted(content_of(span), "whole", at, at + len(answer))
    number = parse_number(normalise_answer(answer, kind), kind) is not None
    formula = kind == "math" and (re.search(r"[0-9\\^=]", answer) or _PRODUCT.fullmatch(answer))
    dressed = has_prose(answer) or _SMALL_WORD.search(answer) or "$" in answer.strip("$")
    if not dressed and (number or (formula and not re.search(r"[.:?!] ", answer))):
        return Extracted(answer, "whole", at, at + len(answer))
    if (alone := stated_alone(answer, kind)) is not None:
        return Extracted(alone.answer, "whole", at + alone.start, at + alone.end)
    if kind == "math" and _FEW_WORDS.fullmatch(answer.rstrip(".")) and not _SENTENCE.search(answer):
        return Extracted(answer, "whole", at, at + len(answer))
    return None


def _last(matches: Iterable[re.Match[str]]) -> re.Match[str] | None:
    found = None
    for found in matches:  # noqa: B007 - the last one is what is wanted
        pass
    return found
