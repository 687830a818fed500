r"""Split a model's text into thinking and answer: the one rule, for responses, personas, judges and files.

Marks are compared exactly: `< think >` is not a mark, and a mark counts wherever it is, quoted or not (the text does
not tell). A thought extends from a start mark to the next end mark. Everything outside of thoughts is the answer; a
text that ends within a thought has no answer, whatever came before, since the model had not settled yet.

| the text, marks `<t>` and `</t>` | `opened_by` | thinking | answer | finished |
|---|---|---|---|---|
| `5` | model | None | `5` | yes |
| `5` | prompt | `5` | empty | no |
| `5`, ended by itself | not declared | None | `5` | yes |
| `5`, cut by the token limit | not declared | `5` | empty | no |
| `a</t>5` | any | `a` | `5` | yes |
| `<t>a</t>5` | any (a start mark that the prompt wrote too is not part of the thought) | `a` | `5` | yes |
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

An end mark without a start mark ends a thought that reaches back to the previous mark, or to the start of the text:
the prompt opened it, or it is nested, or a thought quotes the mark. So no part of a thought is ever taken for the
answer, at the cost of an answer that precedes an end mark; chat templates (DeepSeek's, Qwen's) cut at the last end
mark too.

Several thoughts are joined by an empty line, several pieces of an answer by a line break, each stripped of white space.
A text without thinking is its own answer, unchanged. The time is linear in the text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

OpenedBy = Literal["prompt", "model"]


class Marks(Protocol):
    """The marks around a model's reasoning, and who writes the start mark; see `its.recipe.schema.Thinking`."""

    @property
    def start(self) -> str: ...

    @property
    def end(self) -> str: ...

    @property
    def opened_by(self) -> OpenedBy | None: ...


class PlainMarks(NamedTuple):
    """Marks that are not from a recipe."""

    start: str
    end: str
    opened_by: OpenedBy | None = None


SOLUTION_MARKS = PlainMarks("<think>", "</think>", "model")
"""Around the thinking in a solution, as `prepare` writes it, whatever marks its source had."""


def written_thought(thought: str, answer: str) -> str:
    """A solution in the one form that the project writes: the thought between `SOLUTION_MARKS`, then the answer."""
    start, end, _ = SOLUTION_MARKS
    return f"{start}\n{thought.strip()}\n{end}\n\n{answer.strip()}"


class Cut(NamedTuple):
    """A text split into thinking and answer.

    Args:
        thinking: the thoughts, "" for an empty thought; None if there was none.
        answer: everything outside of thoughts; "" unless the thinking is finished.
        finished: whether the text does not end within a thought.
        began_within: whether its first mark ends a thought without a start mark: then the prompt opened it.
        pieces: [start, end) in the text of the pieces that make up `answer`.
        share: the share of characters, separate thinking included, that is thinking and its marks.
        share_in_text: the same within the text alone.
    """

    thinking: str | None
    answer: str
    finished: bool
    began_within: bool
    pieces: tuple[tuple[int, int], ...]
    share: float
    share_in_text: float

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The position in the text of characters [start, end) of the answer; end > start."""
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
    """Split a model's text into thinking and answer, by the table above.

    Args:
        text: as the model wrote it, without the prompt.
        marks: None if the model has none: then the whole text is its answer.
        cut_short: whether the token limit ended the text (`finish_reason` is `length`). It matters if `opened_by` is
            not declared and the text contains no mark: a text that was cut had not reached its end mark.
        apart: thinking that the engine already separated from the text. Then the prompt opened nothing in the text, but
            marks that are still in it count.
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
                continue  # nested, or the model repeated the mark that the prompt wrote
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


def thinking_tokens(cut: Cut, completion_tokens: int, counted: int | None, apart: bool) -> int:
    """How many of a completion's tokens are thinking, in [0, completion_tokens].

    Engines return text, not ids, so thinking in the text is estimated by its share of the characters, marks included.

    Args:
        counted: the server's count. One above the completion's excludes the completion, and 0 although there is
            thinking means that the server does not count: neither is used.
        apart: whether the engine separated thinking from the text: `counted` covers that part alone, and thinking that
            is still in the text is added.
    """
    if not counted or counted > completion_tokens:
        return round(cut.share * completion_tokens)
    return counted + round(cut.share_in_text * (completion_tokens - counted)) if apart else counted


@lru_cache(maxsize=64)
def _either(start: str, end: str) -> re.Pattern[str]:
    """A pattern for either mark; the longer one if both begin at the same place."""
    return re.compile("|".join(re.escape(mark) for mark in sorted((start, end), key=len, reverse=True)))


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The piece without white space at its ends; (start, start) if nothing is left."""
    piece = text[start:end]
    left = start + len(piece) - len(piece.lstrip())
    return left, max(left, start + len(piece.rstrip()))
