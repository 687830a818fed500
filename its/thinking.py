r"""What of a model's text is thinking and what is its answer: the one rule, for responses, personas, judges and files.

Marks are compared as written, letter by letter: `< think >` is no mark, and a mark is one wherever it stands, quoted
or not (no text tells). A thought goes from a start mark to the next end mark. What stands outside of all thought is
the answer; a text that ends within a thought has none, whatever it said before, since the model had not settled yet.

| the text, marks `<t>` and `</t>` | `opened_by` | thinking | answer | finished |
|---|---|---|---|---|
| `5` | model | None | `5` | yes |
| `5` | prompt | `5` | empty | no |
| `5`, ended by itself | not said | None | `5` | yes |
| `5`, cut by the token limit | not said | `5` | empty | no |
| `a</t>5` | any | `a` | `5` | yes |
| `<t>a</t>5` | any (a start mark that the prompt wrote too is no part of the thought) | `a` | `5` | yes |
| `<t>a` | any | `a` | empty | no |
| `5<t>a` | any but prompt | `a` | empty | no |
| `<t>a</t>5<t>or 9</t>` | any | `a`, `or 9` | `5` | yes |
| `5<t>a</t>6` | any but prompt | `a` | `5`, `6` | yes |
| `5<t>a</t>6` | prompt | `5<t>a` | `6` | yes |
| `<t>a<t>b</t>c</t>5` (nested) | any | `a<t>b`, `c` | `5` | yes |
| `<t>a</t>b</t>5` | any | `a`, `b` | `5` | yes |
| `<t></t>5`, `<t> </t>5` | any | empty, not None | `5` | yes |
| nothing | prompt | empty | empty | no |
| `*a*5`, both marks `*` | any but prompt (each mark begins or ends) | `a` | `5` | yes |
| `a*5`, both marks `*` | prompt | `a` | `5` | yes |

An end mark that no start mark opened ends a thought that reaches back to the mark before it, or to the beginning of the
text: the prompt opened it, or it is nested, or a thought quotes the mark. So no piece of a thought is ever an answer,
at the price of an answer that an end mark follows; chat templates (DeepSeek's, Qwen's) cut at the last end mark too.

Several thoughts are joined by an empty line, several pieces of an answer by a line end, each without white space at
its ends. A text without thinking is its own answer, to the letter. All is linear in the text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

OpenedBy = Literal["prompt", "model"]


class Marks(Protocol):
    """The marks around a model's reasoning, and who writes the first one; see `its.recipe.schema.Thinking`."""

    @property
    def start(self) -> str: ...

    @property
    def end(self) -> str: ...

    @property
    def opened_by(self) -> OpenedBy | None: ...


class PlainMarks(NamedTuple):
    """Marks that no recipe declares."""

    start: str
    end: str
    opened_by: OpenedBy | None = None


SOLUTION_MARKS = PlainMarks("<think>", "</think>", "model")
"""Around the thought of a solution, as `prepare` writes it whatever marks its source had."""


class Cut(NamedTuple):
    """A text cut into thinking and answer.

    Args:
        thinking: what was thought, "" for an empty thought; None where there was none.
        answer: what stands outside of all thought; "" unless the thinking is finished.
        finished: whether the text does not end within a thought.
        began_within: whether its first mark ends a thought that no start mark opened: then the prompt opened it.
        pieces: [start, end) in the text of the pieces that `answer` is joined of.
        share: the part of the characters (the thinking that came apart among them) that is thinking and its marks.
        share_in_text: the same of the text alone.
    """

    thinking: str | None
    answer: str
    finished: bool
    began_within: bool
    pieces: tuple[tuple[int, int], ...]
    share: float
    share_in_text: float

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where characters [start, end) of the answer stand in the text; end > start."""
        first: int | None = None
        at = last = 0  # where a piece begins in the answer, and the place of the last character seen
        for begin, stop in self.pieces:
            length = stop - begin
            if first is None and start < at + length:
                first = begin + max(0, start - at)
            if end > at:
                last = begin + min(length, end - at)
            at += length + 1
        return last if first is None else first, last


def cut_thinking(text: str, marks: Marks | None, cut_short: bool, apart: str | None = None) -> Cut:
    """Part a model's text into what it thought and what it answers, by the table above.

    Args:
        text: as the model wrote it, without the prompt.
        marks: None where the model has none: then all of the text is its answer.
        cut_short: whether the token limit ended the text (`finish_reason` is `length`). Looked at where `opened_by` is
            not said and the text holds no mark at all: a text that was cut had not come to its end mark.
        apart: thinking that the engine parted from the text already. Then the prompt opened nothing in the text, but
            marks that still stand in it are marks.
    """
    within: list[tuple[int, int]] = []  # [start, end) of each thought
    outside: list[tuple[int, int]] = []
    characters = 0  # of thoughts and marks
    finished, began_within = True, False
    if marks is not None:
        opened_by = "model" if apart is not None else marks.opened_by
        inside, at, found = opened_by == "prompt", 0, False
        for mark in _either(marks.start, marks.end).finditer(text):
            began_within |= not found and not inside and mark.group() != marks.start
            found = True
            if inside and mark.group() != marks.end:
                continue  # nested, or the model wrote the mark that the prompt wrote too
            opens = not inside and mark.group() == marks.start
            (outside if opens else within).append((at, mark.start()))
            inside, at = opens, mark.end()
        finished = not inside and not (opened_by is None and cut_short and not found)
        (outside if finished else within).append((at, len(text)))
        characters = len(text) - sum(end - start for start, end in outside)
    pieces: tuple[tuple[int, int], ...] = ((0, len(text)),)
    answer, thinking = text, apart
    if within:
        assert marks is not None
        stripped = [_stripped(text, *piece) for piece in outside]
        pieces = tuple(piece for piece in stripped if piece[0] < piece[1]) if finished else ()
        answer = "\n".join(text[start:end] for start, end in pieces)
        thoughts = [text[start:end].strip().removeprefix(marks.start).strip() for start, end in within]
        thinking = "\n\n".join(part for part in [apart or "", *thoughts] if part)
    length = len(apart or "")
    return Cut(
        thinking=thinking,
        answer=answer,
        finished=finished,
        began_within=began_within,
        pieces=pieces,
        share=(length + characters) / max(length + len(text), 1),
        share_in_text=characters / max(len(text), 1),
    )


def thinking_tokens(cut: Cut, completion_tokens: int, told: int | None, apart: bool) -> int:
    """How many of a completion's tokens are thinking, in [0, completion_tokens].

    Engines give text, not ids, so a thought in the text is counted by its share of the characters, marks included.

    Args:
        told: what the server counted. A count above the completion's was made beside it, and one of 0 where there is
            thinking was not made: neither is used.
        apart: whether the engine parted thinking from the text: `told` is of that part alone, and a thought that still
            stands in the text is counted beside it.
    """
    if not told or told > completion_tokens:
        return round(cut.share * completion_tokens)
    return told + round(cut.share_in_text * (completion_tokens - told)) if apart else told


@lru_cache(maxsize=64)
def _either(start: str, end: str) -> re.Pattern[str]:
    """Finds the next mark; the longer one where both begin at one place."""
    return re.compile("|".join(re.escape(mark) for mark in sorted((start, end), key=len, reverse=True)))


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The same piece without white space at its ends; (start, start) where nothing is left."""
    piece = text[start:end]
    left = start + len(piece) - len(piece.lstrip())
    return left, max(left, start + len(piece.rstrip()))
