"""The text of a response while it is generated, split into what a client may see of it already."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

from its.thinking import Marks


class Unfolding:
    """Splits a growing text into thinking and answer, as `its.thinking.cut_thinking` splits it when it is whole.

    What it gives is never taken back, so it gives nothing that the next characters may still change: white space at
    the end of a part, the start of a mark, a text whose thinking may have been opened by the prompt or not. A text may
    still turn out to be another one (an end mark without a start mark makes a thought of what was an answer); then no
    more is given, and `thinking` and `content` are not the beginnings of what the whole text has.
    """

    def __init__(self, marks: Marks | None) -> None:
        self.thinking = self.content = ""
        self._marks = marks
        self._whole = ""
        self._inside: bool | None = False  # within a thought; None as long as that cannot be known
        self._pattern: re.Pattern[str] | None = None
        if marks is not None:
            self._inside = {"prompt": True, "model": False, None: None}[marks.opened_by]
            ordered = sorted((marks.start, marks.end), key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, ordered)))
        self._at = 0  # up to where the text has been given or skipped
        self._searched = 0  # up to where no mark is left
        self._blank = True  # the current piece has nothing but white space yet
        self._repeated = False  # its start mark, which the prompt wrote too, was skipped
        self._thoughts = 0
        self._revised = False

    def take(self, text: str) -> tuple[str, str]:
        """The further thinking and the further answer that the text, grown since the last call, has."""
        thinking, content = len(self.thinking), len(self.content)
        if not text.startswith(self._whole):  # another worker generates it again: perhaps the same text
            self._revised = not self._whole.startswith(text)
        elif not self._revised:
            self._whole = text
            self._read(text)
        return self.thinking[thinking:], self.content[content:]

    def _read(self, text: str) -> None:
        if self._pattern is None or self._marks is None:
            self.content += text[self._at :]
            self._at = len(text)
            return
        settled = len(text) - self._open_end(text)
        while (mark := self._pattern.search(text, self._searched)) is not None and mark.start() < settled:
            self._searched = mark.end()
            if self._inside is None:  # the first mark shows who opened the thinking
                self._inside = mark.group() == self._marks.end != self._marks.start
            if self._inside and mark.group() != self._marks.end:
                if not self._repeated and not text[self._at : mark.start()].strip() and self._blank:
                    self._at, self._repeated = mark.end(), True
                continue
            opens = not self._inside and mark.group() == self._marks.start
            if not self._inside and not opens and not (self._blank and not text[self._at : mark.start()].strip()):
                self._revised = True  # what was given as an answer was a thought
                return
            self._give(text, mark.start())
            self._thoughts += not opens
            self._inside, self._at, self._blank, self._repeated = opens, mark.end(), True, False
        self._searched = max(self._searched, settled)
        if self._inside is not None:
            self._give(text, settled)

    def _give(self, text: str, end: int) -> None:
        """Give the current piece up to there, without the white space at its ends."""
        piece = text[self._at : max(self._at, end)]
        if self._blank:
            # A text without thoughts is its own answer, with the white space that it begins with.
            lead = len(piece) - len(piece.lstrip()) if self._inside or self._thoughts else 0
            if not piece.strip():
                return
            piece, self._at = piece[lead:], self._at + lead
            if self._inside:
                self.thinking += "\n\n" if self.thinking else ""
            else:
                self.content += "\n" if self.content else ""
            self._blank = False
        piece = piece.rstrip()
        self._at += len(piece)
        if self._inside:
            self.thinking += piece
        else:
            self.content += piece

    def _open_end(self, text: str) -> int:
        """How many of the last characters may be the start of a mark."""
        assert self._marks is not None
        longest = max(len(self._marks.start), len(self._marks.end)) - 1
        for length in range(min(longest, len(text)), 0, -1):
            tail = text[-length:]
            if any(mark != tail and mark.startswith(tail) for mark in (self._marks.start, self._marks.end)):
                return length
        return 0


class Live:
    """The deltas of a stream's choices, from the thread that generates to the loop that sends.

    Made in the loop. It keeps no more than the texts, however slowly a client reads.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.sent: dict[int, dict[str, str]] = {}
        """By choice the fields of its message, as far as they were taken."""
        self._loop = asyncio.get_running_loop()
        self._texts: dict[int, Unfolding] = {}
        self._pending: dict[int, dict[str, str]] = {}

    def follow(self, marks: Marks | None) -> Callable[[int, str], None]:
        """What is called with the place of a choice and its text so far, in any thread."""

        def begun(index: int, text: str) -> None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(grow, index, text)

        def grow(index: int, text: str) -> None:
            if index not in self._texts:
                self._texts[index] = Unfolding(marks)
            for name, more in zip(("reasoning_content", "content"), self._texts[index].take(text), strict=True):
                if more:
                    _append(self._pending.setdefault(index, {}), name, more)
                    self.changed.set()

        return begun

    def take(self) -> dict[int, dict[str, str]]:
        """By choice the deltas since the last call, as fields of a message; the first one of a choice has its role."""
        taken, self._pending = self._pending, {}
        self.changed.clear()
        for index, delta in taken.items():
            if index not in self.sent:
                self.sent[index] = {"role": "assistant"}
                taken[index] = {"role": "assistant", **delta}
            for name, more in delta.items():
                _append(self.sent[index], name, more)
        return taken


def _append(fields: dict[str, str], name: str, more: str) -> None:
    fields[name] = fields.get(name, "") + more
